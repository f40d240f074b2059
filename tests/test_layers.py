"""The shared layers against TensorFlow, Keras and Pillow, and through their configs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_fsr import layers
from keras_fsr.layers import (
    BicubicUpsampling,
    NearestUpsampling,
    PixelShuffle,
    PixelUnshuffle,
    ScaledResidual,
    SpectralConv2D,
    advance_spectral_norms,
)

SCALES = pytest.mark.parametrize("scale", [2, 3, 4])


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@SCALES
def test_pixel_shuffle_is_depth_to_space(scale):
    x = random_images(2, 3, 5, 3 * scale**2)
    np.testing.assert_array_equal(PixelShuffle(scale)(x), tf.nn.depth_to_space(x, scale))


@SCALES
def test_pixel_unshuffle_inverts_pixel_shuffle(scale):
    x = random_images(2, 3, 5, 2 * scale**2)
    np.testing.assert_array_equal(PixelUnshuffle(scale)(PixelShuffle(scale)(x)), x)


@SCALES
def test_nearest_upsampling_is_that_of_keras(scale):
    x = random_images(2, 5, 4, 3)
    expected = keras.layers.UpSampling2D(scale, interpolation="nearest")(x)
    np.testing.assert_array_equal(NearestUpsampling(scale)(x), expected)


def inside(image: np.ndarray, scale: int) -> np.ndarray:
    """Without the three LR pixels at each edge, where Pillow renormalises and the layer mirrors."""
    return image[3 * scale : -3 * scale, 3 * scale : -3 * scale]


@SCALES
def test_bicubic_upsampling_is_within_one_level_of_pillow(scale):
    # Away from black and white, where Pillow also clips between its two passes.
    lr = np.random.default_rng(1).integers(50, 206, (14, 11, 3), dtype=np.uint8)
    size = (11 * scale, 14 * scale)
    expected = np.asarray(Image.fromarray(lr).resize(size, Image.Resampling.BICUBIC)).astype(float)
    result = np.asarray(BicubicUpsampling(scale)(lr[None].astype("float32")))[0]
    assert result.shape == expected.shape
    assert np.abs(inside(np.rint(result) - expected, scale)).max() <= 1


@SCALES
def test_bicubic_upsampling_equals_pillow_in_float(scale):
    lr = random_images(14, 11, seed=2)
    expected = Image.fromarray(lr).resize((11 * scale, 14 * scale), Image.Resampling.BICUBIC)
    result = np.asarray(BicubicUpsampling(scale)(lr[None, ..., None]))[0, ..., 0]
    np.testing.assert_allclose(inside(result, scale), inside(np.asarray(expected), scale), atol=1e-5)


@SCALES
def test_bicubic_upsampling_keeps_a_constant_image_to_the_edge(scale):
    colour = np.array([0.1, 0.5, 0.9], "float32")
    result = BicubicUpsampling(scale)(np.broadcast_to(colour, (1, 4, 3, 3)))
    assert result.shape == (1, 4 * scale, 3 * scale, 3)
    np.testing.assert_allclose(result, np.broadcast_to(colour, result.shape), atol=1e-6)


def test_bicubic_taps_at_half_a_pixel():
    # Keys' cubic with a = -0.5 at distances 0.25, 0.75, 1.25, 1.75, by hand (Keys, 1981, equation 15).
    expected = np.array([[-3, 29, 111, -9, 0], [0, -9, 111, 29, -3]]) / 128
    np.testing.assert_allclose(layers.bicubic_taps(2), expected, atol=1e-12)


def test_scaled_residual_adds_the_scaled_branch():
    shortcut, branch = np.full((1, 2, 2, 1), 3.0, "float32"), np.full((1, 2, 2, 1), 10.0, "float32")
    np.testing.assert_allclose(ScaledResidual(0.2)([shortcut, branch]), np.full((1, 2, 2, 1), 5.0))


LAYERS = pytest.mark.parametrize(
    ("layer", "channels", "expected"),
    # expected: height, width and channels that come of a 6x4 input, as multiples or parts of the input's.
    [
        (PixelShuffle(2), 12, (12, 8, 3)),
        (PixelUnshuffle(2), 3, (3, 2, 12)),
        (NearestUpsampling(3), 3, (18, 12, 3)),
        (BicubicUpsampling(4), 3, (24, 16, 3)),
        (ScaledResidual(0.2), 3, (6, 4, 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else None,
)


def call(layer, x):
    return layer([x, 0.5 * x]) if isinstance(layer, ScaledResidual) else layer(x)


@LAYERS
def test_layer_survives_its_config(layer, channels, expected):
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    x = random_images(1, 6, 4, channels)
    np.testing.assert_array_equal(call(copy, x), call(layer, x))


@LAYERS
def test_layer_gives_the_shape_it_announces(layer, channels, expected):
    fresh = type(layer).from_config(layer.get_config())
    assert call(fresh, random_images(2, 6, 4, channels)).shape == (2, *expected)
    assert call(fresh, keras.Input((6, 4, channels))).shape == (None, *expected)
    assert call(fresh, keras.Input((None, None, channels))).shape == (None, None, None, expected[-1])


def spectral(kernel: np.ndarray, **options) -> SpectralConv2D:
    """A built layer with this kernel, its u as yet that of another."""
    layer = SpectralConv2D(kernel.shape[-1], kernel.shape[0], **options)
    layer.build((None, None, None, kernel.shape[2]))
    layer.kernel.assign(kernel)
    return layer


def kernel_with_a_gap() -> np.ndarray:
    """(3, 3, 4, 6) with the singular values 3, 1, 0.5, 0.4, 0.2 and 0.1, as a (36, 6) matrix."""
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(n, 6)))[0] for n in (36, 6))
    return (left @ np.diag([3, 1, 0.5, 0.4, 0.2, 0.1]) @ right.T).reshape(3, 3, 4, 6).astype("float32")


def largest_singular_value(kernel) -> float:
    kernel = np.asarray(kernel, "float64")
    return np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]


def test_spectral_convolution_finds_the_largest_singular_value():
    layer = spectral(kernel_with_a_gap())
    layer.advance(3)
    assert float(layer.sigma()) == pytest.approx(3, rel=1e-4)


def test_spectral_convolution_keeps_up_with_a_kernel_that_learns():
    keras.utils.set_random_seed(0)
    layer, optimizer = spectral(kernel_with_a_gap()), keras.optimizers.SGD(0.5)
    x, y = tf.random.normal((4, 8, 8, 4)), tf.random.normal((4, 8, 8, 6))
    before = largest_singular_value(layer.kernel)
    for _ in range(10):
        layer.advance()
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((layer(x) - y) ** 2)
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)
    after = largest_singular_value(layer.kernel)
    assert abs(after - before) > 0.01
    assert float(layer.sigma()) == pytest.approx(after, rel=1e-2)
    layer.advance(5)
    assert float(layer.sigma()) == pytest.approx(after, rel=1e-4)


def test_advance_is_one_power_iteration_of_u_alone():
    layer = spectral(kernel_with_a_gap())
    kernel, bias, u = layer.get_weights()
    layer.advance()
    # Algorithm 1 of Miyato et al. with the matrix transposed: v = Wu / |Wu|, u = W'v / |W'v|.
    matrix = kernel.reshape(-1, 6)
    v = matrix @ u / np.linalg.norm(matrix @ u)
    expected = matrix.T @ v / np.linalg.norm(matrix.T @ v)
    np.testing.assert_allclose(layer.u, expected, atol=1e-5)
    np.testing.assert_array_equal(layer.kernel, kernel)
    np.testing.assert_array_equal(layer.bias, bias)


def test_a_new_spectral_convolution_is_warm():
    keras.utils.set_random_seed(1)
    layer = SpectralConv2D(8)
    layer.build((None, None, None, 4))
    assert float(layer.sigma()) == pytest.approx(largest_singular_value(layer.kernel), rel=1e-2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_calls_of_a_spectral_convolution_change_no_weight(training, wrap):
    network = spectral_network()
    before = network.get_weights()
    run = wrap(lambda x: network(x, training=training))
    first, second = (run(tf.constant(random_images(1, 6, 6, 3))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("use_bias", [True, False])
def test_spectral_convolution_is_a_convolution_by_the_divided_kernel(strides, use_bias):
    kernel = kernel_with_a_gap()
    layer = spectral(kernel, strides=strides, use_bias=use_bias)
    layer.advance(10)
    bias = np.arange(6, dtype="float32") if use_bias else np.zeros(6, "float32")
    if use_bias:
        layer.bias.assign(bias)
    x = random_images(2, 7, 6, 4)
    expected = tf.nn.conv2d(x, kernel / 3, strides, "SAME") + bias
    result = layer(x)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert result.shape == layer.compute_output_shape(x.shape)
    assert layer.compute_output_shape((None, None, None, 4)) == (None, None, None, 6)


def gradient_of(layer, x, weights) -> tuple[float, np.ndarray]:
    """Of the kernel, for the weighted sum of the outputs' squares."""
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(weights * layer(x) ** 2)
    return float(value), tape.gradient(value, layer.kernel.value).numpy()


def test_a_longer_kernel_changes_nothing_so_its_gradient_is_across():
    layer = spectral(kernel_with_a_gap())
    layer.advance(10)
    x, weights = random_images(2, 6, 6, 4), random_images(2, 6, 6, 6, seed=1)
    value, gradient = gradient_of(layer, x, weights)
    kernel = np.asarray(layer.kernel)
    assert abs((gradient * kernel).sum()) < 1e-5 * np.linalg.norm(gradient) * np.linalg.norm(kernel)
    layer.kernel.assign(2 * kernel)
    doubled, half = gradient_of(layer, x, weights)
    assert doubled == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(half, gradient / 2, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


def test_gradient_flows_through_sigma():
    layer = spectral(kernel_with_a_gap()[:1, :1].astype("float64"), dtype="float64")
    layer.advance(200)
    kernel = np.asarray(layer.kernel)[0, 0]
    x, weights = np.random.default_rng(1).normal(size=(2, 3, 3, 4)), np.random.default_rng(2).random((2, 3, 3, 6))
    _, gradient = gradient_of(layer, x, weights)

    def value(k):  # of a 1x1 convolution, which is a matrix product, with NumPy's singular value
        return (weights * (x @ (k / np.linalg.svd(k, compute_uv=False)[0])) ** 2).sum()

    expected = np.zeros_like(kernel)
    for index in np.ndindex(kernel.shape):
        step = np.zeros_like(kernel)
        step[index] = 1e-6
        expected[index] = (value(kernel + step) - value(kernel - step)) / 2e-6
    np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


def test_sigma_is_exact_in_mixed_precision():
    kernel = kernel_with_a_gap()
    layer = spectral(kernel, dtype="mixed_bfloat16")
    layer.advance(5)
    assert layer.kernel.dtype == layer.u.dtype == layer.sigma().dtype == "float32"
    assert float(layer.sigma()) == pytest.approx(3, rel=1e-4)
    x = random_images(1, 5, 5, 4)
    result = layer(x)
    assert result.dtype == "bfloat16"
    assert layer.sigma().dtype == "float32"
    np.testing.assert_allclose(tf.cast(result, tf.float32), tf.nn.conv2d(x, kernel / 3, 1, "SAME"), atol=0.05)


def spectral_network() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    x = SpectralConv2D(4, 4, strides=2, use_bias=False, name="down")(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same", name="plain")(x)
    return keras.Model(inputs, SpectralConv2D(2, name="last")(x))


def test_spectral_convolution_survives_its_config_and_a_file(reload):
    network = spectral_network()
    layer = network.get_layer("down")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(copy) is SpectralConv2D
    assert copy.get_config() == layer.get_config()
    assert copy.get_config().items() >= {"filters": 4, "kernel_size": 4, "strides": 2, "use_bias": False}.items()

    loaded = reload(network)
    for a, b in zip(network.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    x = random_images(1, 6, 8, 3)
    np.testing.assert_array_equal(network(x), loaded(x))


def test_u_does_not_learn_by_gradient():
    network = spectral_network()
    assert [w.name for w in network.get_layer("last").trainable_weights] == ["kernel", "bias"]
    assert [w.name for w in network.non_trainable_weights] == ["u", "u"]


def test_every_spectral_norm_of_a_network_advances_once():
    network, once = spectral_network(), spectral_network()
    for name in ("down", "last"):
        for n in (network, once):
            n.get_layer(name).u.assign(np.eye(n.get_layer(name).filters, dtype="float32")[0])
        once.get_layer(name).advance()
    plain = network.get_layer("plain").get_weights()
    advance_spectral_norms(network)
    for name in ("down", "last"):
        u = np.asarray(network.get_layer(name).u)
        np.testing.assert_allclose(u, once.get_layer(name).u, atol=1e-6)
        assert abs(u[0]) < 1, "it has not moved"
    np.testing.assert_array_equal(network.get_layer("plain").get_weights()[0], plain[0])
