"""Before/after sheets: where pixels land, what text is drawn, and which files are chosen."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from keras_fsr.errors import DataError, OutputError
from keras_fsr.evaluation.protocol import Row, baselines, evaluate, reduce_image
from keras_fsr.evaluation.sheet import _Layout, _shortened, contact_sheet, evaluation_sheet, pick_files

BACKGROUND = (246, 246, 244)


def _noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    # Up to 200, never the background: an image can then be told from what surrounds it.
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def _cell(sheet: Image.Image, cell: int, row: int, column: int, columns: int, rows: int) -> np.ndarray:
    x, y = _Layout(cell, columns, rows).corner(row, column)
    return np.asarray(sheet)[y : y + cell, x : x + cell]


def _nearest(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _ink(area: np.ndarray) -> int:
    return int((area != np.array(BACKGROUND)).any(axis=-1).sum())


def test_cells_hold_the_exact_pixels():
    images = [[_noise(64, 64, seed=2 * row + column) for column in range(2)] for row in range(3)]
    sheet = contact_sheet([("row", pair) for pair in images], ["left", "right"], cell=64)
    for row in range(3):
        for column in range(2):
            np.testing.assert_array_equal(_cell(sheet, 64, row, column, 2, 3), images[row][column])


def test_size_grows_by_whole_rows_and_columns():
    image = _noise(64, 64)
    one = contact_sheet([("", [image])], ["t"], cell=64)
    wide = contact_sheet([("", [image] * 3)], ["t"] * 3, cell=64)
    tall = contact_sheet([("", [image])] * 3, ["t"], cell=64)
    assert one.mode == "RGB"
    assert wide.height == one.height
    assert tall.width == one.width
    assert wide.width - one.width == 2 * (64 + 6)
    assert (tall.height - one.height) % 2 == 0
    assert tall.height - one.height > 2 * 64


def test_smaller_images_of_a_row_are_enlarged_by_nearest():
    lr, hr = _noise(16, 16), _noise(64, 64)
    sheet = contact_sheet([("", [lr, hr])], ["input", "original"], cell=64)
    np.testing.assert_array_equal(_cell(sheet, 64, 0, 0, 2, 1), _nearest(lr, 4))


def test_a_small_row_is_enlarged_by_a_whole_factor_and_centred():
    image = _noise(20, 30)
    sheet = contact_sheet([("", [image])], ["t"], cell=64)
    shown = _cell(sheet, 64, 0, 0, 1, 1)
    np.testing.assert_array_equal(shown[12:52, 2:62], _nearest(image, 2))
    assert _ink(shown) == 40 * 60


def test_an_image_between_half_and_whole_cell_keeps_its_pixels():
    image = _noise(50, 40)
    sheet = contact_sheet([("", [image])], ["t"], cell=64)
    np.testing.assert_array_equal(_cell(sheet, 64, 0, 0, 1, 1)[7:57, 12:52], image)


def test_large_images_are_reduced_by_lanczos_and_the_input_is_kept_in_step():
    lr, hr = _noise(50, 25), _noise(200, 100)
    sheet = contact_sheet([("", [lr, hr])], ["input", "original"], cell=64)
    expected = np.asarray(Image.fromarray(hr).resize((32, 64), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(_cell(sheet, 64, 0, 1, 2, 1)[:, 16:48], expected)
    assert _ink(_cell(sheet, 64, 0, 1, 2, 1)) == _ink(_cell(sheet, 64, 0, 0, 2, 1)) == 32 * 64


def test_titles_and_captions_are_drawn_outside_the_images():
    image = _noise(128, 128)
    rows = [(["below left", "below right"], [image, image])]
    blank = contact_sheet([(["", ""], [image, image])], ["", ""], cell=128)
    sheet = contact_sheet(rows, ["input", "original"], cell=128)
    assert sheet.size == blank.size
    drawn = (np.asarray(sheet) != np.asarray(blank)).any(axis=-1)
    left, top = _Layout(128, 2, 1).corner(0, 0)
    right = _Layout(128, 2, 1).corner(0, 1)[0]
    for columns in (slice(left, left + 128), slice(right, right + 128)):
        assert drawn[:top, columns].sum() > 50
        assert drawn[top + 128 :, columns].sum() > 50
    assert not drawn[top : top + 128].any()
    # Nothing touches the edge of the sheet: no text is clipped.
    assert not drawn[[0, -1]].any()
    assert not drawn[:, [0, -1]].any()


def test_one_caption_spans_the_row():
    image = _noise(64, 64)
    text = "a caption wider than a cell of 64"
    spanning = contact_sheet([(text, [image] * 4)], ["t"] * 4, cell=64)
    blank = contact_sheet([("", [image] * 4)], ["t"] * 4, cell=64)
    columns = np.flatnonzero((np.asarray(spanning) != np.asarray(blank)).any(axis=(0, 2)))
    assert columns[-1] - columns[0] > 128
    assert abs((columns[0] + columns[-1]) / 2 - spanning.width / 2) < 4


def test_long_text_is_shortened_to_its_width():
    font = ImageFont.load_default(size=12)
    short = _shortened("a very long name of a model that nobody can read", 100, font)
    assert short.endswith("...")
    assert short.startswith("a very")
    assert 60 < font.getlength(short) <= 100
    assert _shortened("bicubic", 100, font) == "bicubic"


def test_a_saved_sheet_is_the_returned_one(tmp_path):
    path = tmp_path / "sheet.png"
    sheet = contact_sheet([("c", [_noise(64, 64)])], ["t"], path, cell=64)
    with Image.open(path) as saved:
        assert saved.format == "PNG"
        np.testing.assert_array_equal(np.asarray(saved), np.asarray(sheet))
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match=r"x\.png: cannot be written"):
        contact_sheet([("c", [_noise(64, 64)])], ["t"], tmp_path / "missing" / "x.png", cell=64)


@pytest.mark.parametrize(
    ("rows", "titles", "message"),
    [
        ([], ["t"], "0 rows"),
        ([("", [])], [], "0 columns"),
        ([("", [_noise(8, 8)])], ["a", "b"], "row 0 has 1 images and 2 captions for 2 columns"),
        ([(["a", "b"], [_noise(8, 8)])], ["a"], "row 0 has 1 images and 2 captions for 1 columns"),
    ],
)
def test_rows_must_match_the_titles(rows, titles, message):
    with pytest.raises(DataError, match=message):
        contact_sheet(rows, titles)


def _rows(gains: dict[str, float]) -> list[Row]:
    rows = []
    for name, gain in gains.items():
        rows.append(_row(name, "bicubic", 28.0, 0.8))
        rows.append(_row(name, "mine", 28.0 + gain, 0.9))
    return rows


def _row(name: str, model: str, psnr: float, ssim: float) -> Row:
    return Row(Path(name), model, {"psnr_y": np.array([psnr]), "ssim_y": np.array([ssim])})


def test_pick_takes_two_of_each_kind_in_order_of_gain():
    gains = {f"{index}": float((index * 7) % 11) for index in range(11)}  # every gain from 0 to 10 once
    picked = pick_files(_rows(gains), "mine")
    assert [(label, gains[file.name]) for label, file in picked] == [
        ("largest gain", 10.0),
        ("largest gain", 9.0),
        ("median gain", 6.0),
        ("median gain", 5.0),
        ("smallest gain", 1.0),
        ("smallest gain", 0.0),
    ]


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({"a": -1.0}, [("largest gain", "a")]),
        ({"a": -1.0, "b": 2.0}, [("largest gain", "b"), ("smallest gain", "a")]),
        (
            {"a": 1.0, "b": 3.0, "c": 2.0},
            [("largest gain", "b"), ("median gain", "c"), ("smallest gain", "a")],
        ),
    ],
)
def test_pick_of_few_files_shows_none_twice(gains, expected):
    assert [(label, file.name) for label, file in pick_files(_rows(gains), "mine")] == expected


def test_pick_orders_two_perfect_images_as_no_gain():
    perfect = [_row("b", model, float("inf"), 1.0) for model in ("bicubic", "mine")]
    picked = pick_files([*_rows({"a": -1.0, "c": 1.0}), *perfect], "mine")
    assert [file.name for _, file in picked] == ["c", "b", "a"]


def test_pick_needs_model_and_baseline_for_every_file():
    rows = _rows({"a": 1.0, "b": 2.0})
    with pytest.raises(DataError, match="lack other"):
        pick_files(rows, "other")
    with pytest.raises(DataError, match="lack bicubic"):
        pick_files([row for row in rows if row.model == "mine"], "mine")
    with pytest.raises(DataError, match="lack bicubic"):
        pick_files(rows[1:], "mine")


def _nearest_model(lr: np.ndarray) -> np.ndarray:
    return _nearest(lr, 4)


def test_evaluation_sheet_shows_input_bicubic_model_original(tmp_path):
    hr = _noise(256, 256)
    Image.fromarray(hr).save(tmp_path / "face.png")
    models = {**baselines(4), "mine": _nearest_model}
    rows = evaluate(models, [tmp_path / "face.png"], 4)
    sheet = evaluation_sheet(rows, models, 4, tmp_path / "sheet.png")
    lr = reduce_image(hr, 4)
    expected = [_nearest(lr, 4), baselines(4)["bicubic"](lr), _nearest_model(lr), hr]
    for column, image in enumerate(expected):
        np.testing.assert_array_equal(_cell(sheet, 256, 0, column, 4, 1), image)
    before, after = ([float(rows[i].vectors[key][0]) for key in ("psnr_y", "ssim_y")] for i in (0, 2))
    captions = [
        f"largest gain: {after[0] - before[0]:+.2f} dB",
        f"{before[0]:.2f} dB, SSIM {before[1]:.3f}",
        f"{after[0]:.2f} dB, SSIM {after[1]:.3f}",
        "face",
    ]
    whole = contact_sheet([(captions, expected)], ["input (1/4)", "bicubic", "mine", "original"])
    np.testing.assert_array_equal(np.asarray(sheet), np.asarray(whole))
    assert (tmp_path / "sheet.png").is_file()


def test_evaluation_sheet_shows_lr_images_that_are_made_otherwise(tmp_path):
    hr = _noise(256, 250)
    Image.fromarray(hr).save(tmp_path / "face.png")
    models = {**baselines(4), "mine": _nearest_model}

    def make_lr(file: Path, image: np.ndarray) -> np.ndarray:
        assert file == tmp_path / "face.png"
        np.testing.assert_array_equal(image, hr[:, :248])
        return image[::4, ::4]

    rows = evaluate(models, [tmp_path / "face.png"], 4, make_lr=make_lr)
    sheet = evaluation_sheet(rows, models, 4, make_lr=make_lr)
    lr = hr[::4, :248:4]
    for column, image in enumerate([_nearest(lr, 4), baselines(4)["bicubic"](lr), _nearest_model(lr)]):
        np.testing.assert_array_equal(_cell(sheet, 256, 0, column, 4, 1)[:, 4:252], image)


def test_evaluation_sheet_needs_a_model():
    with pytest.raises(DataError, match="interpolations"):
        evaluation_sheet(_rows({"a": 1.0}), baselines(4), 4)
