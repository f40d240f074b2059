"""`.keras` files of strangers: nothing in them runs, is written, or takes more memory than the file is large."""

import json
import math
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keras_fsr.errors import ModelError, first_line

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}  # of a `.keras` file without a vocabulary
_LARGEST_CONFIG = 2**24  # bytes
_LARGEST_NUMBER = 2**16  # of layers, channels or pixels
_NO_COUNTS = {"seed", "shared_object_id"}
_EXPANSION = 20  # Keras packs nothing; what others have packed again is hardly smaller
_counting = threading.Lock()


def load_keras(path: Path | str) -> Any:
    """The Keras model in a file, whose classes are Keras' own or registered before; imports Keras.

    Raises:
        ModelError: the file is missing or is no Keras model.
    """
    import keras

    if not Path(path).is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        with _weights_within(_check_archive(Path(path))):
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its zip, JSON and HDF5 readers raise
        # Around what is wrong with a layer, Keras puts what is then wrong with the model.
        _, _, reason = str(error).rpartition("Exception encountered: ")
        error = ValueError(reason or type(error).__name__)
        raise ModelError(
            f"{path}: is not a Keras model ({first_line(error)}); give one that was saved whole"
        ) from None


def _check_archive(path: Path) -> int:
    """Bytes of the weights. ValueError for members that no generator has, which Keras would write to the disk, and
    for sizes that only a bomb has.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if others := sizes.keys() - _MEMBERS:
            raise ValueError(f"it holds {min(others)!r}, which no generator has")
        if sizes.get("config.json", 0) > _LARGEST_CONFIG or sum(sizes.values()) > _EXPANSION * path.stat().st_size:
            raise ValueError(f"it unpacks to {sum(sizes.values())} bytes, which no generator does")
        json.loads(archive.read("config.json"), object_pairs_hook=_check_numbers)
    return sizes.get("model.weights.h5", 0)


def _check_numbers(pairs: list[tuple[str, Any]]) -> None:
    """ValueError for an option beyond what networks have: layers are counted before they have weights."""
    for name, value in pairs:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > _LARGEST_NUMBER and name not in _NO_COUNTS:
                raise ValueError(f"its {name} is {number}")


@contextmanager
def _weights_within(numbers: int) -> Iterator[None]:
    """ValueError for layers with more weights than so many, before they take memory: a line of JSON asks for a
    terabyte, but whoever has that many weights has them in the file.
    """
    import keras

    add_weight, made = keras.layers.Layer.add_weight, 0

    def counted(layer, shape=None, *arguments, **options):
        nonlocal made
        made += math.prod(shape or ())
        if made > numbers:
            raise ValueError(f"its layers have more weights than its {numbers} bytes of them")
        return add_weight(layer, shape, *arguments, **options)

    with _counting:
        keras.layers.Layer.add_weight = counted
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = add_weight
