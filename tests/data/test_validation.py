"""Validation on whole images: which ones, and what the stream holds."""

import numpy as np
import pytest

from keras_fsr.data.folders import Pair
from keras_fsr.data.loading import load_pair
from keras_fsr.data.validation import smallest_pairs, whole_images
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader

SHAPES = [(8, 12), (4, 4), (12, 8), (4, 20), (8, 4)]  # (height, width); areas 96, 16, 96, 80, 32


@pytest.fixture
def pairs(save_image):
    rng = np.random.default_rng(0)
    return [
        Pair(save_image(f"{i}.png", rng.integers(0, 256, (*shape, 3), dtype=np.uint8)))
        for i, shape in enumerate(SHAPES)
    ]


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (1, [1]),
        (2, [1, 4]),
        (3, [1, 3, 4]),  # in their own order, not by area
        (4, [0, 1, 3, 4]),  # the first of two equals
        (5, [0, 1, 2, 3, 4]),
        (9, [0, 1, 2, 3, 4]),
        (0, [0, 1, 2, 3, 4]),
    ],
)
def test_smallest_images_by_area_in_their_own_order(count, chosen, pairs):
    assert smallest_pairs(pairs, count) == [pairs[i] for i in chosen]


def test_whole_images_come_one_at_a_time_in_order(pairs):
    stream = whole_images(pairs, scale=2)
    assert int(stream.cardinality()) == 5
    for _ in range(2):  # every epoch anew
        result = list(stream.as_numpy_iterator())
        assert len(result) == 5
        for pair, (height, width), (lr, hr) in zip(pairs, SHAPES, result, strict=True):
            expected_lr, expected_hr = load_pair(pair, 2)
            assert (lr.shape, hr.shape) == ((1, height // 2, width // 2, 3), (1, height, width, 3))
            assert lr.dtype == hr.dtype == np.float32
            np.testing.assert_allclose(lr[0], expected_lr / 255, atol=1e-6)
            np.testing.assert_allclose(hr[0], expected_hr / 255, atol=1e-6)


def test_given_lr_images_are_used_as_they_are(save_image):
    lr = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    pair = Pair(save_image("hr.png", np.zeros((8, 12, 3), np.uint8)), save_image("lr.png", lr))
    [(result, _)] = whole_images([pair], scale=2).as_numpy_iterator()
    np.testing.assert_allclose(result[0], lr / 255, atol=1e-6)


def test_images_are_cut_to_what_a_generator_that_unshuffles_takes(save_image):
    draw = np.random.default_rng(0)
    path = save_image("odd.png", draw.integers(0, 256, (17, 23, 3), np.uint8))
    lr, hr = next(iter(whole_images([Pair(path)], scale=1)))
    assert lr.shape == hr.shape == (1, 16, 20, 3)
    whole_lr, whole_hr = load_pair(Pair(path), 1)
    np.testing.assert_allclose(lr[0] * 255, whole_lr[:16, :20], atol=1e-4)
    np.testing.assert_allclose(hr[0] * 255, whole_hr[:16, :20], atol=1e-4)
    lr, _ = next(iter(whole_images([Pair(path)], scale=2)))
    assert lr.shape == (1, 8, 10, 3)


@pytest.mark.parametrize("name", ["jiang", "real-esrgan"])
def test_degradation_is_that_of_the_training_and_each_image_s_own(name, pairs):
    degrade = Degrader(presets.load(name), 2)
    stream = whole_images(pairs, 2, degrade)
    for _ in range(2):  # every epoch the same
        for index, (pair, (lr, hr)) in enumerate(zip(pairs, stream.as_numpy_iterator(), strict=True)):
            expected_lr, expected_hr = load_pair(pair, 2, degrade, index)
            np.testing.assert_allclose(lr[0], expected_lr / 255, atol=1e-6)
            np.testing.assert_allclose(hr[0], expected_hr / 255, atol=1e-6)
            assert not np.array_equal(expected_lr, load_pair(pair, 2)[0])


def test_given_lr_images_are_not_degraded(save_image):
    lr = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    pair = Pair(save_image("hr.png", np.zeros((8, 12, 3), np.uint8)), save_image("lr.png", lr))
    [(result, _)] = whole_images([pair], 2, Degrader(presets.load("real-esrgan"), 2)).as_numpy_iterator()
    np.testing.assert_allclose(result[0], lr / 255, atol=1e-6)
