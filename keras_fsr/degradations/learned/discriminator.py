"""The discriminator of learned degradations: is this LQ image what such a degradation makes of this HQ image?"""

import keras
from keras import layers, ops

from keras_fsr.degradations.learned.degnet import SLOPE
from keras_fsr.layers import SpectralConv2D


@keras.saving.register_keras_serializable(package="keras_fsr")
class PairDiscriminator(keras.Model):
    """[HQ (N, H * scale, W * scale, 3), LQ (N, H, W, 3), Omega (N, size)] -> logits (N, H / 4, W / 4, 1).

    A logit for each patch, above 0 where the LQ image looks real: of the pair alone, plus how well it fits Omega (a
    projection: Miyato and Koyama, 2018). Spectral normalisation throughout.

    Source: paper D's discriminator; ReDegNet's judges the pair with Omega, too.

    Args:
        scale: HQ side / LQ side.
        size: length of Omega.
        num_features: channels at LQ resolution; they double twice.
    """

    def __init__(self, scale: int = 4, size: int = 64, num_features: int = 32, **kwargs):
        hq, lq = keras.Input((None, None, 3), name="hq"), keras.Input((None, None, 3), name="lq")
        omega = keras.Input((size,), name="omega")
        change = layers.Subtract()([lq, layers.AveragePooling2D(scale)(hq)])
        x = layers.Concatenate()([lq, change])
        for index in range(3):
            x = SpectralConv2D(num_features * 2**index, 4 if index else 3, 2 if index else 1, name=f"conv{index}")(x)
            x = layers.LeakyReLU(negative_slope=SLOPE)(x)
        x = layers.LeakyReLU(negative_slope=SLOPE)(SpectralConv2D(num_features * 4, name="conv3")(x))
        wanted = layers.Dense(num_features * 4, name="projection")(omega)
        logits = Projection(dtype="float32", name="fit")([x, wanted])
        logits = layers.Add(dtype="float32")([logits, SpectralConv2D(1, name="logits", dtype="float32")(x)])
        super().__init__([hq, lq, omega], logits, **kwargs)
        self.config = {"scale": scale, "size": size, "num_features": num_features}

    def get_config(self):
        return {"name": self.name, **self.config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_fsr")
class Projection(keras.layers.Layer):
    """[maps (N, H, W, C), vector (N, C)] -> (N, H, W, 1): mean product of each pixel's features with the vector."""

    def call(self, inputs):
        maps, vector = (ops.cast(x, "float32") for x in inputs)
        return ops.mean(maps * vector[:, None, None, :], axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], 1)
