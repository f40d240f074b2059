"""The Keras metric against the protocol's PSNR, and as a running mean."""

import keras
import numpy as np
import pytest

from keras_fsr.metrics.fidelity import fidelity
from keras_fsr.metrics.streaming import PSNRY, psnr_y


def pairs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(count, 26, 30, 3) uint8 images and the same with noise, which grows from image to image."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 26, 30, 3), dtype=np.uint8)
    noise = rng.normal(0, 1, images.shape) * 5 * (1 + np.arange(count))[:, None, None, None]
    return images, np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def as_float(images: np.ndarray) -> np.ndarray:
    return images.astype("float32") / 255


def expected_values(true, predicted, border) -> list[float]:
    return [fidelity(sr, hr, border)["psnr_y"] for hr, sr in zip(true, predicted, strict=True)]


@pytest.mark.parametrize("border", [0, 2, 4])
def test_values_equal_the_protocol(border):
    true, predicted = pairs(3)
    result = psnr_y(as_float(true), as_float(predicted), border)
    np.testing.assert_allclose(result, expected_values(true, predicted, border), atol=1e-3)


@pytest.mark.parametrize("sizes", [(2,), (2, 1)], ids=["one batch", "batches of unequal size"])
def test_metric_is_the_mean_over_images(sizes):
    metric = PSNRY(border=4)
    expected = []
    for seed, size in enumerate(sizes):
        true, predicted = pairs(size, seed)
        metric.update_state(as_float(true), as_float(predicted))
        expected += expected_values(true, predicted, 4)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(metric.result(), np.mean(expected), atol=1e-3)


def test_reset_forgets():
    (true, predicted), metric = pairs(1), PSNRY(4)
    metric.update_state(as_float(true), as_float(true))
    metric.reset_state()
    metric.update_state(as_float(true), as_float(predicted))
    np.testing.assert_allclose(metric.result(), expected_values(true, predicted, 4)[0], atol=1e-3)


def test_prediction_is_clipped_and_rounded_to_8_bits():
    true, _ = pairs(1)
    true[..., :2, :] = 0
    true[..., 2:4, :] = 255
    exact = as_float(true)
    disturbed = exact + np.random.default_rng(1).uniform(-0.49, 0.49, exact.shape).astype("float32") / 255
    disturbed[..., :2, :] -= 3
    disturbed[..., 2:4, :] += 3
    # 100 dB stands for equal images.
    np.testing.assert_allclose(psnr_y(exact, disturbed, 0), [100.0], atol=1e-3)
    disturbed[0, 10, 10] += 0.6 / 255
    assert psnr_y(exact, disturbed, 0)[0] < 90


def test_difference_inside_the_border_does_not_count():
    true, _ = pairs(1)
    spoilt = true.copy()
    spoilt[:, :4], spoilt[:, -4:], spoilt[:, :, :4], spoilt[:, :, -4:] = 0, 0, 0, 0
    np.testing.assert_allclose(psnr_y(as_float(true), as_float(spoilt), 4), [100.0], atol=1e-3)
    assert psnr_y(as_float(true), as_float(spoilt), 3)[0] < 50


def test_metric_survives_its_config():
    original = PSNRY(border=2, name="mine")
    copy = keras.metrics.deserialize(keras.metrics.serialize(original))
    assert type(copy) is PSNRY
    assert copy.get_config() == original.get_config()
    assert (copy.border, copy.name) == (2, "mine")
