"""LPIPS v0.1: the distance of two images in the features of a classification network, weighted to match people.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, section 3.
Unlike PSNR it asks for sharpness: 0 for equal images, about 0.3 for bicubic x4 of a face. Differentiable in both
images, so that a loss can be built on it.

The weights are not part of the package. A folder holds, as NumPy archives with kernels in HWIO:

- `squeezenet1_1_torchvision.npz`: torchvision's SqueezeNet 1.1, `features_0__kernel`, `features_0__bias`,
  `features_3_squeeze__kernel`, `features_3_expand1x1__kernel` ...;
- `lpips_v0.1_lin_squeeze.npz`: the authors' linear heads (BSD-2), `lin0` to `lin6`, a weight for each channel.
"""

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from keras_fsr.errors import DataError, ModelError, first_line
from keras_fsr.files import WEIGHTS_VARIABLE

# The authors' ScalingLayer: ImageNet's mean and deviation, for RGB in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-8  # under the root of the feature norm, as in torchmetrics: its gradient stays finite where all are 0


class LPIPS:
    """LPIPS of image batches.

    Args:
        weights: folder of the weights; by default the one that the environment variable `WEIGHTS_VARIABLE` names.
        backbone: the network whose features are compared, one of `BACKBONES`.

    Raises:
        ModelError: the backbone is unknown, or its files are missing, damaged or of another network.
    """

    def __init__(self, weights: Path | str | None = None, backbone: str = "squeeze"):
        if backbone not in BACKBONES:
            raise ModelError(f"LPIPS has no backbone {backbone}; choose from {', '.join(BACKBONES)}")
        self.backbone = backbone
        self._recipe = BACKBONES[backbone]
        files = [find_weights(name, weights) for name in (self._recipe.file, f"lpips_v0.1_lin_{backbone}.npz")]
        self.features = _build(self._recipe.build, files[0])
        self._heads = _build(self._make_heads, files[1])

    def __call__(self, reference, image):
        """The distance of each pair.

        Args:
            reference, image: (N, H, W, 3) RGB in [0, 1], of one shape.

        Returns:
            (N,) float32, 0 for equal images; the order of the two does not matter.

        Raises:
            DataError: the images are not RGB, differ in shape or are too small for the network.
        """
        self._check(tuple(reference.shape), tuple(image.shape))
        taps = [self.features(_normalize(ops.convert_to_tensor(x, "float32"))) for x in (reference, image)]
        distance = 0.0
        for head, a, b in zip(self._heads, *taps, strict=True):
            difference = ops.square(_unit_length(a) - _unit_length(b))
            distance += ops.mean(ops.sum(difference * head, axis=-1), axis=(1, 2))
        return distance

    def _make_heads(self, archive: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        heads = [archive[f"lin{i}"].astype("float32") for i in range(len(self.features.outputs))]
        for i, (head, tap) in enumerate(zip(heads, self.features.outputs, strict=True)):
            if head.shape != tap.shape[-1:]:
                raise ValueError(f"lin{i} has shape {head.shape}, not ({tap.shape[-1]},)")
        return heads

    def _check(self, reference: tuple, image: tuple) -> None:
        if len(reference) != 4 or reference[3] != 3 or reference != image:
            raise DataError(f"LPIPS compares two (N, H, W, 3) batches of one shape, not {reference} and {image}")
        smallest = self._recipe.smallest
        if any(side is not None and side < smallest for side in reference[1:3]):
            raise DataError(
                f"an image of {reference[2]}x{reference[1]} is too small for LPIPS; give at least {smallest} pixels"
            )


def find_weights(name: str, folder: Path | str | None = None) -> Path:
    """A file in the folder of weights, given or named by the environment variable.

    Raises:
        ModelError: there is no such folder or file.
    """
    folder = folder or os.environ.get(WEIGHTS_VARIABLE)
    if not folder:
        raise ModelError(
            f"{name}: no folder of weights; set {WEIGHTS_VARIABLE} (or --weights) to the one that holds it"
        )
    path = Path(folder) / name
    if not path.is_file():
        raise ModelError(f"{path}: is missing; put it there, or set {WEIGHTS_VARIABLE} (or --weights) to its folder")
    return path


def squeezenet(archive: Mapping[str, np.ndarray]) -> keras.Model:
    """SqueezeNet 1.1 without its classifier; outputs the features after its first ReLU and fires 4, 7 and 9 to 12.

    Source: Iandola et al., "SqueezeNet", 2016, in torchvision's version 1.1 and with its layer numbers.
    """

    def conv(x, name: str, stride: int = 1):
        kernel, bias = archive[f"{name}__kernel"], archive[f"{name}__bias"]
        layer = layers.Conv2D(
            kernel.shape[-1],
            kernel.shape[0],
            stride,
            padding="valid" if stride > 1 else "same",
            activation="relu",
            name=name,
            dtype="float32",
        )
        y = layer(x)
        layer.set_weights([kernel.astype("float32"), bias.astype("float32")])
        return y

    def fire(x, number: int):
        name = f"features_{number}"
        x = conv(x, f"{name}_squeeze")
        branches = [conv(x, f"{name}_expand1x1"), conv(x, f"{name}_expand3x3")]
        return layers.Concatenate(name=name, dtype="float32")(branches)

    def pool(x):
        # torchvision rounds the size up; zeros change no maximum, for every feature is at least 0.
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), dtype="float32")(x)
        return layers.MaxPooling2D(3, 2, dtype="float32")(x)

    inputs = keras.Input((None, None, 3), dtype="float32")
    x = conv(inputs, "features_0", stride=2)
    taps = [x]
    for numbers in ((3, 4), (6, 7), (9, 10, 11, 12)):
        x = pool(x)
        for number in numbers:
            x = fire(x, number)
            if number not in (3, 6):
                taps.append(x)
    model = keras.Model(inputs, taps, name="squeezenet1_1")
    model.trainable = False
    return model


@dataclass(frozen=True)
class Backbone:
    """A network that LPIPS can look through."""

    file: str  # its weights
    build: Callable[[Mapping[str, np.ndarray]], keras.Model]  # archive -> normalised RGB to the list of its taps
    smallest: int  # side in pixels below which a layer has no room


BACKBONES = {"squeeze": Backbone("squeezenet1_1_torchvision.npz", squeezenet, smallest=17)}
"""Name, as in the file of its heads -> network."""


def _build(make: Callable, path: Path):
    """What `make` makes of a NumPy archive; whatever is wrong with that is said in one line."""
    try:
        archive = np.load(path)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("not an .npz archive")
        with archive:
            return make(archive)
    except (OSError, EOFError, KeyError, IndexError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: is not the file LPIPS needs ({first_line(error)}); fetch it anew") from error


def _normalize(image):
    """RGB in [0, 1] as the backbones were trained on."""
    shift, scale = (np.array(values, "float32") for values in (_SHIFT, _SCALE))
    return (image * 2.0 - 1.0 - shift) / scale


def _unit_length(features):
    """Each position's features scaled to length 1."""
    return features / ops.sqrt(ops.sum(ops.square(features), axis=-1, keepdims=True) + _EPSILON)
