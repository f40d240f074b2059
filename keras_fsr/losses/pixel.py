"""Pixel losses, each a `keras.losses.Loss` that carries its weight."""

import keras
from keras import ops

# BT.601 studio range, for R, G, B in 0..1
LUMA = (65.481, 128.553, 24.966)


class WeightedLoss(keras.losses.Loss):
    """A loss times its weight; the mean over everything but the batch, then over the batch.

    Args:
        weight: factor of this term in a sum of losses.

    Attributes:
        compares_pixels: whether it pulls every pixel towards the original's, so that a GAN cannot drift away.
    """

    compares_pixels = True

    def __init__(self, weight: float = 1.0, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.weight = weight

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}


@keras.saving.register_keras_serializable(package="keras_fsr")
class L1(WeightedLoss):
    """Mean absolute difference of (N, H, W, C) images."""

    def __init__(self, weight: float = 1.0, name: str = "l1", **kwargs):
        super().__init__(weight, name, **kwargs)

    def call(self, y_true, y_pred):
        return self.weight * ops.mean(ops.abs(y_true - y_pred), axis=(1, 2, 3))


@keras.saving.register_keras_serializable(package="keras_fsr")
class MSE(WeightedLoss):
    """Mean squared difference of (N, H, W, C) images."""

    def __init__(self, weight: float = 1.0, name: str = "mse", **kwargs):
        super().__init__(weight, name, **kwargs)

    def call(self, y_true, y_pred):
        return self.weight * ops.mean(ops.square(y_true - y_pred), axis=(1, 2, 3))


@keras.saving.register_keras_serializable(package="keras_fsr")
class Charbonnier(WeightedLoss):
    """Mean of sqrt(difference**2 + epsilon**2): L1 with a round bottom (Lai et al., LapSRN, 2017).

    Args:
        epsilon: width of the bottom, in units of the pixel range.
    """

    def __init__(self, weight: float = 1.0, epsilon: float = 1e-3, name: str = "charbonnier", **kwargs):
        super().__init__(weight, name, **kwargs)
        self.epsilon = epsilon

    def call(self, y_true, y_pred):
        smooth = ops.sqrt(ops.square(y_true - y_pred) + self.epsilon**2)
        return self.weight * ops.mean(smooth, axis=(1, 2, 3))

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="keras_fsr")
class L1SSIM(WeightedLoss):
    """L1 plus `ssim_weight` times (1 - SSIM of the luma), 11x11 Gaussian window of sigma 1.5 (images >= 11x11).

    Source: Zhao et al., "Loss Functions for Image Restoration with Neural Networks" (2017), section 3.4, there
    with MS-SSIM; a small share of SSIM keeps the structure that L1 alone gives up for the median.

    Args:
        ssim_weight: factor of the SSIM term.
    """

    def __init__(self, weight: float = 1.0, ssim_weight: float = 0.2, name: str = "l1_ssim", **kwargs):
        super().__init__(weight, name, **kwargs)
        self.ssim_weight = ssim_weight

    def call(self, y_true, y_pred):
        l1 = ops.mean(ops.abs(y_true - y_pred), axis=(1, 2, 3))
        similarity = ops.image.ssim(luma(y_true), luma(y_pred), max_val=1.0)
        return self.weight * (l1 + self.ssim_weight * (1.0 - similarity))

    def get_config(self):
        return {**super().get_config(), "ssim_weight": self.ssim_weight}


def luma(image):
    """(N, H, W, 3) RGB in [0, 1] -> (N, H, W, 1) BT.601 luma, studio range over 255."""
    return ops.sum(image * ops.array([v / 255.0 for v in LUMA], image.dtype), axis=-1, keepdims=True) + 16.0 / 255.0


PIXEL_LOSSES = {"l1": L1, "mse": MSE, "charbonnier": Charbonnier, "l1_ssim": L1SSIM}
