"""The basic measures: each equals the function it is made of, and a set's figure is the set's own."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.evaluation.measures import BASIC, Measure, Sample, mean
from keras_fsr.metrics.colour import colour_drift, largest_drift
from keras_fsr.metrics.fidelity import fidelity
from keras_fsr.metrics.grid import grid, grid_peaks

MEASURES = {measure.key: measure for measure in BASIC}


def sample(seed: int = 0, scale: int = 4, side: int = 56) -> Sample:
    rng = np.random.default_rng(seed)
    hr = rng.integers(0, 256, (side, side + 4, 3), np.uint8)
    noise = rng.normal(rng.normal(0, 3, 3), 8, hr.shape)
    return Sample(Path("a.png"), hr, np.clip(np.rint(hr + noise), 0, 255).astype(np.uint8), scale)


@pytest.mark.parametrize("scale", [2, 4])
def test_each_measure_of_an_image_is_its_function_within_the_border(scale):
    given = sample(scale=scale)
    vectors = {key: np.asarray(measure.each(given)) for key, measure in MEASURES.items()}
    expected = fidelity(given.sr, given.hr, scale)
    assert list(vectors) == [*expected, "grid", "colour"]
    for key, value in expected.items():
        np.testing.assert_array_equal(vectors[key], [value])
    np.testing.assert_array_equal(vectors["grid"], grid_peaks(given.sr, scale))
    np.testing.assert_array_equal(vectors["colour"], colour_drift(given.sr, given.hr, scale))
    assert len(np.unique(list(expected.values()))) == 4


def test_grid_and_colour_of_a_set_are_its_own_not_the_mean_of_its_images():
    samples = [sample(seed) for seed in range(4)]
    for key, whole in (
        ("grid", grid([s.sr for s in samples], 4)),
        ("colour", largest_drift([colour_drift(s.sr, s.hr, 4) for s in samples])),
    ):
        measure = MEASURES[key]
        vectors = np.stack([measure.each(s) for s in samples])
        assert measure.whole(vectors) == pytest.approx(whole, abs=1e-12)
        of_images = np.mean([measure.one(vector) for vector in vectors])
        assert of_images > 1.05 * whole


def test_figure_of_a_single_image():
    assert MEASURES["psnr_y"].one(np.array([31.5])) == 31.5
    assert MEASURES["grid"].one(np.array([0.5, 1.75, 1.0])) == 1.75
    assert MEASURES["colour"].one(np.array([0.5, -2.0, 1.0])) == 2.0
    assert MEASURES["colour"].columns == ("drift_red", "drift_green", "drift_blue")


def test_mean_is_of_the_first_numbers():
    assert mean(np.array([[1.0, 50.0], [2.0, 70.0]])) == 1.5


def test_what_is_better_and_what_needs_no_original():
    assert [key for key, m in MEASURES.items() if m.higher_is_better] == ["psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"]
    assert [key for key, m in MEASURES.items() if m.blind] == ["grid"]
    assert [key for key, m in MEASURES.items() if not m.ranked] == ["grid"]
    given = sample()
    unknown = given._replace(hr=np.zeros_like(given.hr))
    np.testing.assert_array_equal(MEASURES["grid"].each(given), MEASURES["grid"].each(unknown))


def test_measures_tell_what_they_are_and_stay_so():
    assert all(measure.means and measure.heading for measure in BASIC)
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASIC[0].heading = "other"
    own = Measure("own", "own", ".1f", lambda s: (1.0,))
    assert (own.whole, own.higher_is_better, own.ranked, own.blind) == (mean, False, True, False)
