"""The U-Net discriminator: published size, one logit a pixel, spectral normalisation, saving, precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr import discriminators
from keras_fsr.discriminators.unet import UNetDiscriminator
from keras_fsr.layers import SpectralConv2D


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), dtype=np.float32)


def tiny(**options) -> UNetDiscriminator:
    keras.utils.set_random_seed(0)
    return UNetDiscriminator(num_features=4, **options)


def test_published_parameter_count():
    # Golden: Real-ESRGAN's UNetDiscriminatorSN. By hand: 27*64+64; 16*(64*128 + 128*256 + 256*512);
    # 9*(512*256 + 256*128 + 128*64); 2*9*64*64; 9*64+1.
    trainable = sum(int(np.prod(w.shape)) for w in UNetDiscriminator().trainable_weights)
    assert trainable == 4_376_897


def test_layers_are_the_published_ones():
    network = UNetDiscriminator()
    spectral = [layer for layer in network.layers if isinstance(layer, SpectralConv2D)]
    assert [layer.filters for layer in spectral] == [128, 256, 512, 256, 128, 64, 64, 64]
    assert [(layer.kernel_size, layer.strides) for layer in spectral] == [(4, 2)] * 3 + [(3, 1)] * 5
    assert not any(layer.use_bias for layer in spectral)
    plain = [layer.name for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert plain == ["conv_first", "logits"]
    slopes = {layer.negative_slope for layer in network.layers if isinstance(layer, keras.layers.LeakyReLU)}
    assert slopes == {0.2}


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 16, 24), (3, 40, 8)], ids=str)
def test_every_pixel_gets_a_logit(shape):
    assert tiny()(random_images(*shape)).shape == (*shape, 1)


def test_any_size_is_announced():
    assert tiny()(keras.Input((None, None, 3))).shape == (None, None, None, 1)


def test_logits_are_not_bounded():
    network = tiny()
    last = network.get_layer("logits")
    assert last.activation is keras.activations.linear
    last.set_weights([np.zeros_like(last.kernel), np.full(1, -7, "float32")])
    np.testing.assert_array_equal(network(random_images(1, 8, 8)), np.full((1, 8, 8, 1), -7))


def test_every_weight_gets_a_gradient():
    network = tiny()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(network(random_images(2, 16, 16), training=True) ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_a_longer_spectral_kernel_changes_no_logit():
    network, x = tiny(), random_images(1, 16, 16)
    before = network(x)
    for layer in network.layers:
        if isinstance(layer, SpectralConv2D):
            layer.kernel.assign(10 * layer.kernel)
    np.testing.assert_allclose(network(x), before, rtol=1e-4, atol=1e-6)


def test_config_and_file_give_the_same_network(reload):
    network = tiny(name="judge")
    assert network.get_config() == {"name": "judge", "num_features": 4}
    x = random_images(2, 16, 8)
    expected = np.asarray(network(x))
    copy = UNetDiscriminator.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(x), expected)

    loaded = reload(network)
    assert type(loaded) is UNetDiscriminator
    assert loaded.get_config() == network.get_config()
    np.testing.assert_array_equal(loaded(x), expected)


def test_logits_are_float32_in_mixed_precision(dtype_policy):
    exact, x = tiny(), random_images(1, 16, 16)
    dtype_policy("mixed_bfloat16")
    network = tiny()
    network.set_weights(exact.get_weights())
    assert network.get_layer("down1").compute_dtype == "bfloat16"
    assert all(w.dtype == "float32" for w in network.weights)
    logits = network(x)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, exact(x), atol=0.1)


def test_recipes_find_it_by_its_name():
    assert "unet" in discriminators.names()
    assert discriminators.get("unet") is UNetDiscriminator
