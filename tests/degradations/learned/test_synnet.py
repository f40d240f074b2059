"""SynNet: modulated convolutions against a slow reference, what noise does, its untrained start and its file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.degradations.learned.synnet import (
    ModulatedConv2D,
    NoiseAt,
    NoiseChannels,
    ScaledSkip,
    SynNet,
    noise_channels,
)

TINY = {"filters": [4, 4, 4, 4], "hidden": 8, "dense": 2}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def inputs(height: int = 8, width: int = 8, scale: int = 4, count: int = 2) -> list[np.ndarray]:
    """HQ, Omega and noise for LQ images of (height, width)."""
    hq = np.random.default_rng(1).random((count, height * scale, width * scale, 3), dtype=np.float32)
    return [hq, normal(count, 6, seed=2), normal(count, height, width, noise_channels(), seed=3)]


def randomise(network: keras.Model, seed: int = 0) -> keras.Model:
    """Adds noise to every weight, so that none of those that start at zero stays there."""
    draw = np.random.default_rng(seed)
    for weight in network.weights:
        weight.assign_add(draw.normal(0, 0.2, weight.shape))
    return network


def block_means(hq: np.ndarray, scale: int = 4) -> np.ndarray:
    n, h, w, c = hq.shape
    return hq.reshape(n, h // scale, scale, w // scale, scale, c).mean(axis=(2, 4))


def built(layer, *shapes):
    layer.build(list(shapes))
    return randomise(layer)


# The modulated convolution


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_equals_one_with_a_kernel_for_each_image(demodulate, kernel_size):
    x, w = normal(3, 5, 7, 4), normal(3, 6, seed=1)
    layer = built(ModulatedConv2D(5, kernel_size, demodulate), x.shape, w.shape)
    expected = []
    for image, vector in zip(x, w, strict=True):
        style = vector @ np.asarray(layer.style.kernel) + np.asarray(layer.style.bias)
        kernel = np.asarray(layer.kernel) * style[None, None, :, None]
        if demodulate:
            kernel /= np.sqrt(np.sum(kernel**2, axis=(0, 1, 2)) + 1e-8)
        expected.append(tf.nn.conv2d(image[None], kernel, 1, "SAME")[0])
    result = layer([x, w])
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert layer.compute_output_shape([x.shape, w.shape]) == result.shape == (3, 5, 7, 5)


def test_demodulated_outputs_do_not_grow_with_the_kernel():
    x, w = normal(1, 5, 5, 4), normal(1, 6, seed=1)
    for demodulate, factor in ((True, 1), (False, 3)):
        layer = built(ModulatedConv2D(5, demodulate=demodulate), x.shape, w.shape)
        before = np.asarray(layer([x, w]))
        layer.kernel.assign(3 * layer.kernel)
        np.testing.assert_allclose(layer([x, w]), factor * before, rtol=1e-4, atol=1e-5)


def test_modulated_convolution_starts_as_a_plain_one_for_a_zero_style():
    x = normal(2, 5, 5, 4)
    layer = ModulatedConv2D(3, demodulate=False)
    layer.build([x.shape, (2, 6)])
    expected = tf.nn.conv2d(x, layer.kernel, 1, "SAME")
    np.testing.assert_allclose(layer([x, np.zeros((2, 6), np.float32)]), expected, atol=1e-5)


def test_modulated_convolution_survives_its_config():
    layer = ModulatedConv2D(5, 1, False, "zeros", name="mine")
    copy = ModulatedConv2D.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.filters, copy.kernel_size, copy.demodulate, copy.start) == (5, 1, False, "zeros")


# Skips and noise


def test_scaled_skip_starts_at_zero_and_adds_by_its_scale():
    x, skip = normal(1, 2, 2, 3), normal(1, 2, 2, 3, seed=1)
    layer = ScaledSkip()
    np.testing.assert_array_equal(layer([x, skip]), x)
    layer.scale.assign(0.5)
    np.testing.assert_allclose(layer([x, skip]), x + 0.5 * skip, rtol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_noise_at_lower_resolution_is_still_of_deviation_one(factor):
    noise = normal(1, 128, 128, 3)
    result = np.asarray(NoiseAt(factor)(noise))
    assert result.shape == (1, 128 // factor, 128 // factor, 3)
    # 3,072 values at least: their deviation is off by 0.013 of itself, one in three times.
    assert result.std() == pytest.approx(1, abs=0.04)
    np.testing.assert_allclose(result, block_means(noise, factor) * factor, atol=1e-5)


def test_noise_channels_are_cut_out():
    noise = normal(1, 2, 2, 12)
    np.testing.assert_array_equal(NoiseChannels(3, 2)(noise), noise[..., 3:5])
    assert NoiseChannels(3, 2).compute_output_shape(noise.shape) == (1, 2, 2, 2)
    for layer in (NoiseChannels(3, 2), NoiseAt(2)):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_each_convolution_with_noise_takes_channels_of_its_own():
    network = SynNet(4, 6, **TINY)
    cuts = [layer for layer in network.layers if isinstance(layer, NoiseChannels)]
    taken = [channel for cut in cuts for channel in range(cut.first, cut.first + cut.count)]
    assert sorted(taken) == list(range(noise_channels()))


# The network


@pytest.mark.parametrize(("height", "width", "scale"), [(8, 24, 4), (16, 8, 2)])
def test_untrained_network_gives_the_block_means(height, width, scale):
    hq, omega, noise = inputs(height, width, scale)
    lq = SynNet(scale, 6, **TINY)([hq, omega, noise])
    assert lq.shape == (2, height, width, 3)
    assert lq.dtype == "float32"
    np.testing.assert_allclose(lq, block_means(hq, scale), atol=1e-6)


def test_equal_inputs_make_equal_pixels_and_other_noise_others():
    network = randomise(SynNet(4, 6, **TINY))
    hq, omega, noise = inputs()
    without = network([hq, omega, 0 * noise])
    np.testing.assert_array_equal(network([hq, omega, 0 * noise]), without)
    drawn = network([hq, omega, noise])
    assert np.abs(drawn - without).max() > 1e-3
    assert np.abs(network([hq, omega, -noise]) - drawn).max() > 1e-3


def test_noise_is_off_until_its_kernels_are_trained():
    network = SynNet(4, 6, **TINY)
    network.get_layer("to_rgb").kernel.assign(normal(1, 1, 4, 3))
    hq, omega, noise = inputs()
    without = np.asarray(network([hq, omega, 0 * noise]))
    np.testing.assert_array_equal(network([hq, omega, noise]), without)
    for name in ("noise0a", "noise0b", "noise1a", "noise1b"):
        kernel = network.get_layer(name).kernel
        kernel.assign(normal(*kernel.shape))
        assert np.abs(network([hq, omega, noise]) - without).max() > 1e-3, name
        kernel.assign(0 * kernel)


def test_omega_counts_by_its_direction_alone():
    network = randomise(SynNet(4, 6, **TINY))
    hq, omega, noise = inputs()
    lq = np.asarray(network([hq, omega, noise]))
    np.testing.assert_allclose(network([hq, 3 * omega, noise]), lq, atol=1e-4)
    assert np.abs(network([hq, -omega, noise]) - lq).max() > 1e-3


def test_each_image_of_a_batch_is_degraded_by_its_own_omega():
    network = randomise(SynNet(4, 6, **TINY))
    batch = inputs(count=3)
    one_by_one = np.concatenate([network([part[i : i + 1] for part in batch]) for i in range(3)])
    np.testing.assert_allclose(network(batch), one_by_one, atol=1e-4)


def test_gradient_reaches_every_weight():
    network = randomise(SynNet(4, 6, **TINY))
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(tf.square(network(inputs())))
    for weight, gradient in zip(
        network.trainable_weights, tape.gradient(value, network.trainable_weights), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path


def parameters_of(filters: list[int], hidden: int, dense: int, size: int, scale: int = 4) -> int:
    """Weights and biases by hand."""

    def modulated(kernel: int, before: int, after: int) -> int:
        return (hidden + 1) * before + kernel**2 * before * after

    total = (size + 1) * hidden + (dense - 1) * (hidden + 1) * hidden
    before = 3 * scale**2
    for channels in filters:  # down, on HQ alone
        total += (9 * before + 1) * channels
        before = channels
    for stage, channels in reversed(list(enumerate(filters))):  # and up again, by Omega
        if stage < len(filters) - 1:
            total += modulated(1, before, channels)
        total += 1  # of the skip
        total += 2 * modulated(3, channels, channels)
        total += 2 * modulated(1, 3, channels) if stage < 2 else 0
        before = channels
    return total + modulated(1, filters[0], 3)


def test_parameters_by_hand():
    assert SynNet(4, 6, **TINY).count_params() == parameters_of([4, 4, 4, 4], 8, 2, 6)
    assert SynNet().count_params() == parameters_of([64, 96, 128, 128], 128, 4, 64)


def test_saved_network_loads_as_an_equal_one(reload):
    network = randomise(SynNet(4, 6, filters=[4, 6, 8], hidden=8, dense=1, name="mine"))
    copy = reload(network)
    assert copy.get_config() == network.get_config()
    assert copy.config == {"scale": 4, "size": 6, "filters": [4, 6, 8], "hidden": 8, "dense": 1}
    np.testing.assert_array_equal(copy(inputs()), network(inputs()))
