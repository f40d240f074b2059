"""Discriminators except the U-Net: published sizes, shapes, what sets each apart, saving, precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr import discriminators
from keras_fsr.discriminators.compact import CompactDiscriminator
from keras_fsr.discriminators.skip import SkipDiscriminator
from keras_fsr.discriminators.vgg import VGGDiscriminator

SMALL = pytest.mark.parametrize(
    ("kind", "options"),
    [
        (VGGDiscriminator, {"image_size": 32, "num_features": 4, "form": "esrgan"}),
        (VGGDiscriminator, {"image_size": 32, "num_features": 4, "form": "grouped"}),
        (SkipDiscriminator, {"num_features": 4}),
        (CompactDiscriminator, {"image_size": 32, "dropout": 0.1}),
    ],
    ids=["vgg-esrgan", "vgg-grouped", "skip", "compact"],
)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), dtype=np.float32)


def trainable(network) -> int:
    return sum(int(np.prod(w.shape)) for w in network.trainable_weights)


@pytest.mark.parametrize(
    ("kind", "options", "parameters"),
    [
        # Golden: BasicSR's VGGStyleDiscriminator at 128, with the affine numbers of its normalisation.
        (VGGDiscriminator, {}, 14_499_401),
        # The same and 9*512*512 + 16*512*512 + 2*2*512: BasicSR's at 256.
        (VGGDiscriminator, {"image_size": 256}, 21_055_049),
        # By hand: the first four scales of the above, 9*64*64 + 2*64 more for the first group, 8*8*512+1 at the end.
        (VGGDiscriminator, {"form": "grouped"}, 7_194_113),
        # By hand: the first four scales of the above (7,124,352); 960*512+512; 512*100+100; 101.
        (SkipDiscriminator, {}, 7_667_785),
        # By hand: 336 + 5,232 + 31,176 + 31,152 + 5,196 + 327 of the convolutions; 2*(48+72+48); 2*2*3+1.
        (CompactDiscriminator, {}, 73_768),
        # 16*16*3+1 at the end.
        (CompactDiscriminator, {"image_size": 1024}, 74_524),
    ],
)
def test_published_parameter_count(kind, options, parameters):
    assert trainable(kind(**options)) == parameters


@pytest.mark.parametrize(("image_size", "last"), [(32, 1), (64, 2), (96, 3), (128, 4), (192, 6), (256, 4)])
def test_vgg_ends_at_four_pixels_or_what_is_left(image_size, last):
    network = VGGDiscriminator(image_size, num_features=4)
    assert network.get_layer("flatten").input.shape == (None, last, last, 32)
    assert network(random_images(2, image_size, image_size)).shape == (2, 1)


def test_vgg_has_the_layers_of_the_published_one():
    layers = [layer for layer in VGGDiscriminator().layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in layers] == [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    assert [layer.kernel_size[0] for layer in layers] == [3, 4] * 5
    assert [layer.strides[0] for layer in layers] == [1, 2] * 5
    assert [layer.use_bias for layer in layers] == [True] + [False] * 9


def test_vgg_pads_one_pixel_at_each_side():
    layer = VGGDiscriminator(32, num_features=4).get_layer("conv0_1")
    x = np.random.default_rng(0).random((1, 32, 32, 4), dtype=np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    np.testing.assert_allclose(layer(x), tf.nn.conv2d(padded, layer.kernel, 2, "VALID"), atol=1e-5)


def test_grouped_form_normalises_after_the_activation_in_its_two_groups_alone():
    kinds = [type(layer).__name__ for layer in VGGDiscriminator(form="grouped").layers]
    triple, phase = ["Conv2D", "LeakyReLU", "BatchNormalization"], ["Conv2D", "BatchNormalization", "LeakyReLU"]
    assert kinds == ["InputLayer", "Conv2D", "LeakyReLU", *triple * 4, *phase * 4, "Flatten", "Dense"]


@pytest.mark.parametrize(("height", "width"), [(128, 128), (17, 40), (9, 1)])
def test_skip_takes_any_size(height, width):
    assert SkipDiscriminator(num_features=4)(random_images(2, height, width)).shape == (2, 1)


def test_skip_activates_by_relu_alone():
    layers = SkipDiscriminator(num_features=4).layers
    assert not any(isinstance(layer, keras.layers.LeakyReLU) for layer in layers)
    # After each of the seven normalised convolutions; the first, the joining and the dense one have theirs inside.
    assert sum(isinstance(layer, keras.layers.ReLU) for layer in layers) == 7
    inside = [layer.name for layer in layers if getattr(layer, "activation", None) is keras.activations.relu]
    assert inside == ["conv0_0", "join", "dense1"]


def test_skip_joins_the_features_of_every_scale():
    network = SkipDiscriminator(num_features=4)
    x = random_images(1, 64, 48)
    join = network.get_layer("join")
    assert join.input.shape[-1] == 32 + 4 + 8 + 16
    seen = keras.Model(network.input, [join.input, *(network.get_layer(f"conv{i}_1_act").output for i in range(3))])
    joined, *scales = seen(x)
    at = 32
    for stage, features in enumerate(scales):
        times = 2 ** (3 - stage)
        height, width, channels = features.shape[1:]
        mean = np.reshape(features, (1, height // times, times, width // times, times, channels)).mean((2, 4))
        np.testing.assert_allclose(joined[..., at : at + channels], mean, atol=1e-5)
        at += channels


def test_compact_halves_as_with_padding_one():
    network = CompactDiscriminator(32)
    layer = network.get_layer("conv0")
    x = random_images(1, 32, 32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = tf.nn.conv2d(padded, layer.kernel, 2, "VALID")
    result = keras.Model(network.input, layer.output)(x)
    np.testing.assert_allclose(result, expected[:, :16, :16], atol=1e-6)
    filters = [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert filters == [12, 48, 72, 48, 12, 3]


@pytest.mark.parametrize(("image_size", "values"), [(1024, 768), (128, 12), (100, 12), (64, 3)])
def test_compact_takes_any_size_that_is_said_before(image_size, values):
    assert CompactDiscriminator(image_size).get_layer("logit").kernel.shape == (values, 1)


def test_compact_drops_channels_in_training_alone():
    network = CompactDiscriminator(32, dropout=0.5)
    x = random_images(2, 32, 32)
    np.testing.assert_array_equal(network(x), network(x))
    assert np.abs(network(x, training=True) - network(x, training=True)).max() > 0


@SMALL
def test_logits_are_not_bounded(kind, options):
    network = kind(**options)
    logit = network.get_layer("logit")
    assert logit.activation is keras.activations.linear
    logit.set_weights([np.zeros_like(logit.kernel), np.full(1, -7, "float32")])
    np.testing.assert_array_equal(network(random_images(2, 32, 32)), [[-7], [-7]])


@SMALL
def test_every_weight_gets_a_gradient(kind, options):
    network = kind(**options)
    x = random_images(4, 32, 32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(network(x, training=True) ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)


@SMALL
def test_config_and_file_give_the_same_network(kind, options, reload):
    network = kind(name="small", **options)
    assert network.get_config() == {"name": "small", **options}
    x = random_images(2, 32, 32)
    expected = np.asarray(network(x))
    copy = kind.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(x), expected)

    loaded = reload(network)
    assert type(loaded) is kind
    assert loaded.get_config() == network.get_config()
    np.testing.assert_array_equal(loaded(x), expected)


@SMALL
def test_output_is_float32_under_mixed_precision(kind, options, dtype_policy):
    dtype_policy("mixed_bfloat16")
    network = kind(**options)
    convolution = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
    assert convolution.compute_dtype == "bfloat16"
    assert network(random_images(1, 32, 32)).dtype == "float32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 48}, "esrgan form is a multiple of 32, not 48"),
        ({"image_size": 0}, "multiple of 32, not 0"),
        ({"image_size": 40, "form": "grouped"}, "grouped form is a multiple of 16, not 40"),
        ({"form": "resnet"}, "esrgan, grouped, not 'resnet'"),
    ],
)
def test_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VGGDiscriminator(**options)


@pytest.mark.parametrize(
    ("name", "kind"), [("compact", CompactDiscriminator), ("skip", SkipDiscriminator), ("vgg", VGGDiscriminator)]
)
def test_recipes_find_the_discriminator_by_its_name(name, kind):
    assert name in discriminators.names()
    assert discriminators.get(name) is kind


def test_unknown_discriminator_name_is_a_key_error():
    with pytest.raises(KeyError, match="patchgan"):
        discriminators.get("patchgan")
