"""The networks that every paper compares with, as published, for RGB.

Each maps (N, H, W, 3) RGB in [0, 1] to (N, H * scale, W * scale, 3). SRCNN and VDSR were published for luma alone;
here all three channels go through the same layers, with three instead of one channel at either end.
"""

import keras
from keras import layers

from keras_fsr.layers import BicubicUpsampling, PixelShuffle, ScaledResidual

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


class Baseline(keras.Model):
    """What the baselines share: a functional graph made from a config of plain values."""

    def __init__(self, inputs, outputs, config: dict, **kwargs):
        super().__init__(inputs, outputs, **kwargs)
        self._baseline_config = config
        self.scale = config["scale"]

    def get_config(self):
        return {"name": self.name, **self._baseline_config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def conv(x, filters: int, size: int = 3, **kwargs):
    return layers.Conv2D(filters, size, padding="same", **kwargs)(x)


@keras.saving.register_keras_serializable(package="keras_fsr")
class SRCNN(Baseline):
    """Three convolutions (9-1-5; 64 and 32 filters) on the bicubic enlargement; 20,099 parameters.

    Source: Dong et al., "Image Super-Resolution Using Deep Convolutional Networks" (2015), section 3 and 4.1.
    """

    def __init__(self, scale: int = 4, **kwargs):
        inputs = keras.Input((None, None, 3))
        x = BicubicUpsampling(scale, name="bicubic")(inputs)
        x = conv(x, 64, 9, activation="relu")
        x = conv(x, 32, 1, activation="relu")
        super().__init__(inputs, conv(x, 3, 5, dtype="float32"), {"scale": scale}, **kwargs)


@keras.saving.register_keras_serializable(package="keras_fsr")
class VDSR(Baseline):
    """Twenty 3x3 convolutions that predict what the bicubic enlargement lacks; 668,227 parameters.

    Source: Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks" (2016), section 3.
    """

    def __init__(self, scale: int = 4, depth: int = 20, **kwargs):
        inputs = keras.Input((None, None, 3))
        x = enlarged = BicubicUpsampling(scale, name="bicubic", dtype="float32")(inputs)
        for _ in range(depth - 1):
            x = conv(x, 64, activation="relu", kernel_initializer="he_normal")
        outputs = layers.Add(dtype="float32")([enlarged, conv(x, 3, dtype="float32")])
        super().__init__(inputs, outputs, {"scale": scale, "depth": depth}, **kwargs)


@keras.saving.register_keras_serializable(package="keras_fsr")
class SRResNet(Baseline):
    """The generator of SRGAN: 16 residual blocks with batch normalisation and PReLU; 1,549,462 trainable at x4.

    Source: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a GAN" (2017), figure 4.
    """

    def __init__(self, scale: int = 4, num_blocks: int = 16, **kwargs):
        inputs = keras.Input((None, None, 3))
        x = shallow = prelu(conv(inputs, 64, 9))
        for _ in range(num_blocks):
            branch = prelu(layers.BatchNormalization()(conv(x, 64)))
            branch = layers.BatchNormalization()(conv(branch, 64))
            x = layers.Add()([x, branch])
        x = layers.Add()([shallow, layers.BatchNormalization()(conv(x, 64))])
        for _ in range(stages(scale)):
            x = prelu(PixelShuffle(2)(conv(x, 256)))
        outputs = conv(x, 3, 9, dtype="float32")
        super().__init__(inputs, outputs, {"scale": scale, "num_blocks": num_blocks}, **kwargs)


@keras.saving.register_keras_serializable(package="keras_fsr")
class EDSR(Baseline):
    """Residual blocks without normalisation; the published "baseline" has 1,517,571 parameters at x4.

    The large model is `EDSR(num_features=256, num_blocks=32, residual_scale=0.1)`, 43,089,923 parameters.

    Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution" (2017), table 1.
    """

    def __init__(
        self,
        scale: int = 4,
        num_features: int = 64,
        num_blocks: int = 16,
        residual_scale: float = 1.0,
        **kwargs,
    ):
        inputs = keras.Input((None, None, 3))
        x = layers.Rescaling(1.0, [-mean for mean in DIV2K_MEAN], name="subtract_mean")(inputs)
        x = shallow = conv(x, num_features)
        for _ in range(num_blocks):
            branch = conv(conv(x, num_features, activation="relu"), num_features)
            x = ScaledResidual(residual_scale)([x, branch])
        x = layers.Add()([shallow, conv(x, num_features)])
        for _ in range(stages(scale)):
            x = PixelShuffle(2)(conv(x, 4 * num_features))
        x = conv(x, 3, dtype="float32")
        outputs = layers.Rescaling(1.0, list(DIV2K_MEAN), name="add_mean", dtype="float32")(x)
        config = {
            "scale": scale,
            "num_features": num_features,
            "num_blocks": num_blocks,
            "residual_scale": residual_scale,
        }
        super().__init__(inputs, outputs, config, **kwargs)


def prelu(x):
    """PReLU with one slope for all, as in the authors' framework."""
    return layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25), shared_axes=[1, 2, 3])(x)


def stages(scale: int) -> int:
    """How many doublings make the scale."""
    if scale not in (2, 4, 8):
        raise ValueError(f"scale is 2, 4 or 8, not {scale}")
    return scale.bit_length() - 1
