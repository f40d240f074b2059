"""U-Net discriminator with spectral normalisation: one logit a pixel.

Source: Wang et al., "Real-ESRGAN" (2021), section 3.4 and figure 6, with the layer sizes of the authors' release.
"""

import keras
from keras import layers

from keras_fsr.layers import SpectralConv2D

SLOPE = 0.2


@keras.saving.register_keras_serializable(package="keras_fsr")
class UNetDiscriminator(keras.Model):
    """(N, H, W, 3) RGB in [0, 1] -> (N, H, W, 1) logits, above 0 where a pixel looks real.

    H and W are multiples of 8. 4,376,897 trainable parameters with 64 features. A verdict for each pixel tells
    the generator where the texture is wrong, and spectral normalisation keeps it from becoming too sure.

    Args:
        num_features: channels at full size; they double at each of three halvings.
    """

    def __init__(self, num_features: int = 64, **kwargs):
        inputs = keras.Input((None, None, 3))
        x = activate(layers.Conv2D(num_features, 3, padding="same", name="conv_first")(inputs))
        skips = []
        for i in range(1, 4):
            skips.append(x)
            x = activate(SpectralConv2D(num_features * 2**i, 4, strides=2, use_bias=False, name=f"down{i}")(x))
        for i in range(3, 0, -1):
            x = layers.UpSampling2D(2, interpolation="bilinear", name=f"enlarge{i}")(x)
            x = activate(SpectralConv2D(num_features * 2 ** (i - 1), use_bias=False, name=f"up{i}")(x))
            x = layers.Add(name=f"skip{i}")([x, skips[i - 1]])
        for i in range(1, 3):
            x = activate(SpectralConv2D(num_features, use_bias=False, name=f"conv{i}")(x))
        logits = layers.Conv2D(1, 3, padding="same", dtype="float32", name="logits")(x)
        super().__init__(inputs, logits, **kwargs)
        self.num_features = num_features

    def get_config(self):
        return {"name": self.name, "num_features": self.num_features}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def activate(x):
    return layers.LeakyReLU(negative_slope=SLOPE)(x)
