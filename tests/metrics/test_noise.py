"""The residual's spectrum: level, colour and frequency of noise, whatever the content."""

import numpy as np
import pytest

from keras_fsr.metrics.noise import BANDS, ROUNDING, residual_distance, residual_spectrum


def noisy(sigma: float, seed: int, gray: bool = False, smooth: bool = False) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, (64, 64, 1 if gray else 3))
    if smooth:
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
    return np.clip(np.rint(128 + noise + np.zeros(3)), 0, 255).astype(np.uint8)


def test_a_plain_image_has_none():
    plain = np.full((32, 48, 3), 200, np.uint8)
    assert residual_spectrum(plain) == pytest.approx(np.full((3, BANDS), 10 * np.log10(ROUNDING)))


def test_two_draws_of_one_noise_are_near_and_other_noise_is_far():
    own = residual_distance(noisy(8, 0), noisy(8, 1))
    assert own < 1.5
    assert residual_distance(noisy(8, 0), noisy(16, 2)) > 3 * own
    assert residual_distance(noisy(8, 0), noisy(8, 3, gray=True)) > 3 * own
    assert residual_distance(noisy(8, 0), noisy(8, 4, smooth=True)) > 2 * own


def test_twice_the_noise_is_six_decibels():
    louder = residual_spectrum(noisy(24, 5)) - residual_spectrum(noisy(12, 6))
    assert np.mean(louder) == pytest.approx(20 * np.log10(2), abs=0.3)


def test_gray_noise_has_no_colour():
    colour = residual_spectrum(noisy(12, 7, gray=True))[1:]
    assert np.abs(colour - 10 * np.log10(ROUNDING)).max() < 1e-6


def test_the_same_image_is_at_no_distance():
    image = noisy(8, 8)
    assert residual_distance(image, image) == 0


@pytest.mark.parametrize(
    "image", [np.zeros((15, 40, 3), np.uint8), np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3))]
)
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match="uint8"):
        residual_spectrum(image)
