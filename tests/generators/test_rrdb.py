"""RRDB: published sizes, shapes at every scale, the anchored start, saving, and what its graph holds."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.generators.rrdb import LAYERS, RRDB, build
from keras_fsr.layers import ScaledResidual

TINY = {"num_features": 8, "growth_channels": 4, "num_blocks": 1}
TAILS = pytest.mark.parametrize("hardware", [False, True], ids=["published", "hardware"])
SCALES = pytest.mark.parametrize("scale", [1, 2, 4, 8])


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), dtype=np.float32)


def randomise(network) -> None:
    """Random weights everywhere, so that no path through the network is zero."""
    rng = np.random.default_rng(1)
    network.set_weights([rng.normal(0, 0.1, w.shape) for w in network.get_weights()])


@pytest.mark.parametrize(("scale", "parameters"), [(4, 16_697_987), (2, 16_703_171)])
def test_published_parameter_count(scale, parameters):
    # Golden: the ESRGAN authors' released models (RRDB_ESRGAN_x4, and Real-ESRGAN's x2plus).
    assert RRDB(scale).count_params() == parameters


def published_forward(network, x: np.ndarray) -> tf.Tensor:
    """Section 3.1 and figure 4 of the paper, written down in TensorFlow with the network's weights."""
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}

    def conv(x, name):
        kernel, bias = weights[name]
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME") + bias

    def lrelu(x):
        return tf.maximum(x, 0.2 * x)

    x = tf.nn.space_to_depth(x, 4 // network.scale) if network.scale < 4 else x
    shallow = trunk = conv(x, "conv_first")
    for block in range(network.num_blocks):
        dense = trunk
        for d in (1, 2, 3):
            seen = [dense]
            for i in (1, 2, 3, 4):
                seen.append(lrelu(conv(tf.concat(seen, -1), f"block{block}_dense{d}_conv{i}")))
            dense = dense + 0.2 * conv(tf.concat(seen, -1), f"block{block}_dense{d}_conv5")
        trunk = trunk + 0.2 * dense
    x = shallow + conv(trunk, "conv_trunk")
    for i in (1, 2):
        x = lrelu(conv(tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2), f"conv_up{i}"))
    return conv(lrelu(conv(x, "conv_hr")), "conv_last")


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_published_form_computes_what_the_paper_says(scale):
    network = RRDB(scale, num_features=8, growth_channels=4, num_blocks=2)
    randomise(network)
    x = random_images(1, 8, 4)
    expected = published_forward(network, x)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-5)


@TAILS
@SCALES
def test_output_is_scale_times_the_input(scale, hardware):
    network = RRDB(scale, hardware=hardware, **TINY)
    result = network(random_images(2, 8, 12))
    assert result.shape == (2, 8 * scale, 12 * scale, 3)
    assert network.output_shape == (None, None, None, 3)


@TAILS
@SCALES
def test_fresh_anchored_network_is_the_nearest_enlargement(scale, hardware):
    x = random_images(1, 8, 4)
    result = RRDB(scale, hardware=hardware, anchor=True, **TINY)(x)
    np.testing.assert_array_equal(result, x.repeat(scale, axis=1).repeat(scale, axis=2))


@TAILS
def test_anchor_adds_the_enlargement_to_the_network_without_it(hardware):
    x = random_images(1, 4, 4)
    free, anchored = (RRDB(4, hardware=hardware, anchor=anchor, **TINY) for anchor in (False, True))
    randomise(free)
    anchored.set_weights(free.get_weights())
    enlarged = x.repeat(4, axis=1).repeat(4, axis=2)
    np.testing.assert_allclose(anchored(x), free(x) + enlarged, atol=1e-5)


@pytest.mark.parametrize("activation", ["leaky_relu", "relu"])
@TAILS
def test_config_and_file_give_the_same_network(hardware, activation, reload):
    network = RRDB(2, hardware=hardware, activation=activation, anchor=hardware, name="small", **TINY)
    randomise(network)
    x = random_images(1, 8, 8)
    copy = RRDB.from_config(network.get_config())
    assert copy.get_config() == network.get_config()
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(x), network(x))

    loaded = reload(network)
    assert type(loaded) is RRDB
    assert loaded.get_config() == network.get_config()
    np.testing.assert_array_equal(loaded(x), network(x))


@pytest.mark.parametrize(("activation", "slope"), [("leaky_relu", 0.2), ("relu", 0.0)])
def test_activation_has_its_slope(activation, slope):
    network = RRDB(4, activation=activation, **TINY)
    kind = {"leaky_relu": keras.layers.LeakyReLU, "relu": keras.layers.ReLU}[activation]
    activations = [layer for layer in network.layers if isinstance(layer, keras.layers.LeakyReLU | keras.layers.ReLU)]
    # Four in each of the three dense blocks, one per up-sampling stage, one before the last convolution.
    assert [type(layer) for layer in activations] == [kind] * (3 * 4 + 2 + 1)
    assert {float(layer(np.float32(-1.0))) for layer in activations} == {np.float32(-slope)}


def test_every_residual_is_scaled_as_published():
    residuals = [layer for layer in RRDB(4, **TINY).layers if isinstance(layer, ScaledResidual)]
    # Three dense blocks and the block around them; 0.2 is the beta of the paper's section 3.1.
    assert [layer.scale for layer in residuals] == [0.2] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 3}, "1, 2, 4 or 8, not 3"),
        ({"scale": 16}, "1, 2, 4 or 8, not 16"),
        ({"activation": "gelu"}, "leaky_relu, relu, not 'gelu'"),
    ],
)
def test_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RRDB(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 4, "hardware": True, "activation": "relu", "anchor": True},
        {"scale": 4, "hardware": False, "activation": "leaky_relu", "anchor": True},
        {"scale": 2, "hardware": False, "activation": "leaky_relu", "anchor": False},
    ],
)
def test_twin_is_made_of_the_layers_that_are_given(options):
    made = []

    def counted(kind):
        return lambda *args, **kwargs: made.append(kind) or getattr(LAYERS, kind)(*args, **kwargs)

    network = RRDB(**options, **TINY)
    randomise(network)
    twin = keras.Model(*build(SimpleNamespace(**{kind: counted(kind) for kind in vars(LAYERS)}), **options, **TINY))
    assert len(made) == len(twin.layers)
    for layer in network.layers:
        if layer.weights:
            twin.get_layer(layer.name).set_weights(layer.get_weights())
    x = random_images(1, 8, 8)
    np.testing.assert_array_equal(twin(x), network(x))


@pytest.mark.parametrize("anchor", [False, True])
@TAILS
def test_graph_exports_as_plain_operations(hardware, anchor):
    layers = RRDB(4, hardware=hardware, anchor=anchor, **TINY).layers
    concatenations = [layer for layer in layers if isinstance(layer, keras.layers.Concatenate)]
    assert len(concatenations) == 3 * 4
    assert all(len(layer.input) == 2 for layer in concatenations)
    assert not any(isinstance(layer, keras.layers.UpSampling2D) for layer in layers)


def test_hardware_form_computes_everything_at_low_resolution():
    network = RRDB(4, hardware=True, **TINY)
    assert network.get_layer("conv_last").filters == 3 * 4**2
    assert network.layers[-1].name == "shuffle"
    assert "conv_hr" not in {layer.name for layer in network.layers}


@pytest.mark.parametrize("anchor", [False, True])
@TAILS
def test_output_is_float32_under_mixed_precision(hardware, anchor, dtype_policy):
    dtype_policy("mixed_bfloat16")
    network = RRDB(4, hardware=hardware, anchor=anchor, **TINY)
    assert network.get_layer("conv_trunk").compute_dtype == "bfloat16"
    x = random_images(1, 4, 4)
    result = network(x)
    assert result.dtype == "float32"
    if anchor:  # the anchor does not pass through bfloat16
        np.testing.assert_array_equal(result, x.repeat(4, axis=1).repeat(4, axis=2))
