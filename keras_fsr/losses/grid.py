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
    does not see it. Two parts are added:

    - the lines at the frequencies k / scale of the row and the column profile, which is what
      `keras_fsr.metrics.grid` measures: a pattern that is locked along one axis and free along the other;
    - the comb of their crossings, where a pattern locked along both axes concentrates. It barely shows in the
      profile of a patch, which has few bins, but doubles there with each doubling of the image's side.

    The logarithms are averaged over the batch, so that a faint pattern on skin weighs as much as one in hair. The
    power around a peak is held constant: the remedy is to lower the peak, not to raise the rest.

    Args:
        scale: the generator's scale. Image sides are multiples of it and at least 20 * scale.
    """

    compares_pixels = False

    def __init__(self, scale: int = 4, weight: float = 1.0, name: str = "grid", **kwargs):
        super().__init__(weight, name, **kwargs)
        self.scale = scale

    def call(self, y_true, y_pred):
        power = spectrum(luma(y_pred)[..., 0])
        points = ops.mean(ops.log(comb_ratio(power, self.scale)))
        lines = ops.mean(ops.log(line_ratios(power, self.scale)), axis=0)
        return self.weight * (ops.relu(points) + ops.sum(ops.relu(lines)))

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def spectrum(image):
    """Power spectrum under a Hann window and a Laplacian, (N, H, W) in [0, 1] -> (N, H, W).

    The Laplacian levels the steep spectrum of a natural image. What 8 bits cannot hold counts as noise: there is
    no pattern below it.
    """
    height, width = ops.shape(image)[1:3]
    window = hann(height)[:, None] * hann(width)[None, :]
    windowed = (image - ops.mean(image, axis=(1, 2), keepdims=True)) * window
    real, imaginary = ops.fft2((windowed, ops.zeros_like(windowed)))
    rounding = ops.sum(ops.square(window)) / (12 * 255**2)
    gain = 4 - 2 * cosine(height)[:, None] - 2 * cosine(width)[None, :]
    return (ops.square(real) + ops.square(imaginary) + rounding) * ops.square(gain)


def line_ratios(power, scale: int):
    """Power of the lines over that around them, (N, H, W) -> (N, 2 * lines): rows, then columns; about 1 each."""
    ratios = []
    for axis in (2, 1):
        profile = ops.mean(power, axis=axis)
        size = ops.shape(profile)[1]
        for multiple in range(1, scale // 2 + 1):
            peak = multiple * size // scale
            around = ops.take(profile, (peak + away()) % size, axis=1)
            ratios.append(profile[:, peak] / ops.stop_gradient(ops.mean(around, axis=1)))
    return ops.stack(ratios, axis=1)


def comb_ratio(power, scale: int):
    """Power at the crossings of the lines over that around them, (N, H, W) -> (N,); their mean, about 1."""
    height, width = ops.shape(power)[1:3]
    flat = ops.reshape(power, (-1, height * width))
    points, offsets = comb(scale)
    y, x = points[:, 0] * height // scale, points[:, 1] * width // scale
    peaks = ops.take(flat, y * width + x, axis=1)
    rows = (y[:, None] + offsets[..., 0]) % height
    columns = (x[:, None] + offsets[..., 1]) % width
    around = ops.stop_gradient(ops.mean(ops.take(flat, rows * width + columns, axis=1), axis=2))
    return ops.mean(peaks / around, axis=1)


def comb(scale: int) -> tuple[np.ndarray, np.ndarray]:
    """The points as multiples of 1 / scale, (P, 2), and the offsets in bins of the neighbours of each, (P, K, 2).

    Neighbours lie along both axes, but for points on an axis along that one alone: natural images have more power
    there than beside it.
    """
    along_y, along_x = np.stack([away(), 0 * away()], axis=1), np.stack([0 * away(), away()], axis=1)
    points, offsets = [], []
    for y, x in itertools.product(range(scale), repeat=2):
        if (y, x) == (0, 0):
            continue
        points.append((y, x))
        offsets.append(np.concatenate([along_y if y else along_x, along_x if x else along_y]))
    return np.array(points, "int32"), np.array(offsets, "int32")


def away() -> np.ndarray:
    """Distances in bins from a peak to its neighbours on both sides."""
    distances = np.arange(NEAREST, FARTHEST + 1, dtype="int32")
    return np.concatenate([distances, -distances])


def hann(size):
    """The periodic Hann window, whose transform has three bins and no more."""
    return 0.5 - 0.5 * cosine(size)


def cosine(size):
    """One period of a cosine in `size` samples."""
    return ops.cos(2 * math.pi * ops.arange(size, dtype="float32") / ops.cast(size, "float32"))
