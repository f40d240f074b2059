"""Edge: a plain network for phones and int8, whose convolutions may be trained wide and folded.

Sources: Du et al., "Anchor-based Plain Net for Mobile Image Super-Resolution" (2021), figure 2: 3x3 convolutions and
ReLUs in a row, the image repeated along channels as an anchor, one shuffle. Bhardwaj et al., "Collapsible Linear
Blocks for Super-Efficient Super Resolution" (2022), section 3: the wide form, 3x3 before 1x1.
"""

from functools import partial

import keras
from keras import ops

from keras_fsr.layers import PixelShuffle

# Constructor arguments of the two sizes that fit a phone; their int8 files are 118 kB and 296 kB at x4.
SIZES = {
    "small": {"num_features": 48, "num_blocks": 3},
    "medium": {"num_features": 64, "num_blocks": 6},
}


@keras.saving.register_keras_serializable(package="keras_fsr")
class Edge(keras.Model):
    """Edge generator: (N, H, W, 3) RGB in [0, 1] -> (N, H * scale, W * scale, 3) RGB in [0, 1].

    At x4 the small one has 105,264 parameters, the medium one 271,840, and as many multiplications an LR pixel. All
    is computed at low resolution, by operations that int8 kernels have. A new network is the nearest enlargement.

    Args:
        scale: 2, 4 or 8.
        num_features: channels of the trunk; multiples of 16 cost no more than what lies below them.
        num_blocks: convolutions of the trunk, besides the one that reads pixels and the two that make them.
        reparameterized: train each convolution as a `FoldedConv2D`; `fold` gives the plain network.
    """

    def __init__(
        self,
        scale: int = 4,
        num_features: int = 64,
        num_blocks: int = 6,
        reparameterized: bool = False,
        **kwargs,
    ):
        shuffle = PixelShuffle(scale, name="shuffle", dtype="float32")
        conv = FoldedConv2D if reparameterized else None
        super().__init__(*build(keras.layers, scale, num_features, num_blocks, shuffle, conv=conv), **kwargs)

        self.scale = scale
        self.num_features = num_features
        self.num_blocks = num_blocks
        self.reparameterized = reparameterized

    def get_config(self):
        return {
            "name": self.name,
            "scale": self.scale,
            "num_features": self.num_features,
            "num_blocks": self.num_blocks,
            "reparameterized": self.reparameterized,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def build(layers, scale: int, num_features: int, num_blocks: int, shuffle, clip=None, conv=None) -> tuple:
    """Inputs and outputs of the graph, made of the layers of Keras 3 or of those of Keras 2, which has QAT.

    Weights carry over between all of them by position.

    Args:
        layers: `keras.layers` or `tf_keras.layers`.
        shuffle: layer that is TensorFlow's `depth_to_space` by `scale`.
        clip: layer that limits to [0, 1]; none takes a ReLU. For int8 give one that fake-quantizes to [0, 1]: the sum
            before it then saturates there for nothing, where the ReLU becomes operations that XNNPACK lacks.
        conv: makes a 3x3 convolution as `layers.Conv2D` would; none takes that one.

    Raises:
        ValueError: the scale is not 2, 4 or 8.
    """
    if scale not in (2, 4, 8):
        raise ValueError(f"Edge scale is 2, 4 or 8, not {scale}")
    conv = conv or partial(layers.Conv2D, kernel_size=3, padding="same")
    clip = clip or layers.ReLU(max_value=1.0, name="clip", dtype="float32")
    channels = 3 * scale**2

    x = inputs = layers.Input((None, None, 3))
    trunk = [(f"conv{i}", num_features) for i in range(1, num_blocks + 1)]
    for name, filters in [("conv_first", num_features), *trunk, ("conv_image", channels)]:
        x = conv(filters, kernel_initializer="he_normal", name=name)(x)
        x = layers.ReLU(name=name.replace("conv", "act"))(x)
    # The output stays float32 whatever the trunk computes in.
    x = conv(channels, kernel_initializer="zeros", dtype="float32", name="conv_last")(x)

    anchor = inputs
    for i in range(1, scale.bit_length()):  # four at a time: XNNPACK joins no more
        anchor = layers.Concatenate(name=f"anchor{i}", dtype="float32")([anchor] * 4)
    x = layers.Add(name="anchored", dtype="float32")([x, anchor])
    return inputs, shuffle(clip(x))


@keras.saving.register_keras_serializable(package="keras_fsr")
class FoldedConv2D(keras.layers.Layer):
    """3x3 convolution, "same" padding, whose kernel is a linear function of wider ones: it trains as if it were deep.

    Computes a 3x3 convolution to `EXPANSION` times the filters and a 1x1 projection of these, plus a 1x1 convolution
    of the input, by the one 3x3 kernel that equals them: at the cost of a plain layer, and exact at the borders.

    Args:
        filters: output channels.
        kernel_initializer: of the projection; "he_normal" gives the whole kernel He's variance.
    """

    EXPANSION = 2

    def __init__(self, filters: int, kernel_initializer: str = "he_normal", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = kernel_initializer

    def build(self, input_shape):
        channels, wide = input_shape[-1], self.EXPANSION * self.filters
        # float32 under any policy: the product of two rounded kernels would be off by twice the rounding
        add = partial(self.add_weight, autocast=False)
        self.expand = add(shape=(3, 3, channels, wide), initializer="lecun_normal", name="expand")
        self.project = add(shape=(1, 1, wide, self.filters), initializer=self.kernel_initializer, name="project")
        self.point = add(shape=(1, 1, channels, self.filters), initializer="zeros", name="point")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def kernel(self):
        """The 3x3 kernel that does it all, (3, 3, channels, filters)."""
        return ops.matmul(self.expand, self.project[0, 0]) + ops.pad(self.point, ((1, 1), (1, 1), (0, 0), (0, 0)))

    def call(self, x):
        kernel = ops.cast(self.kernel(), self.compute_dtype)
        return ops.conv(x, kernel, padding="same", data_format="channels_last") + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_initializer": self.kernel_initializer}


def fold(network: Edge) -> Edge:
    """The plain network that computes what a re-parameterised one does; a plain one is copied."""
    plain = Edge.from_config(network.get_config() | {"reparameterized": False})
    for layer in network.layers:
        if isinstance(layer, FoldedConv2D):
            kernel, bias = (ops.convert_to_numpy(part) for part in (layer.kernel(), layer.bias))
            plain.get_layer(layer.name).set_weights([kernel, bias])
        elif layer.weights:
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return plain
