"""What may be asked of an export, and what does not go together."""

import importlib.util

import pytest

from keras_fsr.deploy import form
from keras_fsr.deploy.form import MODES, Form, Tuning
from keras_fsr.errors import ModelError


@pytest.fixture
def with_tfmot(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize("mode", MODES)
def test_pixels_are_the_default_of_the_int8_modes_alone(mode, with_tfmot):
    assert Form(mode, images="faces").io_type == ("uint8" if mode in ("int8", "qat") else "float")
    assert Form(mode, images="faces", io_type="float").io_type == "float"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int4"}, "'int4' is unknown; use none, float16, dynamic, int8, qat"),
        ({"quantize": "int8"}, "int8 needs images; name a folder of HR images"),
        ({"quantize": "qat"}, "qat needs images"),
        ({"quantize": "dynamic", "io_type": "uint8"}, "uint8 tensors need int8 kernels; .* not dynamic"),
        ({"lr_images": "small"}, "small: LR images need the HR images that they belong to"),
        ({"quantize": "none", "size": (64, 12)}, "a size of 64x12 is too small; use 16 pixels"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        Form(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "0 steps at a learning rate of 0.0001 train nothing"),
        ({"learning_rate": 0.0}, "2000 steps at a learning rate of 0 train nothing"),
        ({"learning_rate": 1.0}, "learning rate of 1 train nothing"),
        ({"target": "teacher"}, "'teacher' is unknown; use original, model"),
        ({"resume": True}, "what to resume is not said; name the run folder"),
    ],
)
def test_impossible_tuning_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        Tuning(**options)


def test_smallest_size_is_allowed():
    assert Form("none", size=(16, 16)).size == (16, 16)


@pytest.mark.parametrize("missing", form.QAT_PACKAGES)
def test_missing_tfmot_names_the_extra(missing, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ModelError, match=rf"^QAT needs {missing}; install the extra: pip install '\.\[qat\]'"):
        Form("qat", images="faces")
    assert Form("int8", images="faces").quantize == "int8"
