"""Tensors of a PyTorch file, without PyTorch and without trusting the file.

A `.pth` is a pickle, and a pickle may name any function for Python to call. Here the few names that a state dict
of float32 tensors needs become harmless stand-ins, and any other name ends the reading. Two layouts are known:

- since PyTorch 1.6 a zip archive of `NAME/data.pkl` and one `NAME/data/KEY` of raw numbers per storage;
- before, a stream of five pickles (magic number, version, machine, state dict, storage keys), then for each key
  an int64 count and the raw numbers.
"""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from keras_fsr.archives import load_npz
from keras_fsr.errors import ModelError, first_line

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
FLOAT = np.dtype("<f4")
CONVERT = "np.savez('weights.npz', **{k: v.cpu().numpy() for k, v in torch.load(file).items()})"


def read_state(path: Path | str) -> dict[str, np.ndarray]:
    """The float32 arrays of a state dict by their names, in PyTorch's axis order; read-only.

    Args:
        path: a state dict written by any PyTorch from 0.2 on, or a `.npz` of the same names.

    Raises:
        ModelError: the file cannot be read, is damaged, or holds anything but named float32 tensors.
    """
    path = Path(path)
    try:
        if not zipfile.is_zipfile(path):
            return _read_stream(path)
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickles) == 1:
                return _read_zip(archive, pickles[0].removesuffix("data.pkl"))
        return _read_npz(path)
    except Exception as error:  # a damaged pickle or archive raises whatever it likes
        raise ModelError(
            f"{path}: cannot be read as named float32 tensors ({first_line(error)}); download it anew, or, if you "
            f"trust it, convert it with PyTorch: {CONVERT}"
        ) from error


class Storage(NamedTuple):
    """A run of numbers somewhere in the file, or a part of one."""

    key: str
    start: int
    count: int


class Tensor(NamedTuple):
    """A view into a storage; offset and strides in numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, numbers: np.ndarray) -> np.ndarray:
        numbers = numbers[self.storage.start :][: self.storage.count]
        if min(self.offset, *self.shape, *self.strides, 0) < 0 or len(self.shape) != len(self.strides):
            raise ValueError("a tensor's shape, strides and offset do not fit")
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if last >= numbers.size:
            raise ValueError("a tensor reaches beyond its numbers")
        strides = [stride * FLOAT.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)


class StateUnpickler(pickle.Unpickler):
    """Loads plain values, `OrderedDict` and, as `Tensor`, float32 tensors; refuses whatever else is asked for."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")  # the strings of Python 2
        self.counts: dict[str, int] = {}  # of the whole storages

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2":  # the first up to PyTorch 0.3
                return self._tensor
            case "torch._utils", "_rebuild_parameter":  # a tensor that was trained, as in torchvision's AlexNet
                return lambda tensor, *_gradient: tensor
            case "torch" | "torch.cuda", "FloatStorage":
                return "float32"
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _, count, *views = pid
        if (kind, dtype) != ("storage", "float32"):
            raise pickle.UnpicklingError("it holds other things than float32 storages")
        self.counts[key] = count
        view = next(iter(views), None)  # of the stream alone: None, or (its key, start, count)
        return Storage(key, *(view[1:] if view else (0, count)))

    def _tensor(self, storage, offset, shape, strides, *_gradient) -> Tensor:
        return Tensor(storage, offset, tuple(shape), tuple(strides))


def _read_zip(archive: zipfile.ZipFile, folder: str) -> dict[str, np.ndarray]:
    def entry(name: str) -> bytes:
        info = archive.getinfo(folder + name)
        if info.compress_type != zipfile.ZIP_STORED:  # PyTorch compresses nothing; an archive bomb does
            raise ValueError(f"{info.filename} is compressed")
        return archive.read(info)

    if folder + "byteorder" in archive.namelist() and entry("byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    unpickler = StateUnpickler(io.BytesIO(entry("data.pkl")))
    state = unpickler.load()
    storages = {key: np.frombuffer(entry(f"data/{key}"), FLOAT) for key in unpickler.counts}
    return _arrays(state, storages, unpickler.counts)


def _read_stream(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        if (StateUnpickler(file).load(), StateUnpickler(file).load()) != (MAGIC, VERSION):
            raise ValueError("it is no PyTorch file")
        if not StateUnpickler(file).load()["little_endian"]:
            raise ValueError("its numbers are big-endian")
        unpickler = StateUnpickler(file)
        state = unpickler.load()
        size = os.fstat(file.fileno()).st_size
        storages = {}
        for key in StateUnpickler(file).load():
            count = int.from_bytes(file.read(8), "little")
            if count * FLOAT.itemsize > size - file.tell():
                raise EOFError("it is cut off")
            storages[key] = np.fromfile(file, FLOAT, count)
    return _arrays(state, storages, unpickler.counts)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with load_npz(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if array.dtype != FLOAT:
            raise ValueError(f"{name} is {array.dtype}")
    return arrays


def _arrays(state: Any, storages: dict[str, np.ndarray], counts: dict[str, int]) -> dict[str, np.ndarray]:
    named: Iterable[tuple[Any, Any]] = OrderedDict.items(OrderedDict(state))
    for key, count in counts.items():
        if storages[key].size != count:
            raise ValueError(f"storage {key} has {storages[key].size} numbers, not {count}")
    arrays = {}
    for name, tensor in named:
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is no tensor")
        arrays[name] = tensor.array(storages[tensor.storage.key])
    return arrays
