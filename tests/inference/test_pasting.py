"""Regions, masks and the mixing of an enlarged face into an enlarged picture."""

import cv2
import numpy as np
import pytest

from keras_fsr.inference.detection import Face
from keras_fsr.inference.pasting import Region, mask_of, match_colour, paste, region_of

FACE = Face(20, 30, 16, 25)  # side 20
SHAPE = (100, 80, 3)


def test_a_region_holds_all_that_is_reached_and_ends_with_the_picture():
    assert region_of(FACE, 0.5, SHAPE) == Region(20, 65, 10, 46)
    assert region_of(Face(0.6, 1.2, 2, 2), 0, SHAPE) == Region(1, 4, 0, 3)
    assert region_of(Face(70, 90, 20, 20), 0.5, SHAPE) == Region(80, 100, 60, 80)
    assert region_of(Face(-50, 5, 10, 10), 0.5, SHAPE).empty
    assert region_of(Face(5, 150, 10, 10), 0.5, SHAPE).empty


def test_a_region_grows_scales_and_lies_in_another():
    region = Region(20, 65, 10, 46)
    wide = region.grown(16, SHAPE)
    assert wide == Region(4, 81, 0, 62)
    assert region.within(wide) == Region(16, 61, 10, 46)
    assert region.scaled(3) == Region(60, 195, 30, 138)
    assert np.zeros(SHAPE)[region.slices].shape == (45, 36, 3)


def test_a_mask_is_one_on_the_face_and_its_margin_and_fades_to_nothing():
    region = region_of(FACE, 0.75, SHAPE)
    mask = mask_of(FACE, region, 4, 0.25, 0.5)
    assert mask.shape == (220, 184)
    assert mask.dtype == np.float32

    def weight(x, y):
        return mask[int((y - region.top) * 4), int((x - region.left) * 4)]

    # The margin is 5 pixels, the feather 10.
    assert weight(20, 30) == weight(15.1, 40) == weight(28, 59.9) == 1
    assert 0.99 < weight(14.5, 40) < 1
    assert weight(10, 40) == pytest.approx(0.5, abs=0.03)
    assert 0 < weight(5.5, 40) < 0.02
    assert weight(5.5, 20) == 0  # corners are round
    middle = mask[int((42 - region.top) * 4)]
    assert np.all(np.diff(middle[: int((28 - region.left) * 4)]) >= 0)
    assert np.abs(np.diff(middle)).max() < 1.6 / 40  # of a cubic: 1.5 over its length


def test_a_mask_is_symmetric_about_the_face():
    face = Face(20, 30, 20, 20)
    mask = mask_of(face, region_of(face, 0.6, SHAPE), 2, 0.2, 0.4)
    assert np.allclose(mask, mask[::-1])
    assert np.allclose(mask, mask.T)


def test_a_mask_goes_on_at_the_pictures_edge():
    face = Face(-4, 30, 20, 20)
    mask = mask_of(face, region_of(face, 0.6, SHAPE), 2, 0.2, 0.4)
    assert mask[:, 0].max() == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pasting_changes_what_the_mask_covers_alone(dtype):
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    below = rng.integers(0, top, (60, 50, 3), dtype, endpoint=True)
    part = rng.integers(0, top, (30, 20, 3), dtype, endpoint=True)
    mask = np.zeros((30, 20), np.float32)
    mask[10:20, 5:15] = 1
    result = below.copy()
    region = Region(20, 50, 10, 30)
    paste(result, part, region, mask, 3.0)
    changed = (result != below).any(axis=2)
    assert not changed[:30].any()
    assert not changed[40:].any()
    assert not changed[:, :15].any()
    assert not changed[:, 25:].any()
    expected = match_colour(part.astype(np.float32), below[region.slices].astype(np.float32), 3.0)
    expected = np.clip(np.rint(expected), 0, top)[10:20, 5:15]
    assert np.array_equal(result[30:40, 15:25], expected)


def test_half_a_mask_gives_the_mean():
    below = np.full((8, 8, 3), 100, np.uint8)
    part = below.copy()
    part[::2] = 80
    part[1::2] = 120
    paste(below, part, Region(0, 8, 0, 8), np.full((8, 8), 0.5, np.float32), 8.0)
    assert np.allclose(below[2:6:2], 90, atol=2)
    assert np.allclose(below[3:6:2], 110, atol=2)


@pytest.mark.parametrize("sigma", [2.0, 12.0])
def test_a_cast_goes_and_detail_stays(sigma):
    rng = np.random.default_rng(0)
    detail = rng.normal(0, 10, (96, 80, 3)).astype(np.float32)
    ramp = np.linspace(40, 160, 80, dtype=np.float32)[None, :, None]
    target = np.broadcast_to(ramp, detail.shape)
    cast = np.array([30, -20, 10], np.float32)
    matched = match_colour(ramp + detail + cast, target, sigma)
    assert np.allclose(matched.mean(axis=(0, 1)), target.mean(axis=(0, 1)), atol=0.5)
    assert np.abs((matched - target)[4:-4, 4:-4] - detail[4:-4, 4:-4]).mean() < 15 / sigma


def test_what_is_equal_to_the_target_stays():
    part = np.random.default_rng(0).uniform(0, 255, (40, 31, 3)).astype(np.float32)
    assert np.array_equal(match_colour(part, part, 20.0), part)


@pytest.mark.parametrize("sigma", [3.0, 12.0, 30.0])
def test_low_frequencies_are_a_gaussian_blurs(sigma):
    y, x = np.mgrid[:150, :170]
    wave = (40 * np.sin(x / 20) + 30 * np.cos(y / 15)).astype(np.float32)
    target = wave[..., None] + np.random.default_rng(0).normal(0, 10, (150, 170, 3)).astype(np.float32)
    low = match_colour(np.zeros_like(target), target, sigma)
    exact = cv2.GaussianBlur(target, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(low - exact).mean() < 0.7
    assert np.abs(low - exact)[20:-20, 20:-20].max() < 2.5
