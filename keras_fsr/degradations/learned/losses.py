"""Losses of learned degradations: how much of what, rather than where; and what makes Omega one."""

import math

import keras
import numpy as np
from keras import ops

from keras_fsr.losses.pixel import WeightedLoss

_register = keras.saving.register_keras_serializable(package="keras_fsr")
BLOCK = 8  # pixels; JPEG's
OPPONENT = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)  # Y, Cb, Cr


@_register
class BandEnergy(WeightedLoss):
    """Mean absolute difference of the log energies in the 63 bands of an 8x8 cosine transform, in nepers.

    Of images (N, H, W, 3) in [0, 1], for brightness and the two colour differences, over all blocks at a distance of
    4 pixels. It knows how strong noise, blur and JPEG are at each frequency, and not where: two draws of the same
    noise are alike to it, where a pixel loss would rather have none. (The place of the style loss on pixels: a Gram
    matrix of fixed filters, its diagonal, as logarithms.)

    Args:
        floor: energy that is added, of the squared rounding to 8 bits by default.
    """

    def __init__(self, weight: float = 1.0, floor: float = 1e-6, name: str = "bands", **kwargs):
        super().__init__(weight, name, **kwargs)
        self.floor = floor

    def call(self, y_true, y_pred):
        return self.weight * ops.mean(ops.abs(self._log_energies(y_true) - self._log_energies(y_pred)), axis=(1, 2))

    def _log_energies(self, images):
        """(N, 3, 63)."""
        planes = ops.matmul(ops.cast(images, "float32"), OPPONENT.T)
        n, h, w, _ = ops.shape(planes)
        planes = ops.reshape(ops.transpose(planes, (0, 3, 1, 2)), (n * 3, h, w, 1))
        bands = ops.conv(planes, cosine_filters(), BLOCK // 2, padding="valid", data_format="channels_last")
        energy = ops.mean(ops.square(bands), axis=(1, 2))
        return ops.log(ops.reshape(energy, (n, 3, BLOCK**2 - 1)) + self.floor)

    def get_config(self):
        return {**super().get_config(), "floor": self.floor}


def cosine_filters() -> np.ndarray:
    """The orthonormal 8x8 cosine transform as (8, 8, 1, 63) convolution kernels, without the mean."""
    k, x = np.arange(BLOCK)[:, None], np.arange(BLOCK)[None, :]
    basis = np.sqrt(2 / BLOCK) * np.cos(math.pi * (2 * x + 1) * k / (2 * BLOCK))
    basis[0] /= math.sqrt(2)
    filters = np.einsum("iy,jx->yxij", basis, basis).reshape(BLOCK, BLOCK, 1, BLOCK**2)
    return filters[..., 1:].astype(np.float32)


@_register
class SameOmega(WeightedLoss):
    """Mean absolute difference of two Omegas (N, size) of the same degradation (ReDegNet's consistency)."""

    def __init__(self, weight: float = 1.0, name: str = "same", **kwargs):
        super().__init__(weight, name, **kwargs)

    def call(self, y_true, y_pred):
        return self.weight * ops.mean(ops.abs(y_true - y_pred), axis=-1)


@_register
class OtherOmega(WeightedLoss):
    """What two Omegas (N, size) of different degradations lack of a mean absolute difference of `margin`.

    The bounded form of the published 1 / distance, which rewards any two vectors without end.
    """

    def __init__(self, weight: float = 1.0, margin: float = 0.5, name: str = "other", **kwargs):
        super().__init__(weight, name, **kwargs)
        self.margin = margin

    def call(self, y_true, y_pred):
        distance = ops.mean(ops.abs(y_true - y_pred), axis=-1)
        return self.weight * ops.relu(self.margin - distance)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}
