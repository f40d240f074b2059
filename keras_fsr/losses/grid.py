"""A penalty on the pattern that up-sampling by pixel shuffle leaves under a perceptual loss."""

import itertools
import math

import keras
import numpy as np
from keras import ops

from keras_fsr.losses.pixel import WeightedLoss, luma

NEAREST, FARTHEST = 3, 8  # frequency bins, counted from the peak, that say how much power is natural there


@keras.saving.register_keras_serializable(package="keras_fsr")
class GridPenalty(WeightedLoss):
    """Logarithm of the spectral peaks of the up-sampling grid over their neighbourhood; 0 where none stands out.

    A pattern locked to the LR pixels is the cheapest texture for a perceptual loss, which rewards it, and LPIPS
    does not see it. In the 2-D spectrum it is a comb: points at the frequencies k / scale along rows and columns.
    `keras_fsr.metrics.grid` finds the same lines in the profiles of whole images; patches are smaller, so that
    there the comb's points have to be looked at one by one to stand out as clearly. The logarithms are averaged
    over the batch, so that a faint pattern on skin weighs as much as a strong one in hair.

    Args:
        scale: the generator's scale. Image sides are multiples of it and at least 20 * scale.
    """

    def __init__(self, scale: int = 4, weight: float = 1.0, name: str = "grid", **kwargs):
        super().__init__(weight, name, **kwargs)
        self.scale = scale

    def call(self, y_true, y_pred):
        ratios = comb_ratio(luma(y_pred)[..., 0], self.scale)
        return self.weight * ops.relu(ops.mean(ops.log(ratios)))

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def comb_ratio(image, scale: int):
    """Power at the comb's points over that around them, (N, H, W) -> (N,); the mean over points, about 1.

    The power around is held constant: the remedy is to lower the peaks, not to raise the rest.
    """
    height, width = ops.shape(image)[1:3]
    window = hann(height)[:, None] * hann(width)[None, :]
    rounding = ops.sum(ops.square(window)) / (12 * 255**2)  # power of what 8 bits cannot hold: no pattern below it
    windowed = (image - ops.mean(image, axis=(1, 2), keepdims=True)) * window
    real, imaginary = ops.fft2((windowed, ops.zeros_like(windowed)))
    power = ops.reshape(ops.square(real) + ops.square(imaginary), (-1, height * width)) + rounding
    points, offsets = comb(scale)
    y, x = points[:, 0] * height // scale, points[:, 1] * width // scale
    peaks = ops.take(power, y * width + x, axis=1)
    rows = (y[:, None] + offsets[..., 0]) % height
    columns = (x[:, None] + offsets[..., 1]) % width
    around = ops.stop_gradient(ops.mean(ops.take(power, rows * width + columns, axis=1), axis=2))
    return ops.mean(peaks / around, axis=1)


def hann(length):
    """The periodic Hann window, whose transform has three bins and no more."""
    return 0.5 - 0.5 * ops.cos(2 * math.pi * ops.arange(length, dtype="float32") / ops.cast(length, "float32"))


def comb(scale: int) -> tuple[np.ndarray, np.ndarray]:
    """The points as multiples of 1 / scale, (P, 2), and the offsets in bins of the neighbours of each, (P, K, 2).

    Neighbours lie along both axes, but for points on an axis along that one alone: natural images have more power
    there than beside it. Half of the spectrum suffices, the other mirrors it.
    """
    away = np.concatenate([np.arange(NEAREST, FARTHEST + 1), -np.arange(NEAREST, FARTHEST + 1)])
    along_y, along_x = np.stack([away, 0 * away], axis=1), np.stack([0 * away, away], axis=1)
    points, offsets = [], []
    for y, x in itertools.product(range(scale // 2 + 1), range(scale)):
        if (y, x) == (0, 0):
            continue
        points.append((y, x))
        offsets.append(np.concatenate([along_y if y else along_x, along_x if x else along_y]))
    return np.array(points, "int32"), np.array(offsets, "int32")
