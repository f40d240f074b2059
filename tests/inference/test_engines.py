"""Engines: what they refuse, and that the light one stays light."""

import subprocess
import sys

import numpy as np
import pytest

from keras_fsr import pretrained
from keras_fsr.errors import ModelError
from keras_fsr.inference.engines import LiteRTEngine, available_cores, load_engine

MODEL = pretrained.FOLDER / "face_x4.tflite"


def test_shapes_may_change_from_call_to_call():
    engine = LiteRTEngine(MODEL)
    draw = np.random.default_rng(0)
    first = draw.random((12, 20, 3), dtype=np.float32)
    before = engine(first).copy()
    assert engine(draw.random((7, 5, 3), dtype=np.float32)).shape == (28, 20, 3)
    assert np.array_equal(engine(first), before)


def test_tflite_needs_no_tensorflow():
    code = (
        "import sys, numpy as np\n"
        "from keras_fsr import Predictor\n"
        "Predictor('face_x4').predict(np.zeros((8, 8, 3), np.uint8))\n"
        "print({'tensorflow', 'keras', 'yaml', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert done.stderr == "", "the runtime must not chatter"


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x1c\x00\x00\x00TFL3" + b"\x00" * 100])
@pytest.mark.parametrize("suffix", [".tflite", ".keras"])
def test_a_damaged_model_file_is_named_in_one_line(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"bad{suffix}") as caught:
        load_engine(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_model_file_is_refused(tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(MODEL.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="cut.tflite"):
        load_engine(path)


def test_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        load_engine(tmp_path / "none.tflite")
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="neither"):
        load_engine(tmp_path / "model.bin")


def test_a_keras_model_that_does_not_enlarge_is_refused(tmp_path):
    keras = pytest.importorskip("keras")
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(5, 3)(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match="not a super-resolution model"):
        load_engine(tmp_path / "other.keras")


def test_cores_are_counted():
    assert available_cores() >= 1
