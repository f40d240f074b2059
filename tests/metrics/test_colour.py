"""Colour drift by hand: signed for an image, the largest channel for a set."""

import numpy as np
import pytest

from keras_fsr.errors import DataError
from keras_fsr.metrics.colour import colour_drift, largest_drift


def test_drift_is_signed_by_channel():
    hr = np.full((6, 8, 3), 250, dtype=np.uint8)
    sr = hr.copy()
    sr[..., 0] = 255
    sr[..., 1] = 0
    sr[:3, :, 2] = 252
    np.testing.assert_allclose(colour_drift(sr, hr), [5.0, -250.0, 1.0], atol=1e-12)


def test_border_does_not_count():
    hr = np.full((8, 9, 3), 100.0)
    sr = hr + 1.0
    sr[:2], sr[-2:], sr[:, :2], sr[:, -2:] = 0, 0, 0, 0
    np.testing.assert_allclose(colour_drift(sr, hr, border=2), [1.0, 1.0, 1.0])


def test_a_set_drifts_by_what_its_images_share():
    drifts = [np.array([1.0, -3.0, 0.5]), np.array([-1.0, -1.0, 0.5])]
    assert largest_drift(drifts) == 2.0
    assert largest_drift(iter(drifts[:1])) == 3.0


@pytest.mark.parametrize(
    ("sr", "hr", "border", "message"),
    [
        ((4, 4, 3), (4, 5, 3), 0, "shapes"),
        ((4, 4), (4, 4), 0, "RGB"),
        ((4, 4, 4), (4, 4, 4), 0, "RGB"),
        ((4, 6, 3), (4, 6, 3), 2, "border of 2 pixels from an image of 6x4"),
        ((4, 4, 3), (4, 4, 3), -1, "border of -1"),
    ],
)
def test_impossible_pairs_are_refused(sr, hr, border, message):
    with pytest.raises(DataError, match=message):
        colour_drift(np.zeros(sr), np.zeros(hr), border)
