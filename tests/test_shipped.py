"""The shipped models keep what their cards say, on the real faces where they are present."""

from pathlib import Path

import numpy as np
import pytest

from keras_fsr import pretrained
from keras_fsr.data.degraded_folder import number_of
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.evaluation import choosing, protocol
from keras_fsr.inference.predictor import Predictor

SHARED = Path(__file__).parents[2] / "shared"
FACES = SHARED / "faces" / "test" / "256"
WEIGHTS = SHARED / "weights"
needs_faces = pytest.mark.skipif(not FACES.is_dir(), reason="the test faces are not here (../shared/faces)")
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="LPIPS' weights are not here (../shared/weights)")
each_model = pytest.mark.parametrize("name", pretrained.names())


@pytest.fixture(scope="module")
def summary():
    files = sorted(FACES.glob("*.jpg"))
    models = {name: Predictor(name).predict for name in pretrained.names()} | protocol.baselines(4)
    return protocol.summarize(protocol.evaluate(models, files, 4))


@needs_faces
def test_face_x4_reaches_its_target_on_the_test_faces(summary):
    # Targets of the project; bicubic 28.30 dB / 0.810, LapSRN 28.74 / 0.815 by the same protocol.
    assert summary["face_x4"]["psnr_y"] >= 31.5
    assert summary["face_x4"]["ssim_y"] >= 0.872


@needs_faces
def test_face_x4_gan_stays_near_and_leaves_no_grid_or_colour_cast(summary):
    # Targets of the project; the originals have a grid of 1.02, LapSRN 1.67, Upscayl Lite 1.13.
    assert summary["face_x4_gan"]["psnr_y"] >= summary["face_x4"]["psnr_y"] - 1.5
    assert summary["face_x4_gan"]["grid"] <= 1.15
    assert summary["face_x4_gan"]["colour"] < 1


@needs_faces
@needs_weights
def test_face_x4_gan_looks_closer_than_all_others():
    measures = choosing.lpips(WEIGHTS)
    files = sorted(FACES.glob("*.jpg"))[::4]
    models = {name: Predictor(name).predict for name in ("face_x4_gan", "face_x4")} | protocol.baselines(4)
    rows = protocol.evaluate(models, files, 4, measures=measures)
    lpips = {name: figures["lpips"] for name, figures in protocol.summarize(rows, measures).items()}
    assert lpips["face_x4_gan"] <= 0.30 * lpips["bicubic"]
    assert lpips["face_x4_gan"] < lpips["face_x4"]


@needs_faces
@needs_weights
def test_face_x4_real_looks_closer_than_all_others_on_degraded_faces():
    measures = choosing.lpips(WEIGHTS)
    files = sorted(FACES.glob("*.jpg"))[::4]
    degrade = Degrader(presets.load("real-esrgan"), 4, seed=7)
    models = {name: Predictor(name).predict for name in pretrained.names()} | protocol.baselines(4)
    rows = protocol.evaluate(
        models,
        files,
        4,
        measures=measures,
        make_lr=lambda file, hr: degrade(hr, number_of(Path(file.name))),
    )
    lpips = {name: figures["lpips"] for name, figures in protocol.summarize(rows, measures).items()}
    others = [value for name, value in lpips.items() if name != "face_x4_real"]
    assert lpips["face_x4_real"] < 0.9 * min(others)


@needs_faces
@each_model
def test_the_card_tells_the_figures_measured_now(name, summary):
    stated = pretrained.card(name).figures["test/256"][name]
    # 0.01 dB: XNNPACK rounds differently from processor to processor.
    assert stated["psnr_y"] == pytest.approx(summary[name]["psnr_y"], abs=0.01)
    assert stated["ssim_y"] == pytest.approx(summary[name]["ssim_y"], abs=5e-4)


@needs_faces
@each_model
def test_tflite_and_keras_agree_within_a_twentieth_of_a_db(name):
    files = sorted(FACES.glob("*.jpg"))[::6]
    models = {
        suffix: Predictor(pretrained.weights(name, suffix), tile=None).predict for suffix in (".tflite", ".keras")
    }
    means = protocol.summarize(protocol.evaluate(models, files, 4))
    # Measured: face_x4 0.013 dB; sharper texture carries more of the activations' rounding.
    assert abs(means[".tflite"]["psnr_y"] - means[".keras"]["psnr_y"]) < (0.02 if name == "face_x4" else 0.05)


@each_model
def test_the_network_is_the_recipe_s(name):
    from keras_fsr import generators
    from keras_fsr.training.recipes import load_recipe

    model = generators.load(pretrained.weights(name, ".keras"))
    card = pretrained.card(name)
    assert model.count_params() == card.parameters
    options = load_recipe(name).generator.options
    assert {key: model.get_config()[key] for key in options} == dict(options)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


@each_model
def test_the_card_is_filled(name):
    card = pretrained.card(name)
    assert len(card.description) > 20
    assert card.limits
    assert card.training["commands"]
    assert "PSNR-Y" in card.figures["headline"]
    assert any("source" in group for group in card.subgroups)


def test_the_degradation_model_is_complete():
    (name,) = pretrained.names(pretrained.DEGRADATION)
    card = pretrained.card(name)
    assert {Path(file).suffix for file in card.sha256} == {".keras", ".tflite", ".npz"}
    for file in card.sha256:
        pretrained.weights(name, Path(file).suffix)
    assert card.limits
    assert card.training["commands"]
    assert card.figures["omega"]["auc"] >= 0.9
    cameras = presets.load("learned")
    hq = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    draws = [cameras.draw(np.random.default_rng(seed), 4)(hq) for seed in (1, 1, 2)]
    assert draws[0].shape == (10, 12, 3)
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@needs_faces
def test_the_learned_degradation_is_nearer_to_a_hidden_camera_than_bicubic():
    from keras_fsr.data.degraded import take_pictures
    from keras_fsr.degradations.learned.transfer import fit_degradation

    files, nearer = sorted(FACES.glob("*.jpg")), []
    bicubic = presets.load("bicubic").draw(np.random.default_rng(0), 4)
    for index in range(8):
        camera = take_pictures(presets.load("camera"), files, index, 4, seed=40_000_003)
        made = fit_degradation([(camera.hq[0], camera.lq[0])]).apply(camera.hq[1])
        errors = [np.square(image.astype(float) - camera.lq[1]).mean() for image in (made, bicubic(camera.hq[1]))]
        nearer.append(errors[0] < errors[1])
    assert sum(nearer) >= 7


def test_files_are_small_enough_to_ship():
    sizes = [path.stat().st_size for path in pretrained.FOLDER.iterdir() if path.suffix in (".tflite", ".keras")]
    assert max(sizes) < 15e6
    assert sum(sizes) < 60e6


@each_model
def test_flat_images_stay_flat(name):
    predictor = Predictor(name)
    for level in (0, 64, 128, 255):
        out = predictor.predict(np.full((32, 32, 3), level, np.uint8)).astype(int)
        assert np.abs(out - level).max() <= 3
