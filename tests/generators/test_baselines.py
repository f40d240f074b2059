"""The published baselines: sizes, shapes, saving, and what each is built on."""

import keras
import numpy as np
import pytest

from keras_fsr import generators
from keras_fsr.generators.baselines import DIV2K_MEAN, EDSR, SRCNN, VDSR, SRResNet
from keras_fsr.layers import BicubicUpsampling, ScaledResidual

SMALL = pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SRCNN, {"scale": 3}),
        (VDSR, {"scale": 3, "depth": 3}),
        (SRResNet, {"scale": 2, "num_blocks": 1}),
        (SRResNet, {"scale": 4, "num_blocks": 1}),
        (EDSR, {"scale": 2, "num_features": 8, "num_blocks": 2, "residual_scale": 0.1}),
        (EDSR, {"scale": 8, "num_features": 8, "num_blocks": 1}),
    ],
)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("kind", "options", "parameters"),
    [
        # By hand, 9-1-5 with 64 and 32 filters on RGB: 9*9*3*64+64 + 64*32+32 + 5*5*32*3+3.
        (SRCNN, {}, 20_099),
        # By hand: 3*3*3*64+64 + 18 * (3*3*64*64+64) + 3*3*64*3+3; 20 layers are those of the paper.
        (VDSR, {}, 668_227),
        # The layers of figure 4 of the paper with one PReLU slope each; BN's moving averages not counted.
        (SRResNet, {}, 1_549_462),
        # The authors' released EDSR-baseline x4 (1.5 M in table 1).
        (EDSR, {}, 1_517_571),
        # The authors' released EDSR x4 (43 M in table 1).
        (EDSR, {"num_features": 256, "num_blocks": 32, "residual_scale": 0.1}, 43_089_923),
    ],
)
def test_published_parameter_count(kind, options, parameters):
    network = kind(**options)
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == parameters


@SMALL
def test_output_is_scale_times_the_input(kind, options):
    network = kind(**options)
    scale = options["scale"]
    assert network.scale == scale
    assert network(random_images(2, 7, 5)).shape == (2, 7 * scale, 5 * scale, 3)
    assert network.output_shape == (None, None, None, 3)


@SMALL
def test_config_and_file_give_the_same_network(kind, options, reload):
    network = kind(name="small", **options)
    assert network.get_config().items() >= options.items()
    x = random_images(1, 6, 5)
    expected = np.asarray(network(x))
    copy = kind.from_config(network.get_config())
    assert copy.get_config() == network.get_config()
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(x), expected)

    loaded = reload(network)
    assert type(loaded) is kind
    assert loaded.get_config() == network.get_config()
    np.testing.assert_array_equal(loaded(x), expected)


@SMALL
def test_output_is_float32_under_mixed_precision(kind, options, dtype_policy):
    dtype_policy("mixed_bfloat16")
    assert kind(**options)(random_images(1, 4, 4)).dtype == "float32"


def zero_last_convolution(network) -> None:
    last = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])


def test_vdsr_adds_to_the_bicubic_enlargement():
    x = random_images(1, 6, 5)
    network = VDSR(3, depth=3)
    enlarged = np.asarray(BicubicUpsampling(3)(x))
    assert np.abs(network(x) - enlarged).max() > 1e-3
    zero_last_convolution(network)
    np.testing.assert_array_equal(network(x), enlarged)


def test_srcnn_starts_from_the_bicubic_enlargement():
    network = SRCNN(2)
    x = random_images(1, 6, 5)
    x_enlarged = BicubicUpsampling(2)(x)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel_size[0] for layer in convolutions] == [9, 1, 5]
    for layer in convolutions:
        x_enlarged = layer(x_enlarged)
    np.testing.assert_allclose(network(x), x_enlarged, atol=1e-6)


def test_edsr_subtracts_and_adds_the_mean_of_its_training_set():
    network = EDSR(2, num_features=4, num_blocks=1)
    mean = np.broadcast_to(np.float32(DIV2K_MEAN), (1, 4, 4, 3))
    np.testing.assert_allclose(network.get_layer("subtract_mean")(mean), np.zeros((1, 4, 4, 3)), atol=1e-6)
    zero_last_convolution(network)
    expected = np.broadcast_to(np.float32(DIV2K_MEAN), (1, 8, 8, 3))
    np.testing.assert_allclose(network(random_images(1, 4, 4)), expected, atol=1e-6)


def test_edsr_scales_every_residual():
    network = EDSR(2, num_features=4, num_blocks=3, residual_scale=0.1)
    assert [layer.scale for layer in network.layers if isinstance(layer, ScaledResidual)] == [0.1] * 3


@pytest.mark.parametrize("kind", [SRResNet, EDSR])
def test_scale_that_is_no_power_of_two_is_refused(kind):
    with pytest.raises(ValueError, match="2, 4 or 8, not 3"):
        kind(3)


@pytest.mark.parametrize(("name", "kind"), [("edsr", EDSR), ("srcnn", SRCNN), ("srresnet", SRResNet), ("vdsr", VDSR)])
def test_recipes_find_the_baseline_by_its_name(name, kind):
    assert name in generators.names()
    assert generators.get(name) is kind


def test_unknown_generator_name_is_a_key_error():
    with pytest.raises(KeyError, match="esrgan"):
        generators.get("esrgan")
