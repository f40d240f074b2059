"""`.keras`, `.h5` and `.npz` files of strangers: nothing in them runs or is written, and they take about as much
memory as they are large, whatever they say of themselves.
"""

import io
import json
import math
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_fsr.errors import ModelError, first_line

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}  # of a `.keras` file without a vocabulary
_LARGEST_CONFIG = 2**24  # bytes
_LARGEST_NUMBER = 2**16  # of layers, channels or pixels
_NO_COUNTS = {"seed", "shared_object_id"}
_EXPANSION = 20  # Keras packs nothing; what others have packed again is hardly smaller
_SMALL = 2**24  # bytes that anything may take
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


def load_npz(path: Path | str) -> Any:
    """The open archive of arrays, without pickles.

    Raises:
        Exception: whatever NumPy and its zip reader raise; ValueError for what unpacks to far more than it is.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            _check_size(sum(member.file_size for member in archive.infolist()), Path(path).stat().st_size)
    return np.load(path, allow_pickle=False)


def check_h5(file: Any, size: int) -> None:
    """ValueError for an open HDF5 file of so many bytes whose arrays are much larger, or lie in other files."""
    import h5py

    total = 0

    def count(name: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"its {name} lies in another file")
            total += item.size * item.dtype.itemsize

    file.visititems(count)
    _check_size(total, size)


def _check_size(unpacked: int, size: int) -> None:
    if unpacked > _EXPANSION * size + _SMALL:
        raise ValueError(f"it unpacks to {unpacked} bytes, which nothing of {size} bytes does")


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
        if "model.weights.h5" in sizes:
            import h5py

            with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
                check_h5(file, sizes["model.weights.h5"])
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
