"""The shipped models keep what their cards say, on the real faces where they are present."""

from pathlib import Path

import numpy as np
import pytest

from keras_fsr import pretrained
from keras_fsr.data.degraded_folder import number_of
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.deploy.metadata import read_metadata
from keras_fsr.deploy.operations import count_operations, operations
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
def test_tflite_loses_little_against_keras(name):
    files = sorted(FACES.glob("*.jpg"))[::6]
    models = {
        suffix: Predictor(pretrained.weights(name, suffix), tile=None).predict for suffix in (".tflite", ".keras")
    }
    means = protocol.summarize(protocol.evaluate(models, files, 4))
    # Measured: face_x4 0.013 dB; sharper texture carries more of the activations' rounding.
    # The int8 forms may lose 0.1 dB (issue's target); being trained again they may also gain.
    most = {"face_x4": 0.02, "face_x4_edge": 0.1, "face_x4_edge_medium": 0.1, "face_x4_int8": 0.1}.get(name, 0.05)
    assert means[".keras"]["psnr_y"] - means[".tflite"]["psnr_y"] < most


@each_model
def test_the_network_is_the_recipe_s(name):
    from keras_fsr.deploy.source import load_source
    from keras_fsr.training.recipes import load_recipe

    source = load_source(pretrained.weights(name, ".keras"))
    card = pretrained.card(name)
    assert source.model.count_params() == card.parameters
    options = load_recipe(card.training["recipe"]).generator.options
    assert {key: source.trained.get_config()[key] for key in options} == dict(options)
    assert {layer.compute_dtype for layer in source.trained.layers} == {"float32"}


@each_model
def test_the_card_is_filled(name):
    card = pretrained.card(name)
    assert len(card.description) > 20
    assert 10 < len(card.purpose) < 45
    assert card.limits
    assert card.training["commands"]
    assert "PSNR-Y" in card.figures["headline"]
    assert any("source" in group for group in card.subgroups)


@pytest.mark.parametrize("name", ["face_x4_edge", "face_x4_edge_medium", "face_x4_int8"])
def test_int8_models_have_int8_kernels_alone_and_take_pixels(name):
    path = pretrained.weights(name)
    types = [types for _, types in operations(path)]
    assert all(kinds <= {"INT8", "INT32"} for kinds in types)
    counts = count_operations(path)
    assert counts["QUANTIZE"] == 2  # uint8 to int8 and back
    assert not {"DEQUANTIZE", "RELU", "MINIMUM", "MAXIMUM"} & counts.keys()
    metadata = read_metadata(path)
    assert (metadata["name"], metadata["quantization"], metadata["licence"]) == (name, "qat", "Apache-2.0")
    for end in ("input", "output"):
        assert metadata[end]["type"] == "uint8"
        assert metadata[end]["scale"] == pytest.approx(1 / 255)
        assert metadata[end]["zero_point"] == 0


@needs_faces
def test_face_x4_edge_fits_a_phone_and_is_far_above_bicubic(summary):
    # Targets of the project.
    assert pretrained.weights("face_x4_edge").stat().st_size <= 300_000
    assert summary["face_x4_edge"]["psnr_y"] >= 30.4
    assert summary["face_x4_edge"]["psnr_y"] >= summary["bicubic"]["psnr_y"] + 2.1


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
        image = np.full((40, 40, 3), level, np.uint8)
        image[0, 0] = 100  # or the network would not be asked
        error = np.abs(predictor.predict(image).astype(int) - level)[80:, 80:]
        assert error[:-32, :-32].max() <= 3
        assert error.max() <= 12, "at the edges, which the network sees zeros beyond"
