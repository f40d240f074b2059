"""ResidualShuffle: a small x2 generator of tanh convolutions and pixel shuffles beside a bilinear enlargement.

Source: Jiang, Xu and Sun, the GAN that enlarges faces from 512 to 1024 pixels. The paper gives the first
convolution, the kind of the layers, and the range of the learned scale; the widths are ours.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from keras_fsr.generators.rrdb import conv
from keras_fsr.layers import PixelShuffle, Scaled

_register = keras.saving.register_keras_serializable(package="keras_fsr")


@_register
class ResidualShuffle(keras.Model):
    """ResidualShuffle generator: (N, H, W, 3) RGB in [0, 1] -> (N, 2 * H, 2 * W, 3) RGB, nominally in [0, 1].

    H and W must be even: the first convolution halves them. 490,756 parameters:

    | side  | layer                     | channels (num_features = 64) |
    |-------|---------------------------|------------------------------|
    | H / 2 | conv k2 s2, tanh          | 3 -> 64                      |
    | H / 2 | conv k3, tanh; twice      | 64 -> 128 -> 256             |
    | H     | pixel shuffle             | 256 -> 64                    |
    | H     | conv k3, tanh; twice      | 64 -> 64 -> 128              |
    | 2 H   | pixel shuffle             | 128 -> 32                    |
    | 2 H   | conv k3, tanh             | 32 -> 32                     |
    | 2 H   | conv k3                   | 32 -> 3                      |
    | 2 H   | + scale * bilinear(input) | 3                            |

    The last convolution has no tanh: the sum could not reach black and white through two bounded terms. All this
    happens between the paper's normalisation by `mean` and `std` and its inverse, so that a scale below 1 pulls
    towards the mean, not towards black.

    Args:
        scale: 2, the only one.
        num_features: channels of the first convolution, an even number; the other widths follow it.
        mean, std: of each channel, in [0, 1]; the paper normalises by those of its data.
    """

    def __init__(
        self,
        scale: int = 2,
        num_features: int = 64,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        **kwargs,
    ):
        if scale != 2:
            raise ValueError(f"ResidualShuffle scale is 2, not {scale}")
        if num_features % 2:
            raise ValueError(f"ResidualShuffle num_features is even, not {num_features}")
        mean, std = [float(m) for m in mean], [float(s) for s in std]
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"ResidualShuffle mean and std have three values, std above 0: not {mean} and {std}")

        inputs = keras.Input((None, None, 3))
        to_normal = ([1 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)])
        normal = layers.Rescaling(*to_normal, name="normalise", dtype="float32")(inputs)
        x = layers.Conv2D(num_features, 2, strides=2, activation="tanh", name="conv_first")(normal)
        x = tanh_convs(x, (2 * num_features, 4 * num_features), "half")
        x = PixelShuffle(2, name="shuffle1")(x)
        x = tanh_convs(x, (num_features, 2 * num_features), "full")
        x = PixelShuffle(2, name="shuffle2")(x)
        x = tanh_convs(x, (num_features // 2,), "double")
        x = conv(x, 3, "conv_last", dtype="float32")

        enlarged = BilinearUpsampling(2, name="bilinear", dtype="float32")(normal)
        enlarged = LearnedScale(0.2, 0.8, 0.5, name="learned_scale", dtype="float32")(enlarged)
        x = layers.Add(name="sum", dtype="float32")([x, enlarged])
        super().__init__(inputs, layers.Rescaling(std, mean, name="denormalise", dtype="float32")(x), **kwargs)

        self.scale = scale
        self.num_features = num_features
        self.mean = tuple(mean)
        self.std = tuple(std)

    def get_config(self):
        return {
            "name": self.name,
            "scale": self.scale,
            "num_features": self.num_features,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def tanh_convs(x, widths: Sequence[int], name: str):
    for i, width in enumerate(widths, start=1):
        x = conv(x, width, f"{name}_conv{i}", activation="tanh")
    return x


@_register
class LearnedScale(layers.Layer):
    """The input times one learned number, which is clipped to [minimum, maximum] whenever it is used.

    Outside the range a clipped number has no gradient and would stay there. A constraint therefore puts it back
    onto the bound after each optimizer step, where the gradient passes; the clip holds for every other way to set
    a weight (a file, an average).

    Args:
        minimum, maximum: the range.
        initial: the number before training, in the range.
    """

    def __init__(self, minimum: float, maximum: float, initial: float, **kwargs):
        super().__init__(**kwargs)
        if not minimum <= initial <= maximum:
            raise ValueError(f"initial {initial} is not in [{minimum}, {maximum}]")
        self.minimum = minimum
        self.maximum = maximum
        self.initial = initial

    def build(self, input_shape):
        start = keras.initializers.Constant(self.initial)
        self.value = self.add_weight(shape=(), initializer=start, constraint=self.clip, name="value")

    def clip(self, value):
        return ops.clip(value, self.minimum, self.maximum)

    def call(self, x):
        return x * ops.cast(self.clip(self.value), x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"minimum": self.minimum, "maximum": self.maximum, "initial": self.initial}
        return {**super().get_config(), **own}


@_register
class BilinearUpsampling(Scaled):
    """Bilinear enlargement as `tf.image.resize`'s, edges included, (N, H, W, C) -> (N, H * scale, W * scale, C).

    A fixed 3x3 convolution at low resolution whose channels are shuffled into space, as `BicubicUpsampling`.

    Args:
        scale: enlargement of each side, at least 2.
    """

    def build(self, input_shape):
        phases = (np.arange(self.scale) + 0.5) / self.scale - 0.5
        taps = np.maximum(1 - np.abs(phases[:, None] - np.arange(-1, 2)[None, :]), 0)
        kernel = np.einsum("yi,xj,cd->ijcyxd", taps, taps, np.eye(input_shape[-1]))
        self._kernel = kernel.reshape(*kernel.shape[:3], -1).astype("float32")

    def call(self, x):
        # Mirroring one pixel repeats the edge, which is how bilinear resizing continues an image.
        padded = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
        phases = ops.conv(padded, ops.cast(self._kernel, x.dtype), padding="valid", data_format="channels_last")
        return ops.depth_to_space(phases, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        times = self.scale
        return (n, h and h * times, w and w * times, c)
