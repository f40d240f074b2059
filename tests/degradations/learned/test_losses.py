"""The losses of learned degradations: band energies against SciPy's cosine transform, Omegas by hand."""

import math

import keras
import numpy as np
import pytest
import scipy.fft
import tensorflow as tf

from keras_fsr.degradations.learned.losses import BandEnergy, OtherOmega, SameOmega, cosine_filters

OMEGAS = np.array([[1.0, -1.0], [0.0, 2.0]], np.float32), np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
# Mean absolute differences: 1.5 and 0.5.


def images(seed: int = 0, height: int = 20, width: int = 28) -> np.ndarray:
    return np.random.default_rng(seed).random((2, height, width, 3), dtype=np.float32)


# Band energies


def slow_log_energies(image: np.ndarray) -> np.ndarray:
    """(3, 63) of one image, block by block; brightness and colour differences as JFIF defines them."""
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = luma, (blue - luma) / 1.772, (red - luma) / 1.402
    logs = []
    for plane in planes:
        blocks = [
            scipy.fft.dctn(plane[y : y + 8, x : x + 8], norm="ortho").ravel()[1:]
            for y in range(0, plane.shape[0] - 7, 4)
            for x in range(0, plane.shape[1] - 7, 4)
        ]
        logs.append(np.log(np.mean(np.square(blocks), axis=0) + 1e-6))
    return np.array(logs)


def test_filters_are_the_orthonormal_cosine_transform_without_its_mean():
    filters = cosine_filters()
    assert filters.shape == (8, 8, 1, 63)
    block = np.random.default_rng(0).random((8, 8))
    bands = np.einsum("yx,yxk->k", block, filters[:, :, 0])
    np.testing.assert_allclose(bands, scipy.fft.dctn(block, norm="ortho").ravel()[1:], atol=1e-6)


def test_band_energies_are_those_of_a_slow_reference():
    a, b = images(), images(1) ** 2
    expected = [np.abs(slow_log_energies(x) - slow_log_energies(y)).mean() for x, y in zip(a, b, strict=True)]
    # The colour differences' coefficients are rounded to three digits.
    np.testing.assert_allclose(BandEnergy().call(a, b), expected, rtol=2e-3)
    assert float(BandEnergy(0.25)(a, b)) == pytest.approx(0.25 * np.mean(expected), rel=2e-3)


def test_half_the_contrast_is_the_logarithm_of_4_in_every_band():
    # As an energy is a square; in every band, or the mean of a part would be nearer to it than another's.
    loss = BandEnergy(floor=1e-12)
    value = loss.call(images(), images() / 2)
    np.testing.assert_allclose(value, math.log(4), rtol=1e-4)
    bands = loss._log_energies(images()) - loss._log_energies(images() / 2)
    np.testing.assert_allclose(bands, np.full((2, 3, 63), math.log(4)), atol=1e-3)


def test_equal_images_cost_nothing_and_brightness_does_not_count():
    assert float(BandEnergy()(images(), images())) == 0
    np.testing.assert_allclose(BandEnergy()(images(), images() + 0.5), 0, atol=1e-3)


def test_another_draw_of_the_same_noise_costs_little_and_no_noise_much():
    draw = np.random.default_rng(0)
    flat = np.full((1, 64, 64, 3), 0.5, np.float32)
    first, second = (flat + draw.normal(0, 0.1, flat.shape).astype(np.float32) for _ in range(2))
    same, none = float(BandEnergy()(first, second)), float(BandEnergy()(first, flat))
    # The energy of a band is a mean over 225 blocks, a quarter of which are independent: logs differ by 0.1.
    assert same < 0.2
    assert none > 5  # the logarithm of 0.1**2 over the floor of 1e-6 is 9
    # A pixel loss would rather have none.
    assert np.abs(first - second).mean() > np.abs(first - flat).mean()


def test_the_floor_bounds_what_missing_bands_cost():
    flat = np.zeros((1, 16, 16, 3), np.float32)
    ripple = np.broadcast_to(cosine_filters()[:, :, :, 4], (8, 8, 1)).repeat(3, 2)[None]
    ripple = np.tile(ripple, (1, 2, 2, 1)) * 1e-5  # an energy of 1e-10, below any rounding to 8 bits
    assert float(BandEnergy()(flat, ripple)) < 1e-4
    assert float(BandEnergy(floor=1e-12)(flat, ripple)) > 1e-2


# Omegas


def test_same_omega_by_hand():
    np.testing.assert_allclose(SameOmega().call(*OMEGAS), [1.5, 0.5])
    assert float(SameOmega(0.5)(*OMEGAS)) == pytest.approx(0.5)
    assert float(SameOmega()(OMEGAS[0], OMEGAS[0])) == 0


def test_other_omega_by_hand():
    np.testing.assert_allclose(OtherOmega(margin=0.75).call(*OMEGAS), [0, 0.25])
    np.testing.assert_allclose(OtherOmega(2.0, margin=2.0).call(*OMEGAS), [1.0, 3.0])


def test_other_omega_is_bounded():
    draw = np.random.default_rng(0)
    for size in (1e-6, 0.1, 1.0, 1e6):
        pairs = draw.standard_normal((2, 50, 8)).astype(np.float32) * np.float32(size)
        values = np.asarray(OtherOmega(0.3, 0.5).call(*pairs))
        assert (values >= 0).all()
        assert (values <= 0.3 * 0.5).all()
    # The most is paid by equal vectors.
    np.testing.assert_allclose(OtherOmega(0.3, 0.5).call(OMEGAS[0], OMEGAS[0]), 0.15, rtol=1e-6)


def test_other_omega_pushes_within_the_margin_and_not_beyond():
    first, second = tf.constant(OMEGAS[0]), tf.Variable(OMEGAS[1])
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(OtherOmega(margin=0.75).call(first, second))
    # The first pair is beyond; of the second, which differs in its last number alone, |2 - x| / 2 is to grow.
    gradient = np.asarray(tape.gradient(value, second))
    np.testing.assert_array_equal(gradient[0], [0, 0])
    assert gradient[1, 1] == 0.5


# Both


@pytest.mark.parametrize("loss", [BandEnergy(), SameOmega(), OtherOmega(margin=2.0)])
def test_gradient_is_finite_and_not_zero_even_for_flat_images(loss):
    first, second = (images(), 0 * images(1)) if isinstance(loss, BandEnergy) else OMEGAS
    second = tf.Variable(second + 0.01 * np.random.default_rng(0).standard_normal(second.shape).astype(np.float32))
    with tf.GradientTape() as tape:
        value = loss(first, second)
    gradient = np.asarray(tape.gradient(value, second))
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).reshape(len(gradient), -1).max(axis=1) > 0).all()


def test_gradient_of_band_energies_of_exactly_flat_images_is_finite():
    second = tf.Variable(np.full((2, 16, 16, 3), 0.5, np.float32))
    with tf.GradientTape() as tape:
        value = BandEnergy()(images(0, 16, 16), second)
    assert np.isfinite(tape.gradient(value, second)).all()


@pytest.mark.parametrize(
    ("loss", "config"),
    [
        (BandEnergy(0.5, floor=1e-4), {"weight": 0.5, "name": "bands", "floor": 1e-4}),
        (SameOmega(0.5, name="mine"), {"weight": 0.5, "name": "mine"}),
        (OtherOmega(0.5, 0.7), {"weight": 0.5, "name": "other", "margin": 0.7}),
    ],
)
def test_loss_survives_its_config(loss, config):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    assert copy.get_config().items() >= config.items()
