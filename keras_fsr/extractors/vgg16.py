"""VGG16, reduced: the part of the network that a perceptual loss needs, and no more. VGG19 by the same code.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015),
columns D and E of table 1; the reduction is paper A's (Al'naeimee and Lakizadeh, "Face hallucination").
"""

import inspect
from collections.abc import Sequence

import keras
from keras import layers, ops

from keras_fsr.errors import ModelError
from keras_fsr.layers import assert_unit_range

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # per block, by depth
FILTERS = (64, 128, 256, 512, 512)
IMAGENET_MEAN = (103.939, 116.779, 123.68)  # blue, green, red


@keras.saving.register_keras_serializable(package="keras_fsr")
class CaffeInput(keras.layers.Layer):
    """RGB in [0, 1] -> BGR in 0..255 less the ImageNet mean, what Keras' VGG weights were trained on.

    Raises:
        InvalidArgumentError: (TensorFlow) the mean absolute value is above 2, as in images left in 0..255.
    """

    def call(self, x):
        assert_unit_range(x, "VGG")
        return ops.flip(x, axis=-1) * 255.0 - ops.array(IMAGENET_MEAN, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="keras_fsr")
class VGG(keras.Model):
    """(N, H, W, 3) RGB in [0, 1] -> list of feature maps, one a tap.

    Its weights are random until `keras_fsr.extractors.weights.load_imagenet` has filled them. VGG16 cut after
    block3_conv3 has 1,735,488 parameters; all 13 convolutions have 14,714,688. `docs/extractor.md` says what
    the cut saves.

    Args:
        cut: the last layer kept, "block3_conv3" by default; nothing behind it is built.
        taps: names of the layers whose maps are put out, none behind the cut; the cut alone by default.
        before_activation: maps as they enter the ReLU (ESRGAN, section 3.3: denser, brightness kept) or leave it.
        depth: 16 or 19.
        width: share of each layer's filters that is kept, 0 < width <= 1.

    Raises:
        ValueError: an unknown layer, a tap behind the cut, or a width or depth that does not exist.
    """

    def __init__(
        self,
        cut: str = "block3_conv3",
        taps: Sequence[str] | None = None,
        before_activation: bool = True,
        depth: int = 16,
        width: float = 1.0,
        **kwargs,
    ):
        if depth not in CONVOLUTIONS:
            raise ValueError(f"VGG depth is 16 or 19, not {depth}")
        if not 0 < width <= 1:
            raise ValueError(f"VGG width is above 0 and at most 1, not {width}")
        known = layer_names(depth)
        if cut not in known:
            raise ValueError(f"VGG{depth} has no layer {cut!r}; it has {', '.join(known)}")
        kept = known[: known.index(cut) + 1]
        taps = list(taps) if taps else [cut]
        for tap in taps:
            if tap not in kept:
                raise ValueError(f"tap {tap!r} is not among the layers up to the cut: {', '.join(kept)}")

        inputs = keras.Input((None, None, 3))
        x = CaffeInput(dtype="float32", name="caffe_input")(inputs)
        maps = {}
        for name in kept:
            block = int(name[len("block")])
            if name.endswith("_conv1") and block > 1:
                x = layers.MaxPooling2D(2, name=f"block{block - 1}_pool")(x)
            # In bfloat16 the pixels themselves would lose their last bits: the first layer reads them in float32.
            dtype = {"dtype": "float32"} if name == known[0] else {}
            filters = max(1, round(FILTERS[block - 1] * width))
            x = before = layers.Conv2D(filters, 3, padding="same", name=name, **dtype)(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
            maps[name] = before if before_activation else x
        super().__init__(inputs, [maps[tap] for tap in taps], **kwargs)
        self.trainable = False

        self.cut = cut
        self.taps = taps
        self.before_activation = before_activation
        self.depth = depth
        self.width = width

    def get_config(self):
        return {
            "name": self.name,
            "cut": self.cut,
            "taps": self.taps,
            "before_activation": self.before_activation,
            "depth": self.depth,
            "width": self.width,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def layer_names(depth: int) -> list[str]:
    """The convolutions of VGG16 or VGG19, first to last."""
    return [
        f"block{block}_conv{i}"
        for block, count in enumerate(CONVOLUTIONS[depth], start=1)
        for i in range(1, count + 1)
    ]


def build_vgg(weights: str = "imagenet", **options) -> VGG:
    """A `VGG` with its weights.

    Args:
        weights: "imagenet" (see `keras_fsr.extractors.weights.load_imagenet`), "random" (for tests), or the path
            of a `.npz` or `.h5` file.
        options: arguments of `VGG`.

    Raises:
        ModelError: an impossible option, or weights that cannot be had.
    """
    from keras_fsr.extractors.weights import load_imagenet

    unknown = options.keys() - inspect.signature(VGG.__init__).parameters - {"name"}
    if unknown:
        raise ModelError(f"the feature extractor has no option {min(unknown)!r}")
    try:
        network = VGG(**options)
    except (ValueError, TypeError) as error:
        raise ModelError(f"the feature extractor cannot be built ({error})") from None
    if weights != "random":
        load_imagenet(network, None if weights == "imagenet" else weights)
    return network
