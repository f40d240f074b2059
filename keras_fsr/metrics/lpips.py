"""LPIPS v0.1: the distance of two images in the features of a classification network, weighted to match people.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, section 3.
Unlike PSNR it asks for sharpness: 0 for equal images, about 0.3 for bicubic x4 of a face. Differentiable in both
images, so that a loss can be built on it.

The weights, of torchvision's networks and of the authors' linear heads (BSD-2), are not part of the package:
`lpips_weights` finds or downloads them, `lpips_networks` builds the networks.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from keras import ops

from keras_fsr.errors import DataError, ModelError, first_line
from keras_fsr.metrics.lpips_networks import BACKBONES
from keras_fsr.metrics.lpips_weights import find_weights, read_weights

# The authors' ScalingLayer: ImageNet's mean and deviation, for RGB in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-8  # under the root of the feature norm, as in torchmetrics: its gradient stays finite where all are 0


class LPIPS:
    """LPIPS of image batches.

    Args:
        weights: folder of the weights, as in `find_weights`: by default the one that the environment variable
            KERAS_FSR_WEIGHTS names, and where that is not set, a download.
        backbone: the network whose features are compared: "squeeze", the smallest; "vgg", which the authors advise
            for losses; "alex", which they advise for measuring.

    Raises:
        ModelError: the backbone is unknown, or its files are missing, damaged or of another network.
    """

    def __init__(self, weights: Path | str | None = None, backbone: str = "squeeze"):
        if backbone not in BACKBONES:
            raise ModelError(f"LPIPS has no backbone {backbone}; choose from {', '.join(BACKBONES)}")
        self.backbone = backbone
        network, heads = find_weights(backbone, weights)
        self.features = _build(BACKBONES[backbone].build, network)
        self._heads = _build(self._make_heads, heads)

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

    def _make_heads(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        heads = [arrays[f"lin{i}"].astype("float32") for i in range(len(self.features.outputs))]
        for i, (head, tap) in enumerate(zip(heads, self.features.outputs, strict=True)):
            if head.shape != tap.shape[-1:]:
                raise ValueError(f"lin{i} has shape {head.shape}, not ({tap.shape[-1]},)")
        return heads

    def _check(self, reference: tuple, image: tuple) -> None:
        alike = len(reference) == len(image) and all(
            a == b or None in (a, b) for a, b in zip(reference, image, strict=True)
        )
        if len(reference) != 4 or reference[3] != 3 or not alike:
            raise DataError(f"LPIPS compares two (N, H, W, 3) batches of one shape, not {reference} and {image}")
        smallest = BACKBONES[self.backbone].smallest
        if any(side is not None and side < smallest for side in reference[1:3]):
            raise DataError(
                f"an image of {reference[2]}x{reference[1]} is too small for LPIPS ({self.backbone}); give at least "
                f"{smallest} pixels a side"
            )


def _build(make: Callable, path: Path):
    """What `make` makes of a file's arrays; whatever is wrong with that is said in one line."""
    try:
        return make(read_weights(path))
    except Exception as error:  # archives, arrays and layers each raise their own
        reason = f"it lacks {error}" if isinstance(error, KeyError) else first_line(error)
        raise ModelError(f"{path}: is not the file LPIPS needs ({reason}); fetch it anew") from error


def _normalize(image):
    """RGB in [0, 1] as the backbones were trained on."""
    shift, scale = (np.array(values, "float32") for values in (_SHIFT, _SCALE))
    return (image * 2.0 - 1.0 - shift) / scale


def _unit_length(features):
    """Each position's features scaled to length 1."""
    return features / ops.sqrt(ops.sum(ops.square(features), axis=-1, keepdims=True) + _EPSILON)
