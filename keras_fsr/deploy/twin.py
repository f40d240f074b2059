"""Keras 2 twins of the generators, in which tfmot simulates int8. Imported in the process of `quantize` alone.

tfmot's own rules fit these networks badly: they leave the weights of a convolution that a ReLU follows as they are,
and give every concatenation a range of its own, which costs int8 a requantization. So each layer is annotated with
an `Int8` that says what is quantized, and `AsTold` keeps tfmot from changing that.
"""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from keras_fsr.generators import edge, rrdb

BUILDERS = {"Edge": edge.build, "RRDB": rrdb.build}

quantization = tfmot.quantization.keras
register = tf_keras.utils.register_keras_serializable(package="keras_fsr")


class Scaled(tf_keras.layers.Layer):
    """As `keras_fsr.layers.Scaled`."""

    def __init__(self, scale: float, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@register
class PixelShuffle(Scaled):
    def call(self, x):
        return tf.nn.depth_to_space(x, self.scale)


@register
class PixelUnshuffle(Scaled):
    def call(self, x):
        return tf.nn.space_to_depth(x, self.scale)


@register
class NearestUpsampling(Scaled):
    def call(self, x):
        return tf.nn.depth_to_space(tf.concat([x] * self.scale**2, axis=-1), self.scale)


@register
class ScaledResidual(Scaled):
    def call(self, inputs):
        shortcut, branch = inputs
        return shortcut + branch * self.scale


@register
class UnitRange(tf_keras.layers.Layer):
    """Limits to [0, 1] in 255 steps: what uint8 pixels are."""

    def call(self, x):
        return tf.quantization.fake_quant_with_min_max_args(x, 0.0, 1.0)


MOVING = (PixelShuffle, PixelUnshuffle, NearestUpsampling, tf_keras.layers.Concatenate)
"""Layers that move values about: int8 kernels want one scale for what goes in and what comes out."""


def conv2d(filters: int, kernel_size: int, padding: str, name: str, **_) -> tf_keras.layers.Layer:
    """Without initializers, which are Keras 3's; the weights come from the network."""
    return tf_keras.layers.Conv2D(filters, kernel_size, padding=padding, name=name)


LAYERS = SimpleNamespace(
    Add=tf_keras.layers.Add,
    Concatenate=tf_keras.layers.Concatenate,
    Conv2D=conv2d,
    LeakyReLU=lambda negative_slope, name: tf_keras.layers.LeakyReLU(negative_slope, name=name),
    NearestUpsampling=NearestUpsampling,
    PixelShuffle=PixelShuffle,
    PixelUnshuffle=PixelUnshuffle,
    ReLU=tf_keras.layers.ReLU,
    ScaledResidual=ScaledResidual,
)


def make_twin(kind: str, config: Mapping, weights: Mapping[str, list[np.ndarray]], clip: bool) -> tf_keras.Model:
    """The network of Keras 2 layers that computes bit for bit what the generator does, between limits if wanted.

    Args:
        kind: the generator's class, of `BUILDERS`; an Edge is a folded one.
        config: its constructor's arguments.
        weights: by the layers' names.
        clip: limit input and output to [0, 1] by a `UnitRange`.
    """
    inputs = tf_keras.layers.Input((None, None, 3))
    layers, end = SimpleNamespace(**vars(LAYERS)), {}
    layers.Input = lambda shape: UnitRange(name="pixels")(inputs) if clip else inputs
    options = {key: value for key, value in config.items() if key not in ("name", "reparameterized")}
    if kind == "Edge":
        end = {
            "shuffle": PixelShuffle(config["scale"], name="shuffle"),
            "clip": UnitRange(name="clip") if clip else None,
        }
    _, outputs = BUILDERS[kind](layers, **options, **end)
    if clip and kind != "Edge":
        outputs = UnitRange(name="clip")(outputs)
    twin = tf_keras.Model(inputs, outputs)
    for name, values in weights.items():
        twin.get_layer(name).set_weights(values)
    return twin


def fold_residuals(twin: tf_keras.Model) -> None:
    """Puts the factors of residuals into the convolutions before them, as the converter would if they were float."""
    for layer in twin.layers:
        if isinstance(layer, ScaledResidual):
            branch = layer.inbound_nodes[0].inbound_layers[1]
            if isinstance(branch, tf_keras.layers.Conv2D):
                branch.set_weights([values * layer.scale for values in branch.get_weights()])
                layer.scale = 1.0


def simulate_int8(twin: tf_keras.Model, batches: Iterable[np.ndarray]) -> tf_keras.Model:
    """The twin with the rounding of int8: of kernels by channel, of activations in ranges measured on batches.

    Args:
        twin: of `make_twin(clip=True)`.
        batches: (N, H, W, 3) float32 in [0, 1].
    """
    ranges = measure_ranges(twin, batches)

    def annotate(layer):
        config = Int8(isinstance(layer, tf_keras.layers.Conv2D), *ranges.get(layer.name, (None, None)))
        return quantization.quantize_annotate_layer(layer, config)

    annotated = tf_keras.models.clone_model(twin, clone_function=annotate)
    annotated.set_weights(twin.get_weights())
    with quantization.quantize_scope({"Int8": Int8}):
        return quantization.quantize_apply(annotated, AsTold())


def measure_ranges(twin: tf_keras.Model, batches: Iterable[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Layer -> (least, greatest) of its outputs, the mean over batches; one range for all whose values are joined.

    Left out are layers that int8 kernels do not round: those fused with the next one, those that move values, and
    what is in [0, 1] already.
    """
    rounded = [layer for layer in twin.layers if is_rounded(layer)]
    probe = tf_keras.Model(twin.inputs, [layer.output for layer in rounded])
    extremes = np.array([[(np.min(y), np.max(y)) for y in probe(batch)] for batch in batches]).mean(axis=0)
    joined = joined_layers(twin)
    ranges = {}
    for layer in rounded:
        members = [extremes[i] for i, other in enumerate(rounded) if joined[other.name] == joined[layer.name]]
        low, high = np.min(members, axis=0)[0], np.max(members, axis=0)[1]
        ranges[layer.name] = (min(float(low), 0.0), max(float(high), 1e-6))  # zero must be a level
    return ranges


def is_rounded(layer) -> bool:
    if isinstance(layer, (*MOVING, UnitRange, tf_keras.layers.InputLayer)):
        return False
    followers = [node.outbound_layer for node in layer.outbound_nodes]
    return not all(isinstance(follower, tf_keras.layers.ReLU | UnitRange) for follower in followers)


def joined_layers(twin: tf_keras.Model) -> dict[str, str]:
    """Layer -> a name that it shares with all layers whose outputs are moved into one tensor with its own."""
    group = {layer.name: layer.name for layer in twin.layers}
    for layer in twin.layers:
        if isinstance(layer, MOVING):
            for source in tf.nest.flatten(layer.inbound_nodes[0].inbound_layers):
                old, new = group[source.name], group[layer.name]
                group = {name: new if value == old else value for name, value in group.items()}
    return group


@register
class Int8(quantization.QuantizeConfig):
    """What is rounded of a layer: its kernel, by output channel and symmetric, and its output, in a fixed range."""

    def __init__(self, kernel: bool, low: float | None, high: float | None):
        self.kernel = kernel
        self.low = low
        self.high = high

    def get_weights_and_quantizers(self, layer):
        if not self.kernel:
            return []
        default = quantization.default_8bit.Default8BitQuantizeRegistry().get_quantize_config(layer)
        return default.get_weights_and_quantizers(layer)

    def set_quantize_weights(self, layer, quantize_weights):
        if self.kernel:
            (layer.kernel,) = quantize_weights

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        if self.high is None:
            return []
        return [quantization.quantizers.FixedQuantizer(8, self.low, self.high, narrow_range=False)]

    def get_config(self):
        return {"kernel": self.kernel, "low": self.low, "high": self.high}


class AsTold(quantization.default_8bit.Default8BitQuantizeScheme):
    """tfmot's scheme without its changes to graph and annotations."""

    def get_layout_transformer(self):
        return SimpleNamespace(apply=lambda model, layer_quantize_map: (model, layer_quantize_map))
