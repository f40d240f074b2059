"""QAT as seen from Keras 3: what the process gets, when it may start, what its failure says."""

import json

import numpy as np
import pytest

from keras_fsr.data.folders import pair_images
from keras_fsr.deploy import qat
from keras_fsr.deploy.form import Tuning
from keras_fsr.deploy.source import load_source
from keras_fsr.errors import DataError, ModelError, TrainingError

JOB = {"kind": "Edge", "pairs": [["a.png", None]], "tuning": {"steps": 3}}


@pytest.fixture
def started(monkeypatch):
    """The arguments with which the process would have been started."""
    calls = []
    monkeypatch.setattr(qat, "run_process", lambda name, arguments: calls.append((name, arguments)))
    return calls


def start(model, faces, tuning, path="out.tflite", size=None):
    patches = np.zeros((32, 48, 48, 3), np.uint8)
    qat.quantize_aware(load_source(model), path, size, "uint8", pair_images(faces), patches, tuning)


def test_process_gets_job_weights_and_patches(edge, faces, tmp_path, started):
    run = tmp_path / "run"
    start(edge, faces, Tuning(steps=7, target="model", run=run), size=(24, 32))
    assert started == [("small_edge", [str(run), "out.tflite", "[24, 32]", "uint8"])]
    job = json.loads((run / "job.json").read_text())
    assert job["kind"] == "Edge"
    assert job["config"]["reparameterized"] is False
    assert job["pairs"][0] == [str(faces / "0.png"), None]
    assert job["tuning"] == {"steps": 7, "learning_rate": Tuning.learning_rate, "target": "model"}
    weights, folded = np.load(run / "weights.npz"), load_source(edge).model
    kernel, bias = folded.get_layer("conv_last").get_weights()
    np.testing.assert_array_equal(weights["conv_last/0"], kernel)
    np.testing.assert_array_equal(weights["conv_last/1"], bias)
    assert np.load(run / "patches.npy").shape == (32, 48, 48, 3)


def test_without_a_run_folder_no_state_stays(edge, faces, started):
    start(edge, faces, Tuning())
    ((_, (folder, *_)),) = started
    assert not qat.Path(folder).exists()


def test_generator_that_keras_2_cannot_build_is_refused(faces, started):
    from keras_fsr.generators.baselines import EDSR

    with pytest.raises(
        ModelError, match=r"edsr.*: is a EDSR, which QAT does not know \(Edge, RRDB\); use --quantize int8"
    ):
        start(EDSR(4, num_features=8, num_blocks=1), faces, Tuning())
    assert started == []


def test_image_too_small_to_train_on_is_named(edge, save_image, tmp_path, started):
    save_image("faces/small.png", np.zeros((127, 128, 3), np.uint8))
    with pytest.raises(DataError, match=r"small.png: 128x127 is smaller than one 128x128 patch"):
        start(edge, tmp_path / "faces", Tuning())


def test_run_folder_goes_on_with_its_own_job_alone(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="run: holds no QAT to resume; leave out --resume"):
        qat.prepare(run, JOB, resume=True)
    qat.prepare(run, JOB, resume=False)
    qat.prepare(run, JOB, resume=True)
    with pytest.raises(TrainingError, match="run: is not empty; add --resume"):
        qat.prepare(run, JOB, resume=False)
    with pytest.raises(TrainingError, match="run: was started with other settings, model or images"):
        qat.prepare(run, JOB | {"tuning": {"steps": 4}}, resume=True)


def test_process_that_fails_says_why(monkeypatch, tmp_path):
    with pytest.raises(
        TrainingError, match=r"^face: QAT failed \(\w*Error: .*\); with --run it can be resumed"
    ) as caught:
        qat.run_process("face", [str(tmp_path / "no_run"), "x", "null", "uint8"])
    assert "\n" not in str(caught.value)
