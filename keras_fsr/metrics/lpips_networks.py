"""The classification networks that LPIPS looks through: torchvision's, up to their last tap.

Each function takes arrays by torchvision's layer numbers, `features_<n>__kernel` in HWIO and `features_<n>__bias`,
and returns a network from normalised RGB, (N, H, W, 3) of any size, to the list of its taps. It computes in float32
and is not trainable. Arrays that do not fit raise KeyError or ValueError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

Arrays = Mapping[str, np.ndarray]


def squeezenet(arrays: Arrays) -> keras.Model:
    """SqueezeNet 1.1; taps: the first ReLU and the fires 4, 7 and 9 to 12.

    Source: Iandola et al., "SqueezeNet", 2016, in torchvision's version 1.1.
    """

    def fire(x, number: int):
        name = f"features_{number}"
        x = _conv(x, arrays, f"{name}_squeeze", 1)
        branches = [_conv(x, arrays, f"{name}_expand{size}x{size}", size) for size in (1, 3)]
        return layers.Concatenate(name=name, dtype="float32")(branches)

    def pool(x):
        # torchvision rounds the size up; zeros change no maximum, for every feature is at least 0.
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), dtype="float32")(x)
        return layers.MaxPooling2D(3, 2, dtype="float32")(x)

    inputs = _input()
    x = _conv(inputs, arrays, "features_0", 3, stride=2)
    taps = [x]
    for numbers in ((3, 4), (6, 7), (9, 10, 11, 12)):
        x = pool(x)
        for number in numbers:
            x = fire(x, number)
            if number not in (3, 6):
                taps.append(x)
    return _frozen(inputs, taps, "squeezenet1_1")


def vgg16(arrays: Arrays) -> keras.Model:
    """VGG16; taps: the last ReLU of each block, relu1_2, 2_2, 3_3, 4_3 and 5_3.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015, configuration D.
    """
    x = inputs = _input()
    taps = []
    for numbers in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        if taps:
            x = layers.MaxPooling2D(2, dtype="float32")(x)
        for number in numbers:
            x = _conv(x, arrays, f"features_{number}", 3)
        taps.append(x)
    return _frozen(inputs, taps, "vgg16")


def alexnet(arrays: Arrays) -> keras.Model:
    """AlexNet; taps: its five ReLUs.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as in torchvision.
    """
    inputs = _input()
    # "same" would pad a stride of 4 by the size of the image, and not alike at both ends.
    x = layers.ZeroPadding2D(2, dtype="float32")(inputs)
    taps = [_conv(x, arrays, "features_0", 11, stride=4)]
    for number, size in ((3, 5), (6, 3), (8, 3), (10, 3)):
        x = taps[-1]
        if number in (3, 6):
            x = layers.MaxPooling2D(3, 2, dtype="float32")(x)
        taps.append(_conv(x, arrays, f"features_{number}", size))
    return _frozen(inputs, taps, "alexnet")


@dataclass(frozen=True)
class Backbone:
    """A network that LPIPS can look through."""

    build: Callable[[Arrays], keras.Model]
    smallest: int  # side in pixels below which a layer has no room


BACKBONES = {
    "squeeze": Backbone(squeezenet, smallest=17),
    "vgg": Backbone(vgg16, smallest=16),
    "alex": Backbone(alexnet, smallest=31),
}
"""Name, as in the file of its heads -> network."""


def _conv(x, arrays: Arrays, name: str, size: int, stride: int = 1):
    """A convolution of size x size and its ReLU; padded where it has no stride."""
    kernel, bias = arrays[f"{name}__kernel"], arrays[f"{name}__bias"]
    layer = layers.Conv2D(
        kernel.shape[-1],
        size,
        stride,
        padding="valid" if stride > 1 else "same",
        activation="relu",
        name=name,
        dtype="float32",
    )
    y = layer(x)
    layer.set_weights([kernel.astype("float32"), bias.astype("float32")])
    return y


def _input():
    return keras.Input((None, None, 3), dtype="float32")


def _frozen(inputs, taps: list, name: str) -> keras.Model:
    model = keras.Model(inputs, taps, name=name)
    model.trainable = False
    return model
