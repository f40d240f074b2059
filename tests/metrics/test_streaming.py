"""The Keras metrics against the NumPy functions of reports, as running means, and in a training."""

import importlib.util
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_fsr.errors import DataError, ModelError
from keras_fsr.losses.pieapp import pieapp
from keras_fsr.losses.pixel import L1
from keras_fsr.metrics import streaming
from keras_fsr.metrics.colour import colour_drift, largest_drift
from keras_fsr.metrics.fidelity import fidelity, rgb_to_y, ssim
from keras_fsr.metrics.grid import grid, smallest_side
from keras_fsr.metrics.lpips import LPIPS
from keras_fsr.metrics.streaming import PSNRY, psnr_y, ssim_y
from keras_fsr.training.trainer import Trainer


def pairs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(count, 26, 30, 3) uint8 images and the same with noise, which grows from image to image."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 26, 30, 3), dtype=np.uint8)
    noise = rng.normal(0, 1, images.shape) * 5 * (1 + np.arange(count))[:, None, None, None]
    return images, np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def as_float(images: np.ndarray) -> np.ndarray:
    return images.astype("float32") / 255


def expected_values(true, predicted, border) -> list[float]:
    return [fidelity(sr, hr, border)["psnr_y"] for hr, sr in zip(true, predicted, strict=True)]


@pytest.mark.parametrize("border", [0, 2, 4])
def test_values_equal_the_protocol(border):
    true, predicted = pairs(3)
    result = psnr_y(as_float(true), as_float(predicted), border)
    np.testing.assert_allclose(result, expected_values(true, predicted, border), atol=1e-3)


@pytest.mark.parametrize("sizes", [(2,), (2, 1)], ids=["one batch", "batches of unequal size"])
def test_metric_is_the_mean_over_images(sizes):
    metric = PSNRY(border=4)
    expected = []
    for seed, size in enumerate(sizes):
        true, predicted = pairs(size, seed)
        metric.update_state(as_float(true), as_float(predicted))
        expected += expected_values(true, predicted, 4)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(metric.result(), np.mean(expected), atol=1e-3)


def test_reset_forgets():
    (true, predicted), metric = pairs(1), PSNRY(4)
    metric.update_state(as_float(true), as_float(true))
    metric.reset_state()
    metric.update_state(as_float(true), as_float(predicted))
    np.testing.assert_allclose(metric.result(), expected_values(true, predicted, 4)[0], atol=1e-3)


def test_prediction_is_clipped_and_rounded_to_8_bits():
    true, _ = pairs(1)
    true[..., :2, :] = 0
    true[..., 2:4, :] = 255
    exact = as_float(true)
    disturbed = exact + np.random.default_rng(1).uniform(-0.49, 0.49, exact.shape).astype("float32") / 255
    disturbed[..., :2, :] -= 3
    disturbed[..., 2:4, :] += 3
    # 100 dB stands for equal images.
    np.testing.assert_allclose(psnr_y(exact, disturbed, 0), [100.0], atol=1e-3)
    disturbed[0, 10, 10] += 0.6 / 255
    assert psnr_y(exact, disturbed, 0)[0] < 90


def test_difference_inside_the_border_does_not_count():
    true, _ = pairs(1)
    spoilt = true.copy()
    spoilt[:, :4], spoilt[:, -4:], spoilt[:, :, :4], spoilt[:, :, -4:] = 0, 0, 0, 0
    np.testing.assert_allclose(psnr_y(as_float(true), as_float(spoilt), 4), [100.0], atol=1e-3)
    assert psnr_y(as_float(true), as_float(spoilt), 3)[0] < 50


def test_metric_survives_its_config():
    original = PSNRY(border=2, name="mine")
    copy = keras.metrics.deserialize(keras.metrics.serialize(original))
    assert type(copy) is PSNRY
    assert copy.get_config() == original.get_config()
    assert (copy.border, copy.name) == (2, "mine")


# --- the others

SCALE = 2


class Naturalness:
    """Stands for NIQE: the deviation of the image within the border; refuses images of fewer than 60 rows."""

    def __init__(self, prior=None):
        self.prior = prior

    def __call__(self, image: np.ndarray, border: int = 0) -> float:
        if image.shape[0] < 60:
            raise DataError("too small")
        assert image.dtype == np.uint8
        height, width = image.shape[:2]
        return float(image[border : height - border, border : width - border].std())


class Index:
    """Stands for PI: half of NIQE."""

    def __init__(self, niqe):
        self.niqe = niqe

    def __call__(self, image: np.ndarray, border: int = 0) -> float:
        return self.niqe(image, border) / 2


class Judge:
    """Stands for Identity: the distance of the mean colours; originals that are dark on the whole show no face."""

    def __call__(self, hr: np.ndarray, sr: np.ndarray) -> float:
        assert hr.dtype == sr.dtype == np.uint8
        if hr.mean() < 20:
            return math.nan
        return float(np.linalg.norm(hr.mean(axis=(0, 1)) - sr.mean(axis=(0, 1))))


def patch_errors(pair):
    """Stands for PieAPP's network: by how much each patch is too bright, weighted by its brightness."""
    reference, image = pair
    error = ops.mean(ops.relu(image - reference), axis=(1, 2, 3))[:, None] / 255
    return error, ops.mean(image, axis=(1, 2, 3))[:, None] + 1


@pytest.fixture(scope="module")
def lpips_weights(tmp_path_factory) -> Path:
    """The random weights of LPIPS' own tests."""
    spec = importlib.util.spec_from_file_location("lpips_tests", Path(__file__).with_name("test_lpips.py"))
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    folder = tmp_path_factory.mktemp("weights")
    for name, arrays in zip(tests.NAMES["squeeze"], tests.random_arrays("squeeze"), strict=True):
        np.savez(folder / name, **arrays)
    return folder


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setattr(streaming, "NIQE", Naturalness)
    monkeypatch.setattr(streaming, "PerceptualIndex", Index)
    monkeypatch.setattr(streaming, "Identity", Judge)


NAMES = ("psnr_y", "ssim_y", "colour", "grid", "niqe", "pi", "identity", "lpips", "pieapp")


def metric_of(name: str, lpips_weights: Path) -> keras.metrics.Metric:
    makers = {
        "psnr_y": lambda: PSNRY(SCALE),
        "ssim_y": lambda: streaming.SSIMY(SCALE),
        "colour": lambda: streaming.ColourDrift(SCALE),
        "grid": lambda: streaming.Grid(SCALE),
        "niqe": lambda: streaming.NIQEScore(border=SCALE),
        "pi": lambda: streaming.PerceptualIndexScore(border=SCALE),
        "identity": lambda: streaming.IdentityDistance(),
        "lpips": lambda: streaming.LPIPSDistance(lpips_weights),
        "pieapp": lambda: streaming.PieAPPScore(network=patch_errors),
    }
    return makers[name]()


def figure_of(name: str, true: np.ndarray, predicted: np.ndarray, lpips_weights: Path) -> float:
    """What a report says of these 8-bit images."""
    pairs = list(zip(true, predicted, strict=True))
    batches = (as_float(true), as_float(predicted))
    figures = {
        "psnr_y": lambda: np.mean([fidelity(sr, hr, SCALE)["psnr_y"] for hr, sr in pairs]),
        "ssim_y": lambda: np.mean([fidelity(sr, hr, SCALE)["ssim_y"] for hr, sr in pairs]),
        "colour": lambda: largest_drift(colour_drift(sr, hr, SCALE) for hr, sr in pairs),
        "grid": lambda: grid(predicted, SCALE),
        "niqe": lambda: np.mean([Naturalness()(sr, SCALE) for sr in predicted]),
        "pi": lambda: np.mean([Naturalness()(sr, SCALE) / 2 for sr in predicted]),
        "identity": lambda: np.mean([Judge()(hr, sr) for hr, sr in pairs]),
        "lpips": lambda: np.mean(LPIPS(lpips_weights)(*batches)),
        "pieapp": lambda: np.mean(pieapp(*batches, patch_errors)),
    }
    return float(figures[name]())


def portraits(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(count, 66, 72, 3) uint8 images without fine detail, and the same with noise and another colour.

    Contrast, noise and colour grow from image to image, so that no two have like figures.
    """
    rng = np.random.default_rng(seed)
    steps = 1 + seed + np.arange(count)[:, None, None, None]
    coarse = 128 + rng.uniform(-14, 14, (count, 11, 12, 3)) * steps
    images = coarse.repeat(6, 1).repeat(6, 2) + rng.normal(0, 4, (count, 66, 72, 3))
    noise = rng.normal(0, 2, images.shape) * steps + np.array([2, -1, 0.5]) * steps
    return tuple(np.clip(np.rint(x), 0, 255).astype(np.uint8) for x in (images, images + noise))


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_what_a_report_says_of_the_images_in_8_bits(name, stand_ins, lpips_weights):
    true, predicted = portraits(5)
    metric = metric_of(name, lpips_weights)
    assert metric.name == name
    rng = np.random.default_rng(1)
    for batch in (slice(0, 3), slice(3, 5)):  # of unequal sizes: a mean of means would be another
        less_than_half = [rng.uniform(-0.45, 0.45, x[batch].shape).astype("float32") / 255 for x in (true, predicted)]
        metric.update_state(as_float(true[batch]) + less_than_half[0], as_float(predicted[batch]) + less_than_half[1])
    expected = figure_of(name, true, predicted, lpips_weights)
    np.testing.assert_allclose(metric.result(), expected, rtol=2e-4)
    halves = [figure_of(name, true[part], predicted[part], lpips_weights) for part in (slice(0, 3), slice(3, 5))]
    assert not np.isclose(np.mean(halves), expected, rtol=1e-3), "the images cannot tell a mean of batches"


@pytest.mark.parametrize("name", NAMES)
def test_reset_forgets_what_was_measured(name, stand_ins, lpips_weights):
    metric = metric_of(name, lpips_weights)
    one, other = portraits(2), portraits(1, seed=3)
    metric.update_state(*map(as_float, one))
    before = float(metric.result())
    metric.reset_state()
    metric.update_state(*map(as_float, other))
    np.testing.assert_allclose(metric.result(), figure_of(name, *other, lpips_weights), rtol=2e-4)
    assert not np.isclose(metric.result(), before, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_survives_its_config(name, stand_ins, lpips_weights, monkeypatch, tmp_path):
    made = []

    def network(*arguments):
        made.append(arguments)
        return patch_errors

    monkeypatch.setattr("keras_fsr.losses.pieapp.build_network", lambda: None)
    monkeypatch.setattr("keras_fsr.losses.pieapp.load_pieapp_weights", network)
    makers = {
        "psnr_y": lambda: PSNRY(border=3, name="mine"),
        "ssim_y": lambda: streaming.SSIMY(border=3, name="mine"),
        "colour": lambda: streaming.ColourDrift(border=3, name="mine"),
        "grid": lambda: streaming.Grid(scale=3, name="mine"),
        "niqe": lambda: streaming.NIQEScore(tmp_path / "p.npz", border=3, name="mine"),
        "pi": lambda: streaming.PerceptualIndexScore(tmp_path / "p.npz", border=3, name="mine"),
        "identity": lambda: streaming.IdentityDistance(name="mine"),
        "lpips": lambda: streaming.LPIPSDistance(lpips_weights, "squeeze", name="mine"),
        "pieapp": lambda: streaming.PieAPPScore(tmp_path / "p.pth", name="mine", stride=40, channels="rgb"),
    }
    original = makers[name]()
    copy = keras.metrics.deserialize(keras.metrics.serialize(original))
    assert type(copy) is type(original)
    assert copy.get_config() == original.get_config()
    assert copy.name == "mine"
    options = {
        "grid": {"scale": 3},
        "niqe": {"prior": str(tmp_path / "p.npz"), "border": 3},
        "identity": {},
        "lpips": {"weights": str(lpips_weights), "backbone": "squeeze"},
        "pieapp": {"weights_file": str(tmp_path / "p.pth"), "stride": 40, "channels": "rgb", "cover_edges": True},
    }
    options["pi"] = options["niqe"]
    assert copy.get_config().items() >= options.get(name, {"border": 3}).items()
    images = [as_float(x) for x in portraits(2)]
    for metric in (original, copy):
        metric.update_state(*images)
    np.testing.assert_array_equal(copy.result(), original.result())
    if name == "pieapp":
        assert [str(path) for _, path in made] == [str(tmp_path / "p.pth")] * 2


@pytest.mark.parametrize("border", [0, 3])
def test_ssim_of_single_images_equals_the_protocols(border):
    true, predicted = portraits(3)
    expected = [ssim(rgb_to_y(sr), rgb_to_y(hr), border) for hr, sr in zip(true, predicted, strict=True)]
    assert np.ptp(expected) > 0.005
    np.testing.assert_allclose(ssim_y(as_float(true), as_float(predicted), border), expected, atol=2e-5)
    np.testing.assert_allclose(ssim_y(as_float(true), as_float(true), border), np.ones(3), atol=1e-6)


def test_prior_and_weights_are_handed_on(monkeypatch, tmp_path):
    asked = []

    def note(*arguments):
        asked.append(arguments)
        return Naturalness()

    monkeypatch.setattr(streaming, "NIQE", note)
    monkeypatch.setattr(streaming, "PerceptualIndex", lambda niqe: niqe)
    monkeypatch.setattr(streaming, "LPIPS", note)
    streaming.NIQEScore()
    streaming.PerceptualIndexScore("own.npz")
    streaming.LPIPSDistance(tmp_path, "vgg")
    assert asked == [(None,), ("own.npz",), (tmp_path, "vgg")]


def test_metrics_without_their_weights_say_so(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path))
    for make in (streaming.LPIPSDistance, streaming.NIQEScore, streaming.PieAPPScore):
        with pytest.raises(ModelError, match="holds no|holds neither"):
            make()


# --- images that cannot be measured


def test_an_original_without_a_face_does_not_count(stand_ins):
    metric = streaming.IdentityDistance()
    true, predicted = portraits(3)
    true[1] = 0
    metric.update_state(as_float(true), as_float(predicted))
    expected = [Judge()(true[i], predicted[i]) for i in (0, 2)]
    np.testing.assert_allclose(metric.result(), np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("name", ["niqe", "pi", "grid"])
def test_images_that_are_too_small_do_not_count(name, stand_ins, lpips_weights):
    metric = metric_of(name, lpips_weights)
    true, predicted = map(as_float, portraits(3))
    metric.update_state(true, predicted)
    expected = float(metric.result())
    small = smallest_side(SCALE) - 1
    metric.update_state(true[:, :small, :small], predicted[:, :small, :small])
    assert float(metric.result()) == expected
    assert not math.isnan(expected)


def test_an_image_whose_numbers_are_not_all_known_does_not_count():
    vectors = iter([(1.0, 2.0), (math.nan, 50.0), (70.0, math.nan), (3.0, 6.0)])
    metric = streaming.Measured(lambda hr, sr: next(vectors), 2, "own")
    black = np.zeros((4, 8, 8, 3), "float32")
    metric.update_state(black, black)
    np.testing.assert_array_equal(metric.total, [4.0, 8.0])
    assert float(metric.result()) == 2.0


def test_without_any_figure_the_result_is_nan(stand_ins):
    metric = streaming.IdentityDistance()
    black = np.zeros((2, 64, 64, 3), "float32")
    metric.update_state(black, black)
    assert math.isnan(metric.result())
    assert math.isnan(streaming.Grid(4).result())


# --- in a training


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """(3, 32, 36, 3) and (3, 64, 72, 3) in [0, 1]."""
    true, _ = portraits(3)
    hr = as_float(true[:, :64])
    return hr[:, ::2, ::2], hr


def test_all_metrics_work_in_a_training(images, stand_ins, lpips_weights):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    grown = keras.layers.UpSampling2D(SCALE)(inputs)
    trainer = Trainer(
        keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="ones")(grown / 27)),
        precision="float32",
    )
    metrics = [metric_of(name, lpips_weights) for name in NAMES]
    trainer.compile(optimizer=keras.optimizers.Adam(1e-4), loss=L1(), metrics=metrics)
    history = trainer.fit(*images, batch_size=2, validation_data=images, validation_batch_size=2, verbose=0).history
    assert set(history) == {*NAMES, *(f"val_{name}" for name in NAMES), "loss", "val_loss"}
    predicted = np.clip(np.rint(trainer.predict(images[0], verbose=0) * 255), 0, 255).astype(np.uint8)
    true = np.rint(images[1] * 255).astype(np.uint8)
    again = trainer.evaluate(*images, batch_size=1, return_dict=True, verbose=0)
    for name in NAMES:
        expected = figure_of(name, true, predicted, lpips_weights)
        assert history[f"val_{name}"][-1] == pytest.approx(expected, rel=1e-3), name
        assert again[name] == pytest.approx(expected, rel=1e-3), name


def test_images_of_sizes_that_the_graph_does_not_know(stand_ins, lpips_weights):
    metrics, eager = ([metric_of(name, lpips_weights) for name in NAMES] for _ in range(2))
    any_size = tf.TensorSpec((None, None, None, 3))

    @tf.function(input_signature=(any_size, any_size))
    def update(reference, image):
        for metric in metrics:
            metric.update_state(reference, image)

    true, predicted = map(as_float, portraits(2))
    for images in ((true, predicted), (true[:1, :64, :64], predicted[:1, :64, :64])):
        update(*images)
        for metric in eager:
            metric.update_state(*images)
    for metric, expected in zip(metrics, eager, strict=True):
        np.testing.assert_allclose(metric.result(), expected.result(), rtol=1e-4, err_msg=metric.name)
