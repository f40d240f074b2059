"""RRDB: the residual-in-residual dense network of ESRGAN.

Source: Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks" (2018), section 3.1 and
figure 4, with the layer sizes of the authors' released models.
"""

from types import SimpleNamespace

import keras

from keras_fsr.layers import NearestUpsampling, PixelShuffle, PixelUnshuffle, ScaledResidual

RESIDUAL_SCALE = 0.2
ACTIVATIONS = ("leaky_relu", "relu")

# The layers that `build` takes, as Keras 3 has them.
LAYERS = SimpleNamespace(
    **{kind: getattr(keras.layers, kind) for kind in ("Add", "Concatenate", "Conv2D", "Input", "LeakyReLU", "ReLU")},
    **{kind.__name__: kind for kind in (NearestUpsampling, PixelShuffle, PixelUnshuffle, ScaledResidual)},
)


@keras.saving.register_keras_serializable(package="keras_fsr")
class RRDB(keras.Model):
    """RRDB generator: (N, H, W, 3) RGB in [0, 1] -> (N, H * scale, W * scale, 3) RGB, nominally in [0, 1].

    The published form (`hardware=False`) has 16,697,987 parameters at x4 and 16,703,171 at x2. At x2 and x1 the
    input is pixel-unshuffled by 2 and 4, so that the trunk always works at a quarter of the output's side;
    H and W must then be multiples of that factor. x8 adds a third up-sampling stage.

    `hardware=True` keeps the trunk and moves the whole up-sampling into one sub-pixel convolution at low
    resolution: the published tail runs three `num_features`-wide convolutions on enlarged maps, a third of all
    arithmetic and most of the memory traffic. Both forms concatenate two tensors at a time and enlarge by
    `depth_to_space`, so that a TFLite export is one XNNPACK partition.

    Args:
        scale: 1, 2, 4 or 8.
        num_features: channels of the trunk (nf).
        growth_channels: channels that each dense convolution adds (gc).
        num_blocks: residual-in-residual dense blocks (nb), three dense blocks each.
        hardware: sub-pixel tail instead of the published one.
        activation: "leaky_relu" (slope 0.2, as published) or "relu" (cheaper, and exact in int8).
        anchor: the network predicts what the nearest-neighbour enlargement of its input lacks.
    """

    def __init__(
        self,
        scale: int = 4,
        num_features: int = 64,
        growth_channels: int = 32,
        num_blocks: int = 23,
        hardware: bool = False,
        activation: str = "leaky_relu",
        anchor: bool = False,
        **kwargs,
    ):
        options = (scale, num_features, growth_channels, num_blocks, hardware, activation, anchor)
        super().__init__(*build(LAYERS, *options), **kwargs)

        self.scale = scale
        self.num_features = num_features
        self.growth_channels = growth_channels
        self.num_blocks = num_blocks
        self.hardware = hardware
        self.activation = activation
        self.anchor = anchor

    def get_config(self):
        return {
            "name": self.name,
            "scale": self.scale,
            "num_features": self.num_features,
            "growth_channels": self.growth_channels,
            "num_blocks": self.num_blocks,
            "hardware": self.hardware,
            "activation": self.activation,
            "anchor": self.anchor,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def build(
    layers,
    scale: int,
    num_features: int,
    growth_channels: int,
    num_blocks: int,
    hardware: bool,
    activation: str,
    anchor: bool,
) -> tuple:
    """Inputs and outputs of the graph, made of the layers of Keras 3 or of those of Keras 2, which has QAT.

    Args:
        layers: what has the names that `LAYERS` has. Weights carry over by the layers' names.

    Raises:
        ValueError: no such scale or activation.
    """
    if scale not in (1, 2, 4, 8):
        raise ValueError(f"RRDB scale is 1, 2, 4 or 8, not {scale}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"RRDB activation is one of {', '.join(ACTIVATIONS)}, not {activation!r}")

    unshuffle = max(4 // scale, 1)
    inputs = layers.Input((None, None, 3))
    x = layers.PixelUnshuffle(unshuffle, name="unshuffle")(inputs) if unshuffle > 1 else inputs
    x = shallow = conv(x, num_features, "conv_first", layers)
    for i in range(num_blocks):
        x = residual_in_residual_block(x, growth_channels, activation, f"block{i}", layers)
    x = layers.Add(name="trunk")([shallow, conv(x, num_features, "conv_trunk", layers)])

    # The output stays float32 whatever the trunk computes in; an anchored network starts as its anchor.
    last = {"dtype": "float32"} | ({"kernel_initializer": "zeros"} if anchor else {})
    enlarge = subpixel_tail if hardware else published_tail
    outputs = enlarge(x, scale * unshuffle, activation, layers, **last)
    if anchor:
        outputs = add_anchor(outputs, inputs, scale, layers)
    return inputs, outputs


def conv(x, filters: int, name: str, layers=LAYERS, **kwargs):
    """3x3 convolution that keeps the size."""
    return layers.Conv2D(filters, 3, padding="same", name=name, **kwargs)(x)


def activate(x, activation: str, name: str, layers=LAYERS):
    if activation == "relu":
        return layers.ReLU(name=name)(x)
    return layers.LeakyReLU(negative_slope=0.2, name=name)(x)


def dense_block(x, growth_channels: int, activation: str, name: str, layers):
    """Four growth convolutions that each see all before them, and a fifth that fuses; scaled residual."""
    # He's initialisation times 0.1: the blocks start near identity, which lets deep trunks train without BN.
    small = keras.initializers.VarianceScaling(2 * 0.1**2, mode="fan_in", distribution="truncated_normal")
    features = x
    for i in range(1, 5):
        grown = conv(features, growth_channels, f"{name}_conv{i}", layers, kernel_initializer=small)
        grown = activate(grown, activation, f"{name}_act{i}", layers)
        features = layers.Concatenate(name=f"{name}_concat{i}")([features, grown])
    fused = conv(features, x.shape[-1], f"{name}_conv5", layers, kernel_initializer=small)
    return layers.ScaledResidual(RESIDUAL_SCALE, name=f"{name}_residual")([x, fused])


def residual_in_residual_block(x, growth_channels: int, activation: str, name: str, layers):
    out = x
    for i in range(1, 4):
        out = dense_block(out, growth_channels, activation, f"{name}_dense{i}", layers)
    return layers.ScaledResidual(RESIDUAL_SCALE, name=f"{name}_residual")([x, out])


def published_tail(x, scale: int, activation: str, layers, **last):
    """[nearest x2, conv, activation] per factor of two, then two convolutions at full size."""
    filters = x.shape[-1]
    for i in range(1, scale.bit_length()):
        x = layers.NearestUpsampling(2, name=f"up{i}")(x)
        x = activate(conv(x, filters, f"conv_up{i}", layers), activation, f"act_up{i}", layers)
    x = activate(conv(x, filters, "conv_hr", layers), activation, "act_hr", layers)
    return conv(x, 3, "conv_last", layers, **last)


def subpixel_tail(x, scale: int, activation: str, layers, **last):
    """One convolution to 3 * scale**2 channels at low resolution, shuffled into place."""
    x = conv(x, 3 * scale**2, "conv_last", layers, **last)
    return layers.PixelShuffle(scale, name="shuffle", dtype="float32")(x)


def add_anchor(x, inputs, scale: int, layers):
    """Adds the nearest-neighbour enlargement of the input, by factors of two (XNNPACK joins four tensors)."""
    enlarged = inputs
    for i in range(1, scale.bit_length()):
        enlarged = layers.NearestUpsampling(2, name=f"anchor{i}", dtype="float32")(enlarged)
    return layers.Add(name="anchored", dtype="float32")([x, enlarged])
