"""Compact discriminator: six narrow convolutions that halve the image, then one linear layer.

Source: Jiang, Xu and Sun, the GAN that enlarges faces from 512 to 1024 pixels. The paper gives the widths, the
first convolution, LeakyReLU, dropout and "BN on some". The order within a block, its stride, the slope and the
dropout rate are those of the public DCGAN that the description follows.
"""

import keras
from keras import layers

from keras_fsr.discriminators.vgg import normalise

# Channels of each block, and whether it is normalised: the three wide ones are.
BLOCKS = ((12, False), (48, True), (72, True), (48, True), (12, False), (3, False))


@keras.saving.register_keras_serializable(package="keras_fsr")
class CompactDiscriminator(keras.Model):
    """Compact discriminator: (N, image_size, image_size, 3) RGB in [0, 1] -> (N, 1) logits.

    Each block is a 3x3 convolution of stride 2 and padding 1, LeakyReLU 0.2, dropout of whole channels and, in
    the blocks of 48, 72 and 48 channels, batch normalisation. 73,768 trainable parameters at 128 and 74,524 at the
    paper's 1024, where 16x16x3 values reach the linear layer.

    Args:
        image_size: side of the images in pixels.
        dropout: share of the channels that are dropped in training.
    """

    def __init__(self, image_size: int = 128, dropout: float = 0.25, **kwargs):
        inputs = x = keras.Input((image_size, image_size, 3))
        for i, (filters, normalised) in enumerate(BLOCKS):
            # Padded by hand: with stride 2 "same" would pad the right and the bottom alone.
            x = layers.ZeroPadding2D(1, name=f"pad{i}")(x)
            x = layers.Conv2D(filters, 3, strides=2, name=f"conv{i}")(x)
            x = layers.LeakyReLU(negative_slope=0.2, name=f"act{i}")(x)
            x = layers.SpatialDropout2D(dropout, name=f"dropout{i}")(x)
            if normalised:
                x = normalise(x, f"conv{i}")
        x = layers.Flatten(name="flatten")(x)
        super().__init__(inputs, layers.Dense(1, name="logit", dtype="float32")(x), **kwargs)

        self.image_size = image_size
        self.dropout = dropout

    def get_config(self):
        return {"name": self.name, "image_size": self.image_size, "dropout": self.dropout}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
