"""ResidualShuffle: its size, its two terms, the learned scale and the bilinear enlargement, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr import generators
from keras_fsr.generators.residual_shuffle import BilinearUpsampling, LearnedScale, ResidualShuffle
from keras_fsr.layers import PixelShuffle

SMALL = {"num_features": 8}


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), dtype=np.float32)


def test_parameter_count():
    # By hand: 4*3*64+64; 9*64*128+128 + 9*128*256+256; 9*64*64+64 + 9*64*128+128; 9*32*32+32; 9*32*3+3; the scale.
    assert ResidualShuffle().count_params() == 490_756


def test_layers_are_those_of_the_table():
    network = ResidualShuffle()
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [64, 128, 256, 64, 128, 32, 3]
    assert [layer.strides for layer in convolutions] == [(2, 2)] + [(1, 1)] * 6
    assert [layer.activation.__name__ for layer in convolutions] == ["tanh"] * 6 + ["linear"]
    assert convolutions[0].kernel_size == (2, 2)
    assert sum(isinstance(layer, PixelShuffle) for layer in network.layers) == 2


@pytest.mark.parametrize(("height", "width"), [(8, 12), (2, 2), (10, 6)])
def test_output_is_twice_the_input(height, width):
    network = ResidualShuffle(**SMALL)
    assert network.scale == 2
    assert network(random_images(2, height, width)).shape == (2, 2 * height, 2 * width, 3)
    assert network.output_shape == (None, None, None, 3)


def zero_last_convolution(network) -> None:
    last = network.get_layer("conv_last")
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])


def test_without_its_convolutions_it_is_the_scaled_enlargement_around_the_mean():
    network = ResidualShuffle(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), **SMALL)
    x = random_images(1, 6, 8)
    enlarged = tf.image.resize(x, (12, 16), "bilinear")
    assert np.abs(network(x) - enlarged).max() > 0.05
    zero_last_convolution(network)
    mean = np.float32((0.4, 0.5, 0.6))
    np.testing.assert_allclose(network(x), mean + 0.5 * (enlarged - mean), atol=1e-5)


def test_convolutions_add_in_units_of_std():
    network = ResidualShuffle(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), **SMALL)
    x = random_images(1, 4, 4)
    zero_last_convolution(network)
    before = np.asarray(network(x))
    kernel, _ = network.get_layer("conv_last").get_weights()
    network.get_layer("conv_last").set_weights([kernel, np.ones(3)])
    np.testing.assert_allclose(network(x) - before, np.broadcast_to((0.2, 0.25, 0.3), before.shape), atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bilinear_upsampling_is_that_of_tensorflow(scale):
    x = random_images(2, 5, 7)
    expected = tf.image.resize(x, (5 * scale, 7 * scale), "bilinear")
    np.testing.assert_allclose(BilinearUpsampling(scale)(x), expected, atol=1e-6)


@pytest.mark.parametrize(("value", "used"), [(-1.0, 0.2), (0.1, 0.2), (0.2, 0.2), (0.7, 0.7), (0.9, 0.8)])
def test_learned_scale_is_clipped_whatever_it_is_set_to(value, used):
    layer = LearnedScale(0.2, 0.8, 0.5)
    x = random_images(1, 2, 2)
    np.testing.assert_allclose(layer(x), 0.5 * x)
    layer.set_weights([np.float32(value)])
    np.testing.assert_allclose(layer(x), np.float32(used) * x)


@pytest.mark.parametrize(("value", "passes"), [(0.5, True), (0.2, True), (0.8, True), (0.1, False), (0.9, False)])
def test_gradient_passes_inside_the_range_and_at_its_bounds(value, passes):
    layer = LearnedScale(0.2, 0.8, 0.5)
    x = random_images(1, 2, 2)
    layer.build(x.shape)
    layer.set_weights([np.float32(value)])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(x))
    gradient = float(tape.gradient(total, layer.trainable_weights[0]))
    assert gradient == pytest.approx(x.sum() if passes else 0.0, rel=1e-5)


def test_scale_that_a_step_drove_over_the_bound_comes_back():
    layer = LearnedScale(0.2, 0.8, 0.5)
    x = np.ones((1, 2, 2, 3), "float32")
    layer.build(x.shape)
    optimizer = keras.optimizers.SGD(1.0)
    for direction, expected in ((1.0, 0.8), (-1.0, 0.2)):
        with tf.GradientTape() as tape:
            loss = -direction * tf.reduce_mean(layer(x))
        optimizer.apply(tape.gradient(loss, layer.trainable_weights), layer.trainable_weights)
        assert float(layer.value) == pytest.approx(expected)


def test_scale_trains_with_the_network():
    network = ResidualShuffle(**SMALL)
    x = random_images(2, 4, 4)
    network.compile(optimizer=keras.optimizers.SGD(0.02), loss="mse", jit_compile=False)
    network.train_on_batch(x, x.repeat(2, axis=1).repeat(2, axis=2))
    scale = float(network.get_layer("learned_scale").value)
    assert scale != 0.5
    assert 0.2 <= scale <= 0.8


def test_config_and_file_give_the_same_network(tmp_path):
    network = ResidualShuffle(num_features=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), name="small")
    network.get_layer("learned_scale").set_weights([np.float32(0.7)])
    x = random_images(1, 6, 4)
    copy = ResidualShuffle.from_config(network.get_config())
    assert copy.get_config() == network.get_config()
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(x), network(x))

    network.save(tmp_path / "small.keras")
    loaded = generators.load(tmp_path / "small.keras")
    assert type(loaded) is ResidualShuffle
    assert loaded.get_config() == network.get_config()
    np.testing.assert_array_equal(loaded(x), network(x))


def test_layers_keep_their_config():
    layer = LearnedScale.from_config(LearnedScale(0.1, 0.9, 0.3).get_config())
    assert (layer.minimum, layer.maximum, layer.initial) == (0.1, 0.9, 0.3)
    assert BilinearUpsampling.from_config(BilinearUpsampling(3).get_config()).scale == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 4}, "is 2, not 4"),
        ({"num_features": 7}, "even, not 7"),
        ({"mean": (0.5,)}, "three values"),
        ({"std": (0.5, 0.0, 0.5)}, "above 0"),
    ],
)
def test_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResidualShuffle(**options)


def test_start_outside_the_range_is_refused():
    with pytest.raises(ValueError, match=r"0.9 is not in \[0.2, 0.8\]"):
        LearnedScale(0.2, 0.8, 0.9)


def test_output_is_float32_under_mixed_precision(dtype_policy):
    dtype_policy("mixed_bfloat16")
    network = ResidualShuffle(**SMALL)
    assert network.get_layer("half_conv1").compute_dtype == "bfloat16"
    x = random_images(1, 4, 4)
    assert network(x).dtype == "float32"
    zero_last_convolution(network)  # the enlargement does not pass through bfloat16
    expected = 0.5 + 0.5 * (tf.image.resize(x, (8, 8), "bilinear") - 0.5)
    np.testing.assert_allclose(network(x), expected, atol=1e-6)


def test_recipes_find_it_by_its_name():
    assert "residual_shuffle" in generators.names()
    assert generators.get("residual_shuffle") is ResidualShuffle
