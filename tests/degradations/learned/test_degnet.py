"""DegNet: the shape and size of Omega, what its statistics know, and its file."""

import numpy as np
import pytest

from keras_fsr.degradations.learned.degnet import DegNet, Statistics, UnitRMS

TINY = {"filters": [4, 4, 4, 4], "hidden": 8}


def pair(height: int, width: int, scale: int = 4, count: int = 2, seed: int = 0) -> list[np.ndarray]:
    """(HQ, LQ) of random pixels, LQ (count, height, width, 3)."""
    draw = np.random.default_rng(seed)
    return [draw.random((count, height * s, width * s, 3), dtype=np.float32) for s in (scale, 1)]


def root_mean_square(vectors) -> np.ndarray:
    return np.sqrt(np.mean(np.square(np.asarray(vectors, np.float64)), axis=-1))


def parameters_of(filters: list[int], hidden: int, size: int, scale: int = 4) -> int:
    """Weights and biases by hand."""
    inputs = 3 * scale**2 + 3 + 3  # HQ in LQ resolution, LQ, their difference
    total = 0
    for channels in filters:
        total += 9 * inputs * channels + channels + 9 * channels * channels + channels
        inputs = channels
    pooled = 2 * sum(filters)  # a mean and a deviation each
    return total + (pooled + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * size


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 40), (48, 24)])
def test_omega_has_its_size_and_root_mean_square_one_at_any_multiple_of_8(height, width):
    omega = DegNet(4, 6, **TINY)(pair(height, width))
    assert omega.shape == (2, 6)
    assert omega.dtype == "float32"
    np.testing.assert_allclose(root_mean_square(omega), [1, 1], atol=1e-4)


@pytest.mark.parametrize("scale", [2, 4])
def test_sizes_of_the_pair_differ_by_the_scale(scale):
    network = DegNet(scale, 6, **TINY)
    assert network(pair(8, 16, scale)).shape == (2, 6)
    assert network.count_params() == parameters_of(TINY["filters"], TINY["hidden"], 6, scale)


def test_parameters_of_the_default_by_hand():
    # Eight convolutions 760,000; the dense layers 213,248 + 65,792 + 16,448.
    assert DegNet().count_params() == parameters_of([64, 96, 128, 128], 256, 64) == 1_055_488


def test_both_images_count():
    network = DegNet(4, 6, **TINY)
    hq, lq = pair(8, 8)
    omega = np.asarray(network([hq, lq]))
    assert np.abs(network([hq, lq[::-1]]) - omega).max() > 1e-3
    assert np.abs(network([hq[::-1], lq]) - omega).max() > 1e-3


def test_each_image_of_a_batch_has_its_own_omega():
    network = DegNet(4, 6, **TINY)
    hq, lq = pair(8, 16, count=3)
    one_by_one = np.concatenate([network([hq[i : i + 1], lq[i : i + 1]]) for i in range(3)])
    np.testing.assert_allclose(network([hq, lq]), one_by_one, atol=1e-5)
    assert np.abs(one_by_one[0] - one_by_one[1]).max() > 1e-3


def test_statistics_are_the_mean_and_deviation_of_numpy():
    maps = np.random.default_rng(0).normal(3, 2, (2, 5, 7, 4)).astype(np.float32)
    result = np.asarray(Statistics()(maps))
    assert result.shape == Statistics().compute_output_shape(maps.shape) == (2, 8)
    np.testing.assert_allclose(result[:, :4], maps.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(result[:, 4:], maps.std(axis=(1, 2)), rtol=1e-5)


def test_statistics_know_no_place():
    draw = np.random.default_rng(0)
    maps = draw.random((1, 6, 8, 4), dtype=np.float32)
    shuffled = draw.permutation(maps.reshape(48, 4)).reshape(1, 8, 6, 4)
    np.testing.assert_allclose(Statistics()(shuffled), Statistics()(maps), atol=1e-6)
    # Pixels as wholes: channels that are shuffled among each other are others.
    assert np.abs(Statistics()(maps[..., ::-1]) - Statistics()(maps)).max() > 1e-3


def test_statistics_of_a_flat_map_have_a_gradient():
    import tensorflow as tf

    maps = tf.Variable(tf.ones((1, 4, 4, 2)))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(Statistics()(maps))
    gradient = tape.gradient(value, maps)
    np.testing.assert_allclose(gradient, np.full((1, 4, 4, 2), 1 / 16), atol=1e-6)


def test_unit_rms_keeps_the_direction():
    vectors = np.array([[3.0, -4.0], [0.01, 0.0]], np.float32)
    # Root mean squares 5 / sqrt(2) and 0.01 / sqrt(2); the second is bent by the 1e-8 in the root.
    expected = [[3 * 2**0.5 / 5, -4 * 2**0.5 / 5], [0.01 / (0.5e-4 + 1e-8) ** 0.5, 0]]
    np.testing.assert_allclose(UnitRMS()(vectors), expected, rtol=1e-5)


def test_saved_network_loads_as_an_equal_one(reload):
    network = DegNet(2, 6, filters=[4, 8], hidden=8, name="mine")
    images = pair(8, 16, scale=2)
    copy = reload(network)
    assert copy.get_config() == network.get_config()
    assert copy.config == {"scale": 2, "size": 6, "filters": [4, 8], "hidden": 8}
    np.testing.assert_array_equal(copy(images), network(images))
