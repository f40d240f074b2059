"""Edge: sizes, what its graph computes, folding, the layers it may be made of, saving, what int8 makes of it."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr import generators
from keras_fsr.generators.edge import SIZES, Edge, FoldedConv2D, build, fold
from keras_fsr.layers import PixelShuffle

TINY = {"num_features": 8, "num_blocks": 2}
FORMS = pytest.mark.parametrize("reparameterized", [False, True], ids=["plain", "wide"])
SCALES = pytest.mark.parametrize("scale", [2, 4, 8])


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), dtype=np.float32)


def randomise(network, deviation: float = 0.1) -> None:
    rng = np.random.default_rng(1)
    network.set_weights([rng.normal(0, deviation, w.shape) for w in network.get_weights()])


def enlarged(x: np.ndarray, scale: int) -> np.ndarray:
    return x.repeat(scale, axis=1).repeat(scale, axis=2)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        # By hand: conv_first 27*32+32; four times 32*9*32+32; conv_image 32*9*48+48; conv_last 48*9*48+48.
        ("small", 105_264),
        # The same with 64 channels, six times.
        ("medium", 271_840),
    ],
)
def test_parameter_count(size, parameters):
    assert Edge(4, **SIZES[size]).count_params() == parameters


def test_default_is_the_medium_size_at_x4():
    assert Edge().get_config().items() >= ({"scale": 4} | SIZES["medium"]).items()


@SCALES
def test_graph_computes_what_is_written_down(scale):
    network = Edge(scale, **TINY)
    randomise(network)
    x = random_images(1, 6, 5)
    features = x
    for name in ("conv_first", "conv1", "conv2", "conv_image", "conv_last"):
        kernel, bias = network.get_layer(name).get_weights()
        features = tf.nn.conv2d(features, kernel, strides=1, padding="SAME") + bias
        if name != "conv_last":
            features = tf.nn.relu(features)
    expected = np.clip(tf.nn.depth_to_space(features, scale) + enlarged(x, scale), 0, 1)
    assert np.std(expected - enlarged(x, scale)) > 0.01
    assert (expected == 0).any()
    assert (expected == 1).any()
    np.testing.assert_allclose(network(x), expected, atol=1e-5)


@FORMS
@SCALES
def test_output_is_scale_times_the_input_and_within_its_range(scale, reparameterized):
    network = Edge(scale, reparameterized=reparameterized, **TINY)
    randomise(network, 0.5)
    result = np.asarray(network(random_images(2, 6, 9)))
    assert result.shape == (2, 6 * scale, 9 * scale, 3)
    assert result.min() == 0
    assert result.max() == 1
    assert network.output_shape == (None, None, None, 3)


@FORMS
@SCALES
def test_fresh_network_is_the_nearest_enlargement(scale, reparameterized):
    x = random_images(1, 6, 4)
    result = Edge(scale, reparameterized=reparameterized, **TINY)(x)
    np.testing.assert_array_equal(result, enlarged(x, scale))


@pytest.mark.parametrize("scale", [1, 3, 16])
def test_impossible_scale_is_refused(scale):
    with pytest.raises(ValueError, match=f"2, 4 or 8, not {scale}"):
        Edge(scale)


def test_wide_convolution_is_its_branches_up_to_the_borders():
    layer = FoldedConv2D(6)
    x = np.random.default_rng(2).normal(0, 1, (1, 5, 4, 3)).astype("float32")
    layer.build(x.shape)
    randomise(layer, 1.0)
    expand, project, point, bias = (tf.convert_to_tensor(w) for w in layer.get_weights())
    assert expand.shape == (3, 3, 3, 12)
    wide = tf.nn.conv2d(x, expand, strides=1, padding="SAME")
    expected = tf.nn.conv2d(wide, project, strides=1, padding="SAME") + tf.nn.conv2d(x, point, 1, "SAME") + bias
    np.testing.assert_allclose(layer(x), expected, atol=1e-4)  # values around 20
    assert layer.compute_output_shape(x.shape) == expected.shape


def test_folded_network_computes_the_same_up_to_the_borders():
    network = Edge(4, reparameterized=True, name="wide", **TINY)
    randomise(network, 0.15)
    plain = fold(network)
    assert type(plain) is Edge
    assert plain.get_config() == network.get_config() | {"reparameterized": False}
    assert plain.count_params() == Edge(4, **TINY).count_params()
    x = random_images(2, 7, 5)
    assert np.std(network(x) - enlarged(x, 4)) > 0.01
    np.testing.assert_allclose(plain(x), network(x), atol=1e-5)


def test_folding_a_plain_network_copies_it():
    network = Edge(2, **TINY)
    randomise(network)
    plain = fold(network)
    assert plain is not network
    np.testing.assert_array_equal(plain(random_images(1, 4, 4)), network(random_images(1, 4, 4)))


def test_wide_kernels_start_with_the_variance_of_plain_ones():
    layer = FoldedConv2D(64)
    layer.build((None, None, None, 64))
    # He: 2 / fan_in, fan_in 9 * 64.
    assert np.std(layer.kernel()) == pytest.approx(np.sqrt(2 / 576), rel=0.05)


def test_every_branch_learns_once_the_last_layer_has_moved():
    keras.utils.set_random_seed(0)
    network = Edge(2, reparameterized=True, **TINY)
    layer = network.get_layer("conv_last")
    layer.project.assign(np.random.default_rng(3).normal(0, 0.1, layer.project.shape))
    x = random_images(1, 6, 6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((network(x) - 0.5) ** 2)
    for variable, gradient in zip(
        network.trainable_variables, tape.gradient(loss, network.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.path


@FORMS
def test_config_and_file_give_the_same_network(reparameterized, reload):
    network = Edge(2, reparameterized=reparameterized, name="phone", **TINY)
    randomise(network)
    x = random_images(1, 8, 8)
    copy = Edge.from_config(network.get_config())
    assert copy.get_config() == network.get_config()
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(x), network(x))

    loaded = reload(network)
    assert type(loaded) is Edge
    assert loaded.get_config() == network.get_config()
    np.testing.assert_array_equal(loaded(x), network(x))


def test_wide_convolution_has_its_settings_in_its_config():
    layer = FoldedConv2D(6, kernel_initializer="zeros", name="last", dtype="float32")
    copy = FoldedConv2D.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.filters, copy.kernel_initializer, copy.name) == (6, "zeros", "last")


@FORMS
def test_output_is_float32_under_mixed_precision(reparameterized, dtype_policy):
    dtype_policy("mixed_bfloat16")
    network = Edge(4, reparameterized=reparameterized, **TINY)
    computed = [network.get_layer(name).compute_dtype for name in ("conv1", "conv_image", "conv_last")]
    assert computed == ["bfloat16", "bfloat16", "float32"]
    x = random_images(1, 4, 4)
    result = network(x)
    assert result.dtype == "float32"
    np.testing.assert_array_equal(result, enlarged(x, 4))  # the anchor does not pass through bfloat16


def test_wide_kernel_is_folded_in_float32(dtype_policy, monkeypatch):
    dtype_policy("mixed_bfloat16")
    kernel, seen = FoldedConv2D.kernel, []
    monkeypatch.setattr(FoldedConv2D, "kernel", lambda self: seen.append(kernel(self)) or seen[-1])
    assert FoldedConv2D(4)(random_images(1, 4, 4)).dtype == "bfloat16"
    assert [keras.backend.standardize_dtype(value.dtype) for value in seen] == ["float32"]


def namespace(size=None) -> SimpleNamespace:
    """The only layers that both Keras have; those of `keras.layers`, for images of one size if it is given."""
    only = {name: getattr(keras.layers, name) for name in ("Add", "Concatenate", "Conv2D", "ReLU")}

    def image(shape):
        return keras.layers.Input((size, size, 3), batch_size=1) if size else keras.layers.Input(shape)

    return SimpleNamespace(Input=image, **only)


@pytest.mark.parametrize("scale", [2, 4])
def test_twin_of_other_layers_takes_the_weights_by_position(scale):
    network = Edge(scale, **TINY)
    randomise(network)
    clip = keras.layers.ReLU(max_value=0.5)
    twin = keras.Model(*build(namespace(), scale, **TINY, shuffle=PixelShuffle(scale), clip=clip))
    twin.set_weights(network.get_weights())
    x = random_images(1, 6, 6)
    np.testing.assert_array_equal(twin(x), np.minimum(network(x), 0.5))


class ClipOfInt8(keras.layers.Layer):
    """What tells the converter that the sum before it lies in [0, 1]."""

    def call(self, x):
        return tf.quantization.fake_quant_with_min_max_args(x, 0.0, 1.0)


def test_int8_form_is_one_partition_of_int8_kernels(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    network = keras.Model(*build(namespace(16), 4, **TINY, shuffle=PixelShuffle(4), clip=ClipOfInt8()))
    network.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [[random_images(1, 16, 16)]]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()

    names = [operation["op_name"] for operation in interpreter._get_ops_details()]
    # Five convolutions, two joins of four for x4; uint8 to int8 and back. No MINIMUM, RELU or float.
    expected = ["CONV_2D"] * 5 + ["CONCATENATION"] * 2 + ["ADD", "DEPTH_TO_SPACE"] + ["QUANTIZE"] * 2
    assert sorted(set(names) - {"DELEGATE"}) == sorted(set(expected))
    assert len([name for name in names if name != "DELEGATE"]) == len(expected)
    assert names.count("DELEGATE") <= 1
    (output,) = interpreter.get_output_details()
    assert output["quantization"] == (pytest.approx(1 / 255), 0)
    # A new network repeats its input, and int8 loses nothing of that.
    pixels = np.random.default_rng(4).integers(0, 256, (1, 16, 16, 3), np.uint8)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(output["index"]), enlarged(pixels, 4))


def test_recipes_find_it_by_its_name():
    assert "edge" in generators.names()
    assert generators.get("edge") is Edge
