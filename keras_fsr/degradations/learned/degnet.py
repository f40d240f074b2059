"""DegNet: an (HQ, LQ) pair -> the vector Omega of what happened between them.

Source: Dolatkah, paper D (degradation learned from pairs: DegNet and SynNet). The published sister work's network
(ReDegNet, Li et al., 2022) flattens its last map and so keeps where things are; here every stage is reduced to means
and standard deviations, which know no place: the same degradation on another face has the same Omega.
"""

from collections.abc import Sequence

import keras
from keras import layers, ops

from keras_fsr.layers import PixelUnshuffle

SLOPE = 0.2
_register = keras.saving.register_keras_serializable(package="keras_fsr")


@_register
class Statistics(keras.layers.Layer):
    """(N, H, W, C) -> (N, 2 C): mean and standard deviation of each channel, in float32."""

    def call(self, x):
        x = ops.cast(x, "float32")
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        deviation = ops.sqrt(ops.mean(ops.square(x - mean), axis=(1, 2)) + 1e-6)
        return ops.concatenate([mean[:, 0, 0], deviation], axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 2 * input_shape[-1])


@_register
class UnitRMS(keras.layers.Layer):
    """(N, D) -> (N, D) of root mean square 1 (StyleGAN's pixel norm), in float32."""

    def call(self, x):
        x = ops.cast(x, "float32")
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-8)


@_register
class DegNet(keras.Model):
    """[HQ (N, H * scale, W * scale, 3), LQ (N, H, W, 3)], RGB in [0, 1] -> Omega (N, size), of root mean square 1.

    H and W are multiples of 8. The HQ image enters as its pixels in LQ resolution (pixel unshuffle), beside the LQ
    image and what the LQ image has more than the block means of the HQ image.

    Args:
        scale: HQ side / LQ side.
        size: length of Omega.
        filters: channels of the four stages, each at half the resolution of the one before.
        hidden: width of the two dense layers before Omega.
    """

    def __init__(
        self,
        scale: int = 4,
        size: int = 64,
        filters: Sequence[int] = (64, 96, 128, 128),
        hidden: int = 256,
        **kwargs,
    ):
        hq, lq = keras.Input((None, None, 3), name="hq"), keras.Input((None, None, 3), name="lq")
        reduced = layers.AveragePooling2D(scale, name="reduce")(hq)
        change = layers.Subtract(name="change")([lq, reduced])
        x = layers.Concatenate(name="pair")([PixelUnshuffle(scale, name="unshuffle")(hq), lq, change])
        pooled = []
        for stage, channels in enumerate(filters):
            x = layers.Conv2D(channels, 3, strides=2 if stage else 1, padding="same", name=f"conv{stage}a")(x)
            x = layers.LeakyReLU(negative_slope=SLOPE)(x)
            x = layers.Conv2D(channels, 3, padding="same", name=f"conv{stage}b")(x)
            x = layers.LeakyReLU(negative_slope=SLOPE)(x)
            pooled.append(Statistics(name=f"statistics{stage}", dtype="float32")(x))
        x = layers.Concatenate(name="pooled")(pooled)
        for index in range(2):
            x = layers.Dense(hidden, name=f"dense{index}")(x)
            x = layers.LeakyReLU(negative_slope=SLOPE)(x)
        omega = UnitRMS(name="unit", dtype="float32")(layers.Dense(size, dtype="float32", name="omega")(x))
        super().__init__([hq, lq], omega, **kwargs)
        self.config = {"scale": scale, "size": size, "filters": list(filters), "hidden": hidden}

    def get_config(self):
        return {"name": self.name, **self.config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
