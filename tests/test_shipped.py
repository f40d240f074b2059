"""The shipped model keeps what its card says, on the real faces where they are present."""

from pathlib import Path

import numpy as np
import pytest

from keras_fsr import pretrained
from keras_fsr.evaluation import protocol
from keras_fsr.inference.predictor import Predictor

FACES = Path(__file__).parents[2] / "shared" / "faces" / "test" / "256"
needs_faces = pytest.mark.skipif(not FACES.is_dir(), reason="the test faces are not here (../shared/faces)")


@pytest.fixture(scope="module")
def summary():
    files = sorted(FACES.glob("*.jpg"))
    models = {"face_x4": Predictor("face_x4").predict, **protocol.baselines(4)}
    return protocol.summarize(protocol.evaluate(models, files, 4))


@needs_faces
def test_face_x4_reaches_its_target_on_the_test_faces(summary):
    # Targets of the project; bicubic 28.30 dB / 0.810, LapSRN 28.74 / 0.815 by the same protocol.
    assert summary["face_x4"]["psnr_y"] >= 31.5
    assert summary["face_x4"]["ssim_y"] >= 0.872


@needs_faces
def test_the_card_tells_the_figures_measured_now(summary):
    stated = pretrained.card("face_x4").figures["test/256"]["face_x4"]
    # 0.01 dB: XNNPACK rounds differently from processor to processor.
    assert stated["psnr_y"] == pytest.approx(summary["face_x4"]["psnr_y"], abs=0.01)
    assert stated["ssim_y"] == pytest.approx(summary["face_x4"]["ssim_y"], abs=5e-4)


@needs_faces
def test_tflite_and_keras_agree_within_a_fiftieth_of_a_db():
    files = sorted(FACES.glob("*.jpg"))[::6]
    models = {
        suffix: Predictor(pretrained.weights("face_x4", suffix), tile=None).predict
        for suffix in (".tflite", ".keras")
    }
    means = protocol.summarize(protocol.evaluate(models, files, 4))
    assert abs(means[".tflite"]["psnr_y"] - means[".keras"]["psnr_y"]) < 0.02


def test_the_network_is_the_recipe_s():
    from keras_fsr import generators
    from keras_fsr.training.recipes import load_recipe

    model = generators.load(pretrained.weights("face_x4", ".keras"))
    card = pretrained.card("face_x4")
    assert model.count_params() == card.parameters
    options = load_recipe("face_x4").generator.options
    assert {key: model.get_config()[key] for key in options} == dict(options)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_the_card_is_filled():
    card = pretrained.card("face_x4")
    assert len(card.description) > 20
    assert card.limits
    assert card.training["commands"]
    assert "PSNR-Y" in card.figures["headline"]
    assert any("source" in group for group in card.subgroups)


def test_files_are_small_enough_to_ship():
    sizes = [path.stat().st_size for path in pretrained.FOLDER.iterdir() if path.suffix in (".tflite", ".keras")]
    assert max(sizes) < 15e6
    assert sum(sizes) < 60e6


def test_flat_images_stay_flat():
    predictor = Predictor("face_x4")
    for level in (0, 64, 128, 255):
        out = predictor.predict(np.full((32, 32, 3), level, np.uint8)).astype(int)
        assert np.abs(out - level).max() <= 3
