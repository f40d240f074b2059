"""PI: the formula, the crop, and Ma's score by a stand-in for pyiqa."""

import sys
import types
import urllib.error

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DataError, ModelError
from keras_fsr.files import WEIGHTS_VARIABLE
from keras_fsr.metrics import niqe_prior
from keras_fsr.metrics.niqe import NIQE
from keras_fsr.metrics.niqe_prior import Prior
from keras_fsr.metrics.perceptual_index import PerceptualIndex, pyiqa_ma

PRIOR = Prior(np.zeros(36), np.eye(36))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (220, 240, 3), dtype=np.uint8)


@pytest.fixture
def pyiqa(monkeypatch):
    """A stand-in for the package; `made` lists what metrics were asked for, `seen` the images they measured."""
    module = types.ModuleType("pyiqa")
    module.made, module.seen = [], []

    def measure(image):
        module.seen.append(np.array(image))
        assert isinstance(image, Image.Image)
        return np.float32(7.5)

    def create_metric(name, **options):
        module.made.append((name, options))
        return measure

    module.create_metric = create_metric
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    return module


@pytest.mark.parametrize("border", [0, 4])
def test_index_is_the_mean_of_niqe_and_what_ma_lacks_of_ten(image, border):
    seen = []
    index = PerceptualIndex(NIQE(PRIOR), lambda cut: seen.append(cut) or 6.5)
    expected = (10 - 6.5 + NIQE(PRIOR)(image, border)) / 2
    assert index(image, border) == pytest.approx(expected)
    np.testing.assert_array_equal(seen[0], image[border : 220 - border, border : 240 - border])
    assert seen[0].dtype == np.uint8


def test_better_scores_are_a_lower_index(image):
    good, bad = (PerceptualIndex(NIQE(PRIOR), lambda _, ma=ma: ma)(image) for ma in (9, 3))
    assert bad - good == pytest.approx(3)


def test_pyiqa_is_asked_for_ycbcr_and_no_crop_of_its_own(image, pyiqa):
    index = PerceptualIndex(NIQE(PRIOR))
    assert pyiqa.made == [("nrqm", {"color_space": "ycbcr", "crop_border": 0})]
    assert index(image, border=4) == pytest.approx((10 - 7.5 + NIQE(PRIOR)(image, 4)) / 2)
    assert isinstance(index.ma(image), float)
    np.testing.assert_array_equal(pyiqa.seen[0], image[4:-4, 4:-4])
    assert len(pyiqa.made) == 1


def test_a_given_ma_needs_no_pyiqa_and_a_given_niqe_no_parameters(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    PerceptualIndex(NIQE(PRIOR), lambda _: 5.0)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(ModelError, match="holds no parameters of NIQE"):
        PerceptualIndex(ma=lambda _: 5.0)
    PRIOR.save(tmp_path / niqe_prior.NAMES[0])
    np.testing.assert_array_equal(PerceptualIndex(ma=lambda _: 5.0).niqe.prior.covariance, PRIOR.covariance)


def test_missing_pyiqa_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ModuleNotFoundError) as error:
        PerceptualIndex(NIQE(PRIOR))
    assert error.value.name == "pyiqa"


def test_weights_out_of_reach_are_one_line(pyiqa):
    def create_metric(name, **options):
        raise urllib.error.URLError("no\nroute")

    pyiqa.create_metric = create_metric
    with pytest.raises(ModelError, match=r"nrqm \(.*\); connect .* NRQM_model.mat into") as error:
        pyiqa_ma()
    assert "\n" not in str(error.value)


def test_what_pyiqa_needs_and_has_not_is_named(pyiqa):
    def create_metric(name, **options):
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    pyiqa.create_metric = create_metric
    with pytest.raises(ModuleNotFoundError, match="scipy"):
        pyiqa_ma()


def test_too_small_images_are_refused_before_ma_is_asked(image):
    index = PerceptualIndex(NIQE(PRIOR), lambda _: pytest.fail("asked"))
    with pytest.raises(DataError, match="too small"):
        index(image[:199], border=4)
