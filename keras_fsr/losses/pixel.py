"""Pixel losses, each a `keras.losses.Loss` that carries its weight."""

import keras
from keras import ops


class WeightedLoss(keras.losses.Loss):
    """A loss times its weight; the mean over everything but the batch, then over the batch.

    Args:
        weight: factor of this term in a sum of losses.
    """

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


PIXEL_LOSSES = {"l1": L1, "mse": MSE, "charbonnier": Charbonnier}
