"""The grid figure: about 1 on pictures, far above on the pattern of an up-sampling, wherever that starts."""

import math

import numpy as np
import pytest

from keras_fsr.errors import DataError
from keras_fsr.evaluation.protocol import baselines, reduce_image
from keras_fsr.metrics.grid import grid, grid_of_peaks, grid_peaks, periods, power_profiles, smallest_side


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Nine crops of 256 pixels of a photo."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    return [astronaut[y : y + 256, x : x + 256] for y in (0, 128, 256) for x in (0, 128, 256)]


def with_pattern(image: np.ndarray, period: int, levels: int, shift: int = 0, rows: bool = False) -> np.ndarray:
    """The image with one pixel in each `period` x `period` (or one row in each `period`) lifted by some levels."""
    lifted = image.astype(int)
    lifted[shift::period, slice(None) if rows else slice(shift, None, period)] += levels
    return np.clip(lifted, 0, 255).astype(np.uint8)


def test_a_photo_has_no_grid(pictures):
    # Its chance peaks, seen once and kept: a change of the definition shows here.
    assert grid(pictures, 4) == pytest.approx(1.098, abs=0.002)
    assert all(grid(pictures, scale) < 1.15 for scale in (2, 3, 8))


@pytest.mark.parametrize(("rows", "at_least"), [(False, 1.5), (True, 1.8)], ids=["dots", "rows"])
def test_one_level_every_four_pixels_is_found(pictures, rows, at_least):
    assert grid([with_pattern(image, 4, 1, rows=rows) for image in pictures], 4) > at_least


@pytest.mark.parametrize("rows", [False, True], ids=["dots", "rows"])
def test_a_stronger_pattern_is_a_larger_figure(pictures, rows):
    figures = [grid([with_pattern(image, 4, levels, rows=rows) for image in pictures], 4) for levels in range(4)]
    assert figures == sorted(figures)
    assert figures[3] > 5


def test_a_period_of_two_is_found_at_every_scale(pictures):
    striped = [with_pattern(image, 2, 1, rows=True) for image in pictures]
    assert all(grid(striped, scale) > 4 for scale in (2, 3, 4, 8))


def test_a_period_that_the_scale_has_not_is_not_a_grid(pictures):
    striped = [with_pattern(image, 3, 1, rows=True) for image in pictures]
    assert grid(striped, 3) > 1.6
    assert grid(striped, 4) < 1.15


def test_columns_are_looked_at_like_rows(pictures):
    striped = [with_pattern(image, 4, 2, rows=True) for image in pictures]
    turned = [np.swapaxes(image, 0, 1) for image in striped]
    assert grid(turned, 4) == pytest.approx(grid(striped, 4), rel=1e-6)


def test_where_the_pattern_starts_does_not_matter(pictures):
    figures = [grid([with_pattern(image, 4, 2, shift) for image in pictures], 4) for shift in range(4)]
    assert np.ptp(figures) < 0.05 * figures[0]
    assert figures[0] > 2


def test_unequal_gains_of_the_sub_pixels_are_found(pictures):
    # What a sub-pixel or transposed convolution does: each of the 4x4 output positions has its own weights.
    gains = np.tile(np.random.default_rng(0).normal(1, 0.005, (4, 4, 1)), (64, 64, 1))
    upscaled = [baselines(4)["bicubic"](reduce_image(image, 4)) for image in pictures]
    assert grid(upscaled, 4) < 1.15
    uneven = [np.clip(np.rint(image * gains), 0, 255).astype(np.uint8) for image in upscaled]
    assert grid(uneven, 4) > 20


def test_blocks_of_nearest_neighbour_are_no_peak(pictures):
    # A box of 4 pixels has zeros at multiples of 1/4: the documented limit of this figure.
    blocks = [reduce_image(image, 4).repeat(4, axis=0).repeat(4, axis=1) for image in pictures]
    assert grid(blocks, 4) < 0.5


def test_white_noise_is_flat():
    noise = [np.random.default_rng(i).integers(0, 256, (130, 102, 3), dtype=np.uint8) for i in range(20)]
    np.testing.assert_allclose(np.mean([grid_peaks(image, 4) for image in noise], axis=0), np.ones(4), atol=0.12)


def test_profiles_are_in_squared_levels():
    gray = np.random.default_rng(0).normal(128, 10, (402, 302, 1)).repeat(3, axis=2)
    rows, columns = power_profiles(gray, 4)
    assert (rows.shape, columns.shape) == ((400,), (300,))
    # Variance 100, by BT.601's studio range of 219 of 255 levels, times 4**2 + 4 of the Laplacian.
    expected = 20 * 100 * (219 / 255) ** 2
    assert rows.mean() == pytest.approx(expected, rel=0.03)
    assert columns.mean() == pytest.approx(expected, rel=0.03)


def test_a_set_is_the_mean_of_its_images_and_then_the_largest_peak():
    peaks = [np.array([1.0, 3.0]), np.array([1.5, 0.5]), np.full(2, math.nan)]
    assert grid_of_peaks(peaks) == 1.75
    assert math.isnan(grid_of_peaks(peaks[2:]))


def test_images_of_any_size_form_a_set(pictures):
    sizes = [pictures[0], pictures[1][:101, :203], pictures[2][3:90, 5:200]]
    assert grid(iter(sizes), 4) == pytest.approx(np.mean([grid_peaks(i, 4) for i in sizes], axis=0).max())


def test_a_flat_image_has_no_grid_and_one_level_on_it_is_one():
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert grid([flat], 4) == pytest.approx(1.0)
    assert 1e3 < grid([with_pattern(flat, 4, 1)], 4) < math.inf


@pytest.mark.parametrize(("scale", "expected"), [(1, [2]), (2, [2]), (3, [3, 2]), (4, [4, 2]), (8, [8, 4, 8 / 3, 2])])
def test_periods_are_the_scale_and_its_harmonics(scale, expected):
    assert periods(scale) == expected


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_smallest_side_is_enough_and_one_less_is_not(scale):
    side = smallest_side(scale)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    assert np.isfinite(grid_peaks(image, scale)).all()
    assert np.isnan(grid_peaks(image[1:], scale)).all()
    with pytest.raises(DataError, match=f"{side}x{side - 1} is too small .*at least {side} pixels"):
        grid([image[1:]], scale)


def test_impossible_input_is_refused():
    with pytest.raises(DataError, match="no images"):
        grid([], 4)
    with pytest.raises(DataError, match="RGB"):
        grid([np.zeros((64, 64))], 4)
    with pytest.raises(DataError, match="scale 0"):
        grid([np.zeros((64, 64, 3))], 0)
    with pytest.raises(DataError, match="no room"):
        power_profiles(np.zeros((5, 64, 3)), 4)
