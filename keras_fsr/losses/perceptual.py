"""Losses on feature maps, and total variation."""

from collections.abc import Mapping

import keras
from keras import ops

from keras_fsr.losses.pixel import WeightedLoss

DISTANCES = ("l1", "l2")
_register = keras.saving.register_keras_serializable(package="keras_fsr")


@_register
class Perceptual(WeightedLoss):
    """Distance of feature maps, summed over the taps of an extractor with a weight each.

    Of (maps of the original, maps of the generated image), each a list of (N, H, W, C) in the order of
    `tap_weights`; the Trainer makes them with its feature extractor.

    Args:
        tap_weights: name of the tap -> its weight (lambda_i of paper A, equation 1), in the extractor's order.
        distance: "l1", the mean absolute difference (ESRGAN), or "l2", the mean square (paper A, Johnson et al.).
        relative: divide each tap's distance by the mean absolute value (l1) or mean square (l2) of the original's
            map, so that taps count alike whatever the scale of their features.
        style_weight: share of the Gram term, the same distance between the matrices of mean products of channels
            (Gatys et al., 2016, equation 3).
    """

    def __init__(
        self,
        tap_weights: Mapping[str, float],
        weight: float = 1.0,
        distance: str = "l1",
        relative: bool = False,
        style_weight: float = 0.0,
        name: str = "perceptual",
        **kwargs,
    ):
        super().__init__(weight, name, **kwargs)
        if distance not in DISTANCES:
            raise ValueError(f"perceptual distance is {' or '.join(DISTANCES)}, not {distance!r}")
        self.tap_weights = dict(tap_weights)
        self.distance = distance
        self.relative = relative
        self.style_weight = style_weight

    def call(self, y_true, y_pred):
        total = 0.0
        for tap, true, pred in zip(self.tap_weights.values(), y_true, y_pred, strict=True):
            total += tap * self._distance(true, pred)
            if self.style_weight:
                total += tap * self.style_weight * self._distance(gram(true), gram(pred))
        return self.weight * total

    def _distance(self, true, pred):
        size = ops.abs if self.distance == "l1" else ops.square
        axes = tuple(range(1, len(true.shape)))
        distance = ops.mean(size(true - pred), axis=axes)
        return distance / (ops.mean(size(true), axis=axes) + 1e-6) if self.relative else distance

    def get_config(self):
        return {
            **super().get_config(),
            "tap_weights": self.tap_weights,
            "distance": self.distance,
            "relative": self.relative,
            "style_weight": self.style_weight,
        }


def gram(features):
    """(N, H, W, C) -> (N, C, C): mean over the pixels of the products of each two channels."""
    n, h, w, c = ops.shape(features)
    pixels = ops.reshape(features, (n, h * w, c))
    return ops.matmul(ops.transpose(pixels, (0, 2, 1)), pixels) / ops.cast(h * w, features.dtype)


@_register
class TotalVariation(WeightedLoss):
    """Mean absolute difference of neighbouring pixels of the generated image (Rudin et al., 1992, anisotropic)."""

    compares_pixels = False

    def __init__(self, weight: float = 1.0, name: str = "total_variation", **kwargs):
        super().__init__(weight, name, **kwargs)

    def call(self, y_true, y_pred):
        down = ops.mean(ops.abs(y_pred[:, 1:] - y_pred[:, :-1]), axis=(1, 2, 3))
        right = ops.mean(ops.abs(y_pred[:, :, 1:] - y_pred[:, :, :-1]), axis=(1, 2, 3))
        return self.weight * (down + right)
