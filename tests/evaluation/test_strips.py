"""Strips: which images are chosen, what stands in which column, and where eyes and mouth are found."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DataError, ModelError
from keras_fsr.evaluation import strips
from keras_fsr.evaluation.measures import Measure
from keras_fsr.evaluation.protocol import Row, reduce_image
from keras_fsr.evaluation.strips import CELL, GAP, compose, draw_strip, face_parts, shown, span, worst_and_best

TOP = 15 + 2 * GAP  # of the first row, below the titles
MORE = Measure("psnr_y", "PSNR-Y", ".2f", None, higher_is_better=True)
LESS = Measure("lpips", "LPIPS", ".4f", None)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    # Up to 200, never the background of a strip.
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), np.uint8)


def cell(strip: Image.Image, column: int, top: int, height: int) -> np.ndarray:
    left = GAP + column * (CELL + GAP)
    return np.asarray(strip)[top : top + height, left : left + CELL]


# --- which images


def rows_of(figures: list[float], measure: Measure, model: str = "mine") -> list[Row]:
    return [Row(Path(f"{i}.png"), model, {measure.key: np.array([figure])}) for i, figure in enumerate(figures)]


def numbers(files: list[Path]) -> list[int]:
    return [int(file.stem) for file in files]


FIGURES = [float((7 * i) % 12) for i in range(12)]  # 0..11, mixed: file i has 7 i mod 12


@pytest.mark.parametrize(("measure", "sign"), [(MORE, 1), (LESS, -1)], ids=["more", "less"])
def test_worst_and_best_are_five_each_from_the_outermost_inwards(measure, sign):
    worst, best = worst_and_best(rows_of(FIGURES, measure), "mine", measure)
    order = sorted(range(12), key=lambda i: sign * FIGURES[i])
    assert numbers(worst) == order[:5]
    assert numbers(best) == order[:-6:-1]


@pytest.mark.parametrize(
    ("figures", "worst", "best"),
    [
        ([3.0], [], [0]),
        ([3.0, 1.0], [1], [0]),
        ([3.0, 1.0, 2.0], [1], [0]),
        ([3.0, 1.0, 2.0, 4.0], [1, 2], [3, 0]),
        ([float(i) for i in range(9)], [0, 1, 2, 3], [8, 7, 6, 5]),
        ([float(i) for i in range(10)], [0, 1, 2, 3, 4], [9, 8, 7, 6, 5]),
    ],
)
def test_few_images_are_none_in_both(figures, worst, best):
    found = worst_and_best(rows_of(figures, MORE), "mine", MORE)
    assert tuple(map(numbers, found)) == (worst, best)


def test_images_without_a_figure_and_other_models_are_passed_over():
    rows = [*rows_of([1.0, math.nan, 3.0], LESS), *rows_of([9.0, 8.0, 7.0], LESS, "other")]
    assert tuple(map(numbers, worst_and_best(rows, "mine", LESS))) == ([2], [0])
    assert worst_and_best(rows_of([math.nan] * 4, LESS), "mine", LESS) == ([], [])


def test_perfect_images_are_best():
    worst, best = worst_and_best(rows_of([30.0, math.inf, 20.0, math.inf], MORE), "mine", MORE)
    assert sorted(numbers(best)) == [1, 3]
    assert numbers(worst) == [2, 0]


# --- a strip


@pytest.fixture
def hr(save_image) -> Path:
    return save_image("a.png", noise(66, 64))  # two rows more than a multiple of the scale


def white(lr: np.ndarray) -> np.ndarray:
    return np.full((lr.shape[0] * 4, lr.shape[1] * 4, 3), 255, np.uint8)


def test_columns_are_input_models_results_and_original(hr, save_image):
    theirs = noise(64, 64, seed=9)
    results = {"theirs": {hr: save_image("theirs/a.png", theirs)}}
    black = {"black": lambda lr: 0 * white(lr)}
    strip = draw_strip(hr, {"white": white} | black, results, 4)
    original = noise(66, 64)[:64]
    lr = reduce_image(original, 4)
    columns = [lr.repeat(4, 0).repeat(4, 1), white(lr), 0 * white(lr), theirs, original]
    assert strip.width == GAP + 5 * (CELL + GAP)
    parts = face_parts(original)
    for number, image in enumerate(columns):
        np.testing.assert_array_equal(cell(strip, number, TOP, CELL), image.repeat(4, 0).repeat(4, 1))
        top = TOP + CELL + GAP
        for part in parts:
            expected = np.asarray(shown(image[part]))
            np.testing.assert_array_equal(cell(strip, number, top, len(expected)), expected)
            top += len(expected) + GAP
        assert top == strip.height


def test_titles_and_captions_belong_to_their_columns(hr, monkeypatch):
    drawn = []
    monkeypatch.setattr(strips, "compose", lambda *arguments: drawn.append(arguments))
    draw_strip(hr, {"white": white, "more": white}, {}, 4, captions={"more": "PSNR-Y 4.00"})
    draw_strip(hr, {"white": white}, {}, 4)
    (_, titles, captions), (_, _, none) = drawn
    assert titles == ["input (1/4)", "white", "more", "original"]
    assert captions == ["", "", "PSNR-Y 4.00", ""]
    assert none == [""] * 3


def test_the_input_is_what_the_models_were_given(hr):
    lr, seen = noise(16, 16, seed=5), []

    def model(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return white(image)

    strip = draw_strip(hr, {"m": model}, {}, 4, make_lr=lambda file, image: lr if file == hr else None)
    np.testing.assert_array_equal(seen, [lr])
    np.testing.assert_array_equal(cell(strip, 0, TOP, CELL), lr.repeat(16, 0).repeat(16, 1))


def test_the_parts_are_those_of_the_original(hr, monkeypatch):
    looked_at = []
    monkeypatch.setattr(strips, "face_parts", lambda image: looked_at.append(image) or [(slice(0, 8), slice(0, 16))])
    strip = draw_strip(hr, {"white": white}, {}, 4)
    np.testing.assert_array_equal(looked_at, [noise(66, 64)[:64]])
    assert strip.height == TOP + CELL + GAP + CELL // 2 + GAP


def test_what_does_not_fit_is_refused(hr, save_image):
    with pytest.raises(ModelError, match="model m gave"):
        draw_strip(hr, {"m": lambda lr: lr}, {}, 4)
    with pytest.raises(DataError, match=r"a\.png: theirs has no result"):
        draw_strip(hr, {}, {"theirs": {}}, 4)
    with pytest.raises(DataError, match="66 pixels|64x66"):
        draw_strip(hr, {}, {"theirs": {hr: hr}}, 4)


def test_text_stands_outside_the_images():
    images = [Image.new("RGB", (CELL, height), (90, 90, 90)) for height in (200, 100, 120)]
    blank, titled, captioned = (
        np.asarray(compose([images, images], titles, captions))
        for titles, captions in ((["", ""], ["", ""]), (["left", "right"], ["", ""]), (["", ""], ["", "below"]))
    )
    assert len(blank) == TOP + 200 + GAP + 100 + GAP + 120 + GAP
    changed = (blank != titled).any(axis=-1)
    assert changed[:TOP, :CELL].any()
    assert changed[:TOP, CELL + 2 * GAP :].any()
    assert not changed[TOP:].any()
    # A caption makes its own line between the first row and the second, and stands in its column.
    assert len(captioned) == len(blank) + TOP - GAP
    line = captioned[TOP + 200 : TOP + 200 + TOP] != np.array(strips.BACKGROUND)
    assert line[:, CELL + 2 * GAP :].any()
    assert not line[:, : CELL + GAP].any()
    assert (captioned[TOP + 200 + TOP :] == blank[TOP + 200 + GAP :]).all()


def test_a_long_name_stays_in_its_column():
    images = [Image.new("RGB", (CELL, 40))]
    sheet = np.asarray(compose([images, images], ["a very long name " * 8, ""], ["", ""]))
    ink = (sheet != np.array(strips.BACKGROUND)).any(axis=-1)[:TOP]
    assert ink[:, : GAP + CELL].any()
    assert not ink[:, GAP + CELL :].any()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), (256, 256)), ((32, 64), (256, 128)), ((512, 1024), (256, 128)), ((1, 512), (256, 1))],
)
def test_images_are_shown_at_the_cells_width(size, expected):
    assert shown(noise(*size)).size == expected


def test_small_images_show_their_pixels_and_large_ones_are_reduced_smoothly():
    small, large = noise(16, 32), noise(256, 512)
    np.testing.assert_array_equal(shown(small), small.repeat(8, 0).repeat(8, 1))
    expected = Image.fromarray(large).resize((256, 128), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(shown(large), expected)


# --- eyes and mouth

# The portrait in scikit-image's astronaut(), a photograph by NASA (public domain): the middles of the eyes and two
# corners of the box of the lips, (x, y), read by eye off the crop enlarged four times under a grid of 16 pixels.
PORTRAIT = (slice(0, 256), slice(130, 386))
EYES = ((73, 100), (117, 103))
LIPS = ((74, 139), (114, 154))


def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


def holds(part: tuple[slice, slice], point: tuple[float, float], margin: int = 0) -> bool:
    rows, columns = part
    x, y = point
    return columns.start + margin <= x < columns.stop - margin and rows.start + margin <= y < rows.stop - margin


@pytest.mark.parametrize("factor", [0.5, 1, 2, 3])
def test_eyes_and_mouth_of_a_portrait_are_found(factor):
    portrait = Image.fromarray(astronaut()[PORTRAIT])
    side = round(256 * factor)
    image = np.asarray(portrait.resize((side, side), Image.Resampling.LANCZOS))
    eyes, mouth = face_parts(image)
    for x, y in EYES:
        assert holds(eyes, (x * factor, y * factor), margin=round(8 * factor))
        assert not holds(mouth, (x * factor, y * factor))
    for x, y in LIPS:
        assert holds(mouth, (x * factor, y * factor), margin=round(4 * factor))
        assert not holds(eyes, (x * factor, y * factor))
    for rows, columns in (eyes, mouth):  # close-ups, not the whole head
        assert columns.stop - columns.start < 0.5 * side
        assert rows.stop - rows.start < 0.2 * side


@pytest.mark.parametrize("large_first", [True, False])
def test_of_two_faces_the_larger_is_taken(large_first):
    portrait = astronaut()[PORTRAIT]
    small = np.full_like(portrait, 200)
    small[:192, :192] = np.asarray(Image.fromarray(portrait).resize((192, 192), Image.Resampling.LANCZOS))
    pair = np.concatenate([portrait, small] if large_first else [small, portrait], axis=1)
    eyes, mouth = face_parts(pair)
    left = 0 if large_first else 256
    assert all(holds(eyes, (x + left, y)) for x, y in EYES)
    assert all(holds(mouth, (x + left, y)) for x, y in LIPS)


def middle_of(part: slice) -> float:
    return (part.start + part.stop) / 2


def test_without_a_face_the_middle_is_taken_for_one():
    # By hand: a face of 3/4 of 384 pixels, from 48 down; the eyes at 0.39, the mouth at 0.79 of it. They are 248x104
    # and 173x98 pixels; for both the nearest whole factor to fill 256 is 1, and they grow to it as they are.
    image = np.zeros((384, 512, 3), np.uint8)
    for (rows, columns), down, height in zip(face_parts(image), (160, 276), (107, 145), strict=True):
        assert (columns.start, columns.stop) == (128, 384)
        assert middle_of(rows) == pytest.approx(down, abs=1)
        assert rows.stop - rows.start == pytest.approx(height, abs=1)


def test_a_face_that_is_small_in_the_picture_is_none():
    whole = np.pad(astronaut(), ((0, 512), (0, 512), (0, 0)))  # 1024 pixels; the face has about 100
    assert face_parts(whole) == face_parts(np.zeros_like(whole))


def test_a_whole_factor_fills_the_cell():
    for side in range(20, 300, 7):
        for _, columns in face_parts(np.zeros((side, side, 3), np.uint8)):
            width = columns.stop - columns.start
            factor = max(1, round(CELL / width))
            assert abs(CELL - factor * width) <= factor / 2, side


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (4, 4), (11, 12), (19, 19), (24, 400), (400, 24)])
def test_parts_of_tiny_images_are_within_them_and_not_empty(size):
    for part, limit in ((part[axis], size[axis]) for part in face_parts(noise(*size)) for axis in (0, 1)):
        assert 0 <= part.start < part.stop <= limit


def test_strips_of_tiny_images_can_be_drawn(save_image):
    file = save_image("tiny.png", noise(4, 4))
    assert draw_strip(file, {"white": white}, {}, 4).width == GAP + 3 * (CELL + GAP)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((10, 4, 20), (8, 12)),
        ((1, 4, 20), (0, 4)),
        ((19.5, 4, 20), (16, 20)),
        ((10, 40, 20), (0, 20)),
        ((10.4, 4.4, 20), (8, 12)),
    ],
)
def test_span_stays_within_the_image(arguments, expected):
    found = span(*arguments)
    assert (found.start, found.stop) == expected
