"""ImageNet weights for the reduced VGG: downloaded once, or read from a file or folder of yours."""

import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_fsr.archives import check_h5, load_npz
from keras_fsr.errors import ModelError, first_line
from keras_fsr.files import WEIGHTS_VARIABLE

# The files of keras.applications, with the checksums (MD5) it states for them.
ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/vgg{depth}/"
FILES = {
    16: ("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    19: ("vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "253f8cb515780f3b799900260a226db6"),
}


def load_imagenet(network: keras.Model, path: Path | str | None = None) -> None:
    """Fills a `VGG` with ImageNet weights.

    Where the network is narrower than the original, each layer keeps the filters with the largest sum of
    absolute weights (Li et al., "Pruning Filters for Efficient ConvNets", 2017, section 3.1).

    Args:
        path: a `.npz` with `<layer>__kernel` and `<layer>__bias`, a Keras `.h5` of VGG16 or VGG19, or a folder
            that holds one of them. None takes the folder named by the environment variable KERAS_FSR_WEIGHTS,
            or, where that is not set, downloads the file of `keras.applications` into Keras' cache.

    Raises:
        ModelError: no file, not the weights of this network, or no connection.
    """
    file = find(network, Path(path)) if path else find_or_download(network)
    try:
        with read(file) as weights:
            fill(network, weights.get)
    except ModelError:
        raise
    except KeyError as error:
        raise ModelError(f"{file}: holds no VGG{network.depth} up to {network.cut} ({first_line(error)})") from None
    except Exception as error:  # zip, HDF5 and shapes each raise their own
        raise ModelError(f"{file}: is not a file of VGG weights ({first_line(error)})") from None


def find_or_download(network: keras.Model) -> Path:
    folder = os.environ.get(WEIGHTS_VARIABLE)
    if folder:
        return find(network, Path(folder))
    name, digest = FILES[network.depth]
    try:
        return Path(keras.utils.get_file(name, ADDRESS.format(depth=network.depth) + name, file_hash=digest))
    except Exception as error:  # whatever the network stack raises
        raise ModelError(
            f"VGG{network.depth}'s ImageNet weights cannot be downloaded ({first_line(error)}); "
            f"put {name} into a folder and set {WEIGHTS_VARIABLE} to it"
        ) from None


def find(network: keras.Model, path: Path) -> Path:
    """The file itself, or the one in a folder that belongs to the network's depth."""
    if path.is_file():
        return path
    for pattern in (FILES[network.depth][0], f"vgg{network.depth}*.npz", f"vgg{network.depth}*.h5"):
        for file in sorted(path.glob(pattern)):
            return file
    name = FILES[network.depth][0]
    raise ModelError(f"{path}: holds no weights of VGG{network.depth}; put {name} or a vgg{network.depth}*.npz there")


class NpzWeights:
    """`<layer>__kernel` and `<layer>__bias` of a NumPy archive."""

    def __init__(self, path: Path):
        self.file = load_npz(path)

    def get(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        return self.file[f"{layer}__kernel"], self.file[f"{layer}__bias"]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()


class H5Weights:
    """The legacy HDF5 layout of `keras.applications`: `<layer>/<layer>/kernel:0`, or `<layer>/<layer>_W_1:0`."""

    def __init__(self, path: Path):
        import h5py

        self.file = h5py.File(path, "r")
        check_h5(self.file, path.stat().st_size)

    def get(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        group = self.file[layer]
        arrays = [group[name][()] for name in group.attrs["weight_names"]]
        return arrays[0], arrays[1]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()


def read(path: Path) -> NpzWeights | H5Weights:
    return NpzWeights(path) if path.suffix == ".npz" else H5Weights(path)


def fill(network: keras.Model, get: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> None:
    kept = slice(None)  # the input channels that the layer before has left
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = get(layer.name)
            kernel = kernel[:, :, kept]
            kept = strongest(kernel, layer.filters)
            layer.set_weights([kernel[..., kept], bias[kept]])


def strongest(kernel: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` filters with the largest L1 norm, in their order."""
    norms = np.abs(kernel).sum(axis=(0, 1, 2))
    return np.sort(np.argsort(-norms, kind="stable")[:count])
