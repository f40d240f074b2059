"""SynNet: an HQ image and an Omega -> the LQ image that this degradation makes of it.

Source: Dolatkah, paper D: Omega -> W by dense layers, W modulates the convolutions (MC blocks) that turn the content
features of the HQ image into the LQ image. The modulated convolution is StyleGAN2's (Karras et al., 2020, section
2.2). Two things are ours: noise is an input, so that one degradation makes as many pictures as a camera would; and
the output is a change of the reduced HQ image.
"""

from collections.abc import Sequence

import keras
from keras import layers, ops

from keras_fsr.degradations.learned.degnet import SLOPE, UnitRMS
from keras_fsr.layers import PixelUnshuffle

NOISE_CHANNELS = 3
NOISE_LEVELS = 2  # stages, from full LQ resolution down, that take noise before each of their two convolutions
_register = keras.saving.register_keras_serializable(package="keras_fsr")


@_register
class ModulatedConv2D(keras.layers.Layer):
    """Convolution, "same" padding, whose kernel is scaled by a style for each image.

    [x (N, H, W, C), w (N, D)] -> (N, H, W, filters). A dense layer makes of w a factor for each input channel; with
    `demodulate` the scaled kernel of each image is divided by its norm, per output channel. Factors are applied to
    the maps before and after one common convolution, which is the same and needs no kernel for each image.

    Args:
        filters, kernel_size: as in `keras.layers.Conv2D`.
        demodulate: whether to divide by the norm.
        start: initial values of the kernel.
    """

    def __init__(
        self, filters: int, kernel_size: int = 3, demodulate: bool = True, start: str = "he_normal", **kwargs
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.demodulate = demodulate
        self.start = start

    def build(self, input_shape):
        image, w = input_shape
        self.style = layers.Dense(image[-1], bias_initializer="ones", name="style", dtype=self.dtype_policy)
        self.style.build(w)
        shape = (self.kernel_size, self.kernel_size, image[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=self.start, name="kernel")

    def call(self, inputs):
        x, w = inputs
        style = ops.cast(self.style(w), x.dtype)
        y = ops.conv(x * style[:, None, None, :], self.kernel, padding="same", data_format="channels_last")
        if not self.demodulate:
            return y
        power = ops.sum(ops.square(ops.cast(self.kernel, "float32")), axis=(0, 1))  # (C, filters)
        norm = ops.rsqrt(ops.matmul(ops.square(ops.cast(style, "float32")), power) + 1e-8)
        return y * ops.cast(norm, y.dtype)[:, None, None, :]

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "demodulate": self.demodulate,
            "start": self.start,
        }


@_register
class ScaledSkip(keras.layers.Layer):
    """`x + scale * skip` with one learned scale, which starts at 0."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="zeros", name="scale")

    def call(self, inputs):
        x, skip = inputs
        return x + self.scale * skip

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@_register
class NoiseAt(keras.layers.Layer):
    """Standard normal noise (N, H, W, C) at a half, a quarter ... of its resolution, still of deviation 1."""

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, noise):
        if self.factor == 1:
            return noise
        return ops.average_pool(noise, self.factor, data_format="channels_last") * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@_register
class NoiseChannels(keras.layers.Layer):
    """Some of the channels, (N, H, W, C) -> (N, H, W, count)."""

    def __init__(self, first: int, count: int, **kwargs):
        super().__init__(**kwargs)
        self.first = first
        self.count = count

    def call(self, noise):
        return noise[..., self.first : self.first + self.count]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.count)

    def get_config(self):
        return {**super().get_config(), "first": self.first, "count": self.count}


@_register
class SynNet(keras.Model):
    """[HQ (N, H * scale, W * scale, 3) in [0, 1], Omega (N, size), noise (N, H, W, channels)] -> LQ (N, H, W, 3).

    H and W are multiples of 8. The noise is standard normal; zeros give the degradation without its noise. The
    output is not clipped.

    Args:
        scale: HQ side / LQ side.
        size: length of Omega.
        filters: channels of the stages, each at half the resolution of the one before.
        hidden: width of W.
        dense: dense layers from Omega to W.
    """

    def __init__(
        self,
        scale: int = 4,
        size: int = 64,
        filters: Sequence[int] = (64, 96, 128, 128),
        hidden: int = 128,
        dense: int = 4,
        **kwargs,
    ):
        hq, omega = keras.Input((None, None, 3), name="hq"), keras.Input((size,), name="omega")
        noise = keras.Input((None, None, noise_channels()), name="noise")
        w = UnitRMS(name="omega_unit", dtype="float32")(omega)
        for index in range(dense):
            w = layers.LeakyReLU(negative_slope=SLOPE)(layers.Dense(hidden, name=f"dense{index}")(w))

        x = PixelUnshuffle(scale, name="unshuffle")(hq)
        content = []
        for stage, channels in enumerate(filters):
            x = activated(layers.Conv2D(channels, 3, 2 if stage else 1, padding="same", name=f"content{stage}")(x))
            content.append(x)
        used = 0
        for stage, channels in reversed(list(enumerate(filters))):
            if stage < len(filters) - 1:
                x = layers.UpSampling2D(2, name=f"enlarge{stage}")(x)
                x = activated(ModulatedConv2D(channels, 1, name=f"narrow{stage}")([x, w]))
            x = ScaledSkip(name=f"skip{stage}")([x, content[stage]])
            for part in "ab":
                if stage < NOISE_LEVELS:
                    maps = NoiseChannels(used, NOISE_CHANNELS, name=f"noise{stage}{part}_maps")(noise)
                    used += NOISE_CHANNELS
                    maps = NoiseAt(2**stage, name=f"noise{stage}{part}_at")(maps)
                    strength = ModulatedConv2D(channels, 1, False, "zeros", name=f"noise{stage}{part}")([maps, w])
                    x = layers.Add()([x, strength])
                x = activated(ModulatedConv2D(channels, name=f"mc{stage}{part}")([x, w]))
        change = ModulatedConv2D(3, 1, False, "zeros", dtype="float32", name="to_rgb")([x, w])
        lq = layers.Add(dtype="float32", name="lq")([layers.AveragePooling2D(scale, name="reduce")(hq), change])
        super().__init__([hq, omega, noise], lq, **kwargs)
        self.config = {"scale": scale, "size": size, "filters": list(filters), "hidden": hidden, "dense": dense}

    def get_config(self):
        return {"name": self.name, **self.config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def noise_channels() -> int:
    """Channels of SynNet's noise: three for each convolution that takes some."""
    return 2 * NOISE_LEVELS * NOISE_CHANNELS


def activated(x):
    return layers.LeakyReLU(negative_slope=SLOPE)(x)
