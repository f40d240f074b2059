"""The protocol: reduction, measuring, means, and the files it writes."""

import csv
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DataError, ModelError, OutputError
from keras_fsr.evaluation.measures import BASIC, Measure
from keras_fsr.evaluation.protocol import (
    METHODS,
    Row,
    baselines,
    crop_to_multiple,
    evaluate,
    format_table,
    load_pair,
    load_rgb,
    originals,
    reduce_image,
    summarize,
)
from keras_fsr.evaluation.report import write_csv
from keras_fsr.metrics.colour import colour_drift
from keras_fsr.metrics.fidelity import METRICS, fidelity
from keras_fsr.metrics.grid import grid, grid_peaks

CHECKOUT = Path(__file__).parents[2]
FACES = CHECKOUT.parent / "shared" / "faces" / "test" / "256"


def _smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A random picture without fine detail, so that interpolation restores most of it."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def _save(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image).save(path)
    return path


def _row(file: str, model: str, *values: float) -> Row:
    return Row(Path(file), model, {key: np.array([value]) for key, value in zip(METRICS, values, strict=True)})


MEASURES = {measure.key: measure for measure in BASIC}
LPIPS = Measure("lpips", "LPIPS", ".4f", lambda sample: (0.25,))


def test_crop_keeps_the_top_left_corner():
    image = np.arange(10 * 7 * 3).reshape(10, 7, 3)
    cropped = crop_to_multiple(image, 4)
    np.testing.assert_array_equal(cropped, image[:8, :4])
    np.testing.assert_array_equal(crop_to_multiple(cropped, 4), cropped)


@pytest.mark.parametrize(
    ("scale", "message"), [(4, "3x9 is too small for scale 4"), (0, "scale 0"), (-2, "scale -2")]
)
def test_crop_refuses_impossible_scales(scale, message):
    with pytest.raises(DataError, match=message):
        crop_to_multiple(np.zeros((9, 3, 3)), scale)


def test_reduction_is_pillow_bicubic_of_the_cropped_image():
    hr = _smooth(35, 26)
    expected = Image.fromarray(hr[:32, :24]).resize((6, 8), Image.Resampling.BICUBIC)
    lr = reduce_image(hr, 4)
    assert lr.dtype == np.uint8
    np.testing.assert_array_equal(lr, np.asarray(expected))


def test_reduction_is_antialiased():
    stripes = np.zeros((16, 16, 3), dtype=np.uint8)
    stripes[::2] = 254
    # Taking every fourth pixel would give all white or all black.
    assert np.abs(reduce_image(stripes, 4).astype(int) - 127).max() < 40


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)])
def test_reduction_wants_8_bit_rgb(image):
    with pytest.raises(DataError, match="uint8"):
        reduce_image(image, 2)


def test_baselines_are_the_methods_and_enlarge():
    lr = _smooth(8, 12)
    enlarged = {name: upscale(lr) for name, upscale in baselines(3).items()}
    assert list(enlarged) == list(METHODS) == ["bicubic", "lanczos"]
    for name, sr in enlarged.items():
        np.testing.assert_array_equal(sr, np.asarray(Image.fromarray(lr).resize((36, 24), METHODS[name])))
    assert (enlarged["bicubic"] != enlarged["lanczos"]).any()


def test_load_reads_rgb_and_gray(tmp_path):
    image = _smooth(9, 12)
    np.testing.assert_array_equal(load_rgb(_save(tmp_path / "rgb.png", image)), image)
    gray = load_rgb(_save(tmp_path / "gray.png", image[..., 0]))
    np.testing.assert_array_equal(gray, np.stack([image[..., 0]] * 3, axis=2))


def test_load_turns_upright(tmp_path):
    image = _smooth(9, 12)
    exif = Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(load_rgb(tmp_path / "turned.png"), image[::-1, ::-1])


def test_a_pair_is_cut_and_reduced(tmp_path):
    image = _smooth(41, 50)
    hr, lr = load_pair(_save(tmp_path / "a.png", image), 4)
    np.testing.assert_array_equal(hr, image[:40, :48])
    np.testing.assert_array_equal(lr, reduce_image(image, 4))
    with pytest.raises(DataError, match=r"tiny\.png: .*too small for scale 4"):
        load_pair(_save(tmp_path / "tiny.png", image[:3]), 4)


def test_load_names_the_file_it_cannot_use(tmp_path):
    _save(tmp_path / "alpha.png", np.zeros((4, 4, 4), dtype=np.uint8))
    (tmp_path / "text.png").write_text("no image")
    whole = _save(tmp_path / "whole.png", _smooth(64, 64)).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    for name, message in [
        ("alpha.png", "RGBA"),
        ("text.png", "cannot be read"),
        ("half.png", "cannot be read"),
        ("missing.png", "cannot be read"),
    ]:
        with pytest.raises(DataError, match=f"{name}.*{message}") as caught:
            load_rgb(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_evaluate_measures_each_model_on_each_image(tmp_path):
    images = {name: _smooth(40, 49, seed) for seed, name in enumerate(["a.png", "b.png"])}
    files = [_save(tmp_path / name, image) for name, image in images.items()]
    seen = []
    rows = evaluate(baselines(4), files, 4, progress=lambda done, total: seen.append((done, total)))
    assert [(row.file, row.model) for row in rows] == [(file, name) for file in files for name in METHODS]
    assert seen == [(1, 2), (2, 2)]
    for row in rows:
        hr = images[row.file.name][:, :48]
        sr = baselines(4)[row.model](reduce_image(hr, 4))
        assert {metric: row.figure(MEASURES[metric]) for metric in METRICS} == fidelity(sr, hr, 4)
        np.testing.assert_array_equal(row.vectors["grid"], grid_peaks(sr, 4))
        np.testing.assert_array_equal(row.vectors["colour"], colour_drift(sr, hr, 4))
        assert list(row.vectors) == [*METRICS, "grid", "colour"]
        assert math.isnan(row.figure(LPIPS))


def test_evaluate_asks_the_measures_given(tmp_path):
    hr = _smooth(48, 48)
    samples = []

    def each(sample):
        samples.append(sample)
        return (0.25, 7.0)

    file = _save(tmp_path / "a.png", hr)
    one = Measure("one", "one", ".1f", each)
    other = Measure("other", "other", ".1f", None, one=lambda vector: vector[1], source="one")
    (row,) = evaluate({"white": lambda lr: np.full((48, 48, 3), 255, np.uint8)}, [file], 4, measures=[one, other])
    assert (row.figure(one), row.figure(other)) == (0.25, 7.0)
    assert list(row.vectors) == ["one"]
    (sample,) = samples
    assert (sample.file, sample.scale) == (file, 4)
    np.testing.assert_array_equal(sample.hr, hr)
    assert (sample.sr == 255).all()


def test_evaluate_measures_the_results_of_others_alike(tmp_path):
    files = [_save(tmp_path / f"{i}.png", _smooth(48, 50, i)) for i in range(2)]
    (tmp_path / "theirs").mkdir()
    bicubic = baselines(4)["bicubic"]
    theirs = {
        file: _save(tmp_path / "theirs" / file.name, bicubic(reduce_image(load_rgb(file), 4))) for file in files
    }
    rows = evaluate({"bicubic": bicubic}, files, 4, results={"theirs": theirs})
    assert [row.model for row in rows] == ["bicubic", "theirs"] * 2
    summary = summarize(rows)
    assert summary["theirs"] == summary["bicubic"]
    assert summarize(evaluate({}, files, 4, results={"theirs": theirs})) == {"theirs": summary["theirs"]}


def test_evaluate_refuses_results_that_do_not_fit(tmp_path):
    file = _save(tmp_path / "a.png", _smooth(48, 50))
    whole = _save(tmp_path / "whole.png", _smooth(48, 50))  # not cut to a multiple of the scale
    with pytest.raises(DataError, match=r"a\.png: .*whole\.png has 50x48 pixels where 48x48"):
        evaluate({}, [file], 4, results={"theirs": {file: whole}})
    with pytest.raises(DataError, match=r"a\.png: theirs has no result"):
        evaluate({}, [file], 4, results={"theirs": {}})
    with pytest.raises(DataError, match="bicubic is both"):
        evaluate(baselines(4), [file], 4, results={"bicubic": {file: whole}})


def test_originals_have_the_figures_that_need_no_original(tmp_path):
    images = [_smooth(60, 70, seed) for seed in range(2)]
    files = [_save(tmp_path / f"{seed}.png", image) for seed, image in enumerate(images)]
    expected = pytest.approx(grid([image[:, :68] for image in images], 4))
    assert originals(files, 4) == {"grid": expected}
    assert originals([_save(tmp_path / "small.png", _smooth(24, 24))], 4) == {}


def test_evaluate_gives_the_model_the_lr(tmp_path):
    hr = _smooth(48, 48)
    inputs = []

    def perfect(lr: np.ndarray) -> np.ndarray:
        inputs.append(lr)
        return hr

    (row,) = evaluate({"perfect": perfect}, [_save(tmp_path / "a.png", hr)], 2)
    np.testing.assert_array_equal(inputs[0], reduce_image(hr, 2))
    assert row.figure(MEASURES["psnr_y"]) == row.figure(MEASURES["psnr_rgb"]) == math.inf
    assert row.figure(MEASURES["ssim_y"]) == pytest.approx(1.0)


def test_evaluate_takes_lr_images_that_are_made_otherwise(tmp_path):
    images = {name: _smooth(40, 49, seed) for seed, name in enumerate(["a.png", "b.png"])}
    files = [_save(tmp_path / name, image) for name, image in images.items()]
    seen, inputs = [], []

    def make_lr(file: Path, hr: np.ndarray) -> np.ndarray:
        seen.append((file, hr))
        return hr[::4, ::4]

    def model(lr: np.ndarray) -> np.ndarray:
        inputs.append(lr)
        return baselines(4)["bicubic"](lr)

    rows = evaluate({"bicubic": model}, files, 4, make_lr=make_lr)
    assert [file for file, _ in seen] == files
    for (file, given), lr, row in zip(seen, inputs, rows, strict=True):
        hr = images[file.name][:, :48]
        np.testing.assert_array_equal(given, hr)  # cut to a multiple of the scale
        np.testing.assert_array_equal(lr, hr[::4, ::4])
        figures = {metric: row.figure(MEASURES[metric]) for metric in METRICS}
        assert figures == fidelity(baselines(4)["bicubic"](lr), hr, 4)
    (reduced,) = evaluate({"bicubic": model}, files[:1], 4)
    assert rows[0].figure(MEASURES["psnr_y"]) != reduced.figure(MEASURES["psnr_y"])


def test_evaluate_refuses_lr_images_of_another_size(tmp_path):
    file = _save(tmp_path / "a.png", _smooth(40, 49))
    with pytest.raises(DataError, match=r"a\.png: its LR has 24x20 pixels, 48x40 by 4 are wanted"):
        evaluate(baselines(4), [file], 4, make_lr=lambda file, hr: hr[::2, ::2])


@pytest.mark.parametrize(
    "model",
    [
        lambda lr: lr,
        lambda lr: baselines(2)["bicubic"](lr),
        lambda lr: baselines(4)["bicubic"](lr) / 255.0,
        lambda lr: baselines(4)["bicubic"](lr)[None],
    ],
)
def test_evaluate_refuses_a_model_of_another_scale_or_type(tmp_path, model):
    file = _save(tmp_path / "a.png", _smooth(48, 48))
    with pytest.raises(ModelError, match=r"odd gave .*scale 4"):
        evaluate({"odd": model}, [file], 4)


def test_evaluate_names_an_image_that_is_too_small(tmp_path):
    with pytest.raises(DataError, match=r"small\.png: .*at least 19 pixels"):
        evaluate(baselines(4), [_save(tmp_path / "small.png", _smooth(16, 40))], 4)


def test_evaluate_of_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="0 images"):
        evaluate(baselines(4), [], 4)
    with pytest.raises(DataError, match="0 models, 0 folders of results"):
        evaluate({}, [tmp_path / "a.png"], 4)


ROWS = [
    _row("in/a.png", "bicubic", 28.0, 0.8, 26.0, 0.7),
    _row("in/a.png", "mine", 31.0, 0.9, 29.0, 0.85),
    _row("in/sub/b.png", "bicubic", 30.0, 0.9, 27.0, 0.8),
    _row("in/sub/b.png", "mine", 31.5, 0.92, math.inf, 1 / 3),
]


def test_summary_is_the_mean_by_model():
    summary = summarize(ROWS)
    assert list(summary) == ["bicubic", "mine"]
    assert summary["bicubic"] == pytest.approx({"psnr_y": 29.0, "ssim_y": 0.85, "psnr_rgb": 26.5, "ssim_rgb": 0.75})
    assert summary["mine"]["psnr_y"] == 31.25
    assert summary["mine"]["psnr_rgb"] == math.inf


def _full_row(model: str, peaks: tuple[float, ...], drift: tuple[float, ...], lpips: float = math.nan) -> Row:
    basic = _row("in/a.png", model, 30.0, 0.9, 29.0, 0.8).vectors
    more = {"grid": np.array(peaks), "colour": np.array(drift), "lpips": np.array([lpips])}
    return Row(Path("in/a.png"), model, {**basic, **more})


FULL_ROWS = [
    _full_row("gan", (1.0, 1.5), (-1.0, 0.5, 0.0), 0.125),
    _full_row("gan", (2.0, 1.0), (-2.0, 0.5, 0.0), 0.25),
    _full_row("plain", (1.0, 1.0), (0.0, 0.0, 0.25)),
]


def test_summary_has_grid_drift_and_lpips_where_they_were_measured():
    summary = summarize(FULL_ROWS, [*BASIC, LPIPS])
    assert summary["gan"]["grid"] == 1.5  # the largest of the mean peaks (1.5, 1.25), not the mean of the largest
    assert summary["gan"]["colour"] == 1.5
    assert summary["gan"]["lpips"] == 0.1875
    assert list(summary["plain"]) == [*METRICS, "grid", "colour"]
    assert list(summarize(ROWS)["mine"]) == list(METRICS)


def test_table_leaves_a_dash_where_a_figure_is_missing():
    measures = [*BASIC, LPIPS]
    assert format_table(summarize(FULL_ROWS, measures), measures).splitlines() == [
        "model  PSNR-Y  SSIM-Y  PSNR-RGB  SSIM-RGB  grid  colour   LPIPS",
        "gan     30.00  0.9000     29.00    0.8000  1.50    1.50  0.1875",
        "plain   30.00  0.9000     29.00    0.8000  1.00    0.25       -",
    ]


def test_csv_has_the_figures_of_each_image(tmp_path):
    write_csv(FULL_ROWS, tmp_path / "rows.csv", [*BASIC, LPIPS])
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines() == [
        "file,model,psnr_y,ssim_y,psnr_rgb,ssim_rgb,grid,drift_red,drift_green,drift_blue,lpips",
        "a.png,gan,30.0,0.9,29.0,0.8,1.5,-1.0,0.5,0.0,0.125",
        "a.png,gan,30.0,0.9,29.0,0.8,2.0,-2.0,0.5,0.0,0.25",
        "a.png,plain,30.0,0.9,29.0,0.8,1.0,0.0,0.0,0.25,",
    ]


def test_table_is_aligned():
    table = format_table(summarize([*ROWS, _row("in/a.png", "a longer name", 8.0, 0.1, 9.5, 0.25)]))
    assert table.splitlines() == [
        "model          PSNR-Y  SSIM-Y  PSNR-RGB  SSIM-RGB",
        "bicubic         29.00  0.8500     26.50    0.7500",
        "mine            31.25  0.9100       inf    0.5917",
        "a longer name    8.00  0.1000      9.50    0.2500",
    ]


def test_csv_holds_every_row_and_no_absolute_path(tmp_path):
    path = tmp_path / "rows.csv"
    write_csv([Row(tmp_path / row.file, row.model, row.vectors) for row in ROWS], path)
    with path.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.reader(stream))
    assert lines[0] == ["file", "model", "psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"]
    assert lines[1] == ["a.png", "bicubic", "28.0", "0.8", "26.0", "0.7"]
    assert lines[4] == ["sub/b.png", "mine", "31.5", "0.92", "inf", "0.333333"]
    assert len(lines) == 5
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_csv_needs_rows_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        write_csv([], tmp_path / "rows.csv")
    with pytest.raises(OutputError, match=r"rows\.csv: cannot be written"):
        write_csv(ROWS, tmp_path / "missing" / "rows.csv")
    assert list(tmp_path.iterdir()) == []


def test_measuring_imports_no_tensorflow():
    code = (
        "import sys, keras_fsr.evaluation.sheet;"
        "print([name for name in ('tensorflow', 'keras', 'skimage') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.skipif(not FACES.is_dir(), reason="the face test set ../shared/faces is absent")
def test_interpolation_on_the_face_test_set():
    # Provenance: the baseline file beside the face set (73 crops of test/256, x4; psnr_y_shave is this
    # protocol) for PSNR-Y; for PSNR-RGB it has no border cut, 26.8155 and 27.1067, which is within 0.01 here.
    files = sorted(FACES.glob("*.jpg"))
    assert len(files) == 73
    summary = summarize(evaluate(baselines(4), files, 4))
    assert summary["bicubic"]["psnr_y"] == pytest.approx(28.3035, abs=0.001)
    assert summary["bicubic"]["psnr_rgb"] == pytest.approx(26.81, abs=0.01)
    assert summary["lanczos"]["psnr_y"] == pytest.approx(28.5946, abs=0.001)
    assert summary["lanczos"]["psnr_rgb"] == pytest.approx(27.11, abs=0.01)
    # Neither the originals nor interpolations carry a grid or shift colours; seen once and kept.
    assert originals(files, 4)["grid"] == pytest.approx(1.021, abs=0.002)
    assert summary["bicubic"]["grid"] == pytest.approx(0.993, abs=0.002)
    assert summary["bicubic"]["colour"] < 0.01
