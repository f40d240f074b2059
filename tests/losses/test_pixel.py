"""Pixel losses by hand, with their weights, configs and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fsr.losses.pixel import L1, MSE, PIXEL_LOSSES, Charbonnier

# Two 1x2 gray images; the differences are 1, -3 and 0, 2.
TRUE = np.array([[[[4.0], [1.0]]], [[[5.0], [2.0]]]], "float32")
PREDICTED = np.array([[[[3.0], [4.0]]], [[[5.0], [0.0]]]], "float32")

# Worked out by hand, one value an image; Charbonnier with epsilon 4: sqrt(17), 5 and 4, sqrt(20).
VALUES = pytest.mark.parametrize(
    ("loss", "options", "each"),
    [
        (L1, {}, (2.0, 1.0)),
        (MSE, {}, (5.0, 2.0)),
        (Charbonnier, {"epsilon": 4.0}, ((17**0.5 + 5) / 2, (4 + 20**0.5) / 2)),
    ],
)


@VALUES
def test_value_by_hand(loss, options, each):
    np.testing.assert_allclose(loss(**options).call(TRUE, PREDICTED), each, rtol=1e-6)
    np.testing.assert_allclose(loss(**options)(TRUE, PREDICTED), np.mean(each), rtol=1e-6)


@VALUES
def test_weight_multiplies(loss, options, each):
    result = loss(weight=0.25, **options)(TRUE, PREDICTED)
    np.testing.assert_allclose(result, 0.25 * np.mean(each), rtol=1e-6)


@VALUES
def test_loss_survives_its_config(loss, options, each):
    original = loss(weight=0.5, name="mine", **options)
    copy = keras.losses.deserialize(keras.losses.serialize(original))
    assert type(copy) is loss
    assert copy.get_config() == original.get_config()
    assert copy.get_config().items() >= {"weight": 0.5, "name": "mine", **options}.items()
    np.testing.assert_allclose(copy(TRUE, PREDICTED), 0.5 * np.mean(each), rtol=1e-6)


@pytest.mark.parametrize(("difference", "expected"), [(0.0, 0.0), (1.0, 1.0), (-1.0, -1.0)])
def test_gradient_of_charbonnier_is_round_at_zero(difference, expected):
    predicted = tf.Variable(np.full((1, 1, 1, 1), difference, "float32"))
    with tf.GradientTape() as tape:
        value = Charbonnier()(tf.zeros((1, 1, 1, 1)), predicted)
    np.testing.assert_allclose(tape.gradient(value, predicted), [[[[expected]]]], atol=1e-5)


def test_charbonnier_without_difference_is_epsilon():
    np.testing.assert_allclose(Charbonnier(epsilon=0.01)(TRUE, TRUE), 0.01, rtol=1e-5)


@pytest.mark.parametrize(("name", "loss"), [("l1", L1), ("mse", MSE), ("charbonnier", Charbonnier)])
def test_recipes_find_the_loss_by_its_name(name, loss):
    assert PIXEL_LOSSES[name] is loss
    assert loss().name == name


def test_l1_ssim_is_the_sum_of_l1_and_the_missing_ssim_of_the_luma():
    from keras_fsr.losses.pixel import L1SSIM
    from keras_fsr.metrics.fidelity import rgb_to_y, ssim

    draw = np.random.default_rng(0)
    a = draw.random((2, 16, 20, 3), dtype=np.float32)
    b = np.clip(a + draw.normal(0, 0.05, a.shape), 0, 1).astype(np.float32)
    similarity = np.mean([ssim(rgb_to_y(p * 255.0), rgb_to_y(q * 255.0)) for p, q in zip(a, b, strict=True)])
    expected = np.abs(a - b).mean() + 0.5 * (1 - similarity)
    assert float(L1SSIM(ssim_weight=0.5)(a, b)) == pytest.approx(expected, abs=1e-5)
    assert float(L1SSIM(weight=2.0, ssim_weight=0.5)(a, b)) == pytest.approx(2 * expected, abs=2e-5)
    assert L1SSIM.from_config(L1SSIM(ssim_weight=0.5).get_config()).ssim_weight == 0.5
