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
