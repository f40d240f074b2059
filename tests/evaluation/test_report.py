"""What a report is made of: folders that are read, settings that are told, files and strips that are made."""

import csv
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DataError, OutputError
from keras_fsr.evaluation import protocol, report, statistics, strips
from keras_fsr.evaluation.measures import BASIC, Measure
from keras_fsr.evaluation.report import Material, Shown
from keras_fsr.evaluation.strips import CELL, GAP

pytest.importorskip("jinja2", reason="needs jinja2: the extra report")
pytest.importorskip("matplotlib", reason="needs matplotlib: the extra report")

PSNR = BASIC[0]
MEASURES = [PSNR]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 50)
    statistics.draws.cache_clear()
    yield
    statistics.draws.cache_clear()


def flat(*colour: int) -> np.ndarray:
    return np.full((32, 32, 3), colour, np.uint8)


GRAY = {f"{level}.png": flat(level, level, level) for level in (10, 60, 110, 160)}


def white(lr: np.ndarray) -> np.ndarray:
    return np.full((lr.shape[0] * 4, lr.shape[1] * 4, 3), 255, np.uint8)


@pytest.fixture
def data(save_image, tmp_path) -> Path:
    """Four gray images: a model that paints white does worst on the darkest."""
    for name, image in GRAY.items():
        save_image(f"faces/hr/{name}", image)
    return tmp_path / "faces" / "hr"


@pytest.fixture
def material(data) -> Material:
    files = sorted(data.iterdir(), key=lambda file: int(file.stem))
    models = {"white": white}
    rows = protocol.evaluate(models, files, 4, measures=MEASURES)
    return Material(rows, MEASURES, {}, models, {})


def write(folder: Path, material: Material, data: Path, groups=None, **options) -> list[Path]:
    report.prepare(folder)
    setting = report.describe(data, sorted(data.iterdir()), 4, options.get("lr"), {"white": "1" * 64}, {})
    return report.write_report(folder, setting, groups or {}, material)


def whole_images(path: Path) -> list[np.ndarray]:
    """The images of a strip's first row, as the mean colour of each."""
    with Image.open(path) as strip:
        pixels = np.asarray(strip.convert("RGB"), float)
    top = 15 + 2 * GAP
    lefts = range(GAP, pixels.shape[1], CELL + GAP)
    return [pixels[top + 8 : top + CELL - 8, left + 8 : left + CELL - 8].mean(axis=(0, 1)) for left in lefts]


# --- what is read


def test_results_belong_to_the_originals(data, save_image):
    for name in GRAY:
        save_image(f"theirs/{Path(name).stem}.jpg", flat(0, 0, 0))
    folder = data.parents[1] / "theirs"
    assert report.read_results([("them", folder)], data) == {
        "them": {data / name: folder / f"{Path(name).stem}.jpg" for name in GRAY}
    }
    assert report.read_results([], data) == {}
    with pytest.raises(DataError, match="two --results of one name"):
        report.read_results([("a", folder), ("a", folder)], data)
    next(folder.iterdir()).unlink()
    with pytest.raises(DataError, match="has no partner"):
        report.read_results([("them", folder)], data)


def test_lr_images_are_found_by_their_originals(data, save_image):
    for name in GRAY:
        save_image(f"lr/{name}", np.full((8, 8, 3), int(Path(name).stem) + 1, np.uint8))
    make_lr = report.read_lr(data.parents[1] / "lr", data)
    assert [make_lr(data / name, None)[0, 0, 0] for name in GRAY] == [11, 61, 111, 161]


def test_shown_images_are_read_with_what_others_made_of_them(data, save_image):
    save_image("show/a.png", flat(1, 2, 3))
    save_image("made/a.png", flat(1, 2, 3))
    show, made = data.parents[1] / "show", data.parents[1] / "made"
    assert report.read_shown(None, [], None) is None
    assert report.read_shown(None, [], data) is None
    shown = report.read_shown(show, [("them", made)], None)
    assert shown == Shown([show / "a.png"], {"them": {show / "a.png": made / "a.png"}})
    with pytest.raises(DataError, match="--show-results are of the images of --show"):
        report.read_shown(None, [("them", made)], None)
    with pytest.raises(DataError, match="not those of --lr-data; leave out one of the two"):
        report.read_shown(show, [], data)


def test_prepare_makes_the_folder_or_says_why_not(tmp_path):
    report.prepare(tmp_path / "a" / "b")
    report.prepare(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be made a folder"):
            report.prepare(path)


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_prepare_needs_the_extra_before_it_makes_anything(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=missing):
        report.prepare(tmp_path / "report")
    assert not (tmp_path / "report").exists()


# --- what is told


def test_the_setting_names_folders_by_two_and_files_by_their_digests(data, save_image, monkeypatch):
    files = [data / name for name in GRAY]
    setting = report.describe(data, files, 4, None, {"m": "1"}, {"pi": "no pyiqa"})
    assert (setting.data, setting.scale, setting.lr_folder) == ("faces/hr", 4, "")
    assert setting.lr == "reduced by Pillow's antialiased bicubic to 8 bits"
    parts = [name.encode() + b"\0" + hashlib.sha256((data / name).read_bytes()).digest() for name in GRAY]
    assert setting.sha256 == hashlib.sha256(b"".join(parts)).hexdigest()
    assert (setting.models, setting.left_out) == ({"m": "1"}, ["pi"])
    monkeypatch.chdir(data)
    assert report.describe(Path(), files, 4, None, {}, {}).data == "faces/hr"
    for name in GRAY:
        save_image(f"lr/{name}", flat(0, 0, 0))
    other = report.describe(data, files, 4, data.parents[1] / "lr", {}, {})
    assert other.lr_folder == "lr"
    assert other.lr.startswith("the images in lr, SHA-256 of names and contents ")
    assert str(data.parents[1]) not in repr(other)


def test_what_is_printed(material):
    niqe = Measure("niqe", "NIQE", ".3f", None)
    # By hand: gray levels are off white by 219 / 255 of 245, 195, 145 and 95 levels of luma; the mean in dB.
    text = report.table(material.rows, 4, [*MEASURES, niqe], {"grid": 1.02, "niqe": 4.5}, {"pi": "no pyiqa"})
    assert text.splitlines() == [
        "4 images, x4, 4 pixels cut from each side",
        "model  PSNR-Y",
        "white    5.36",
        "grid: 1 is none, the originals have 1.02; colour: largest drift, in levels of 255",
        "niqe: the originals have 4.500",
        "not measured: pi: no pyiqa",
    ]
    assert "grid:" not in report.table(material.rows, 4, MEASURES, {"niqe": 4.5}, {})


# --- what is written


def test_every_file_is_written_and_named(data, tmp_path):
    folder, models = tmp_path / "report", {"white": white, **protocol.baselines(4)}
    rows = protocol.evaluate(models, sorted(data.iterdir()), 4, measures=BASIC[:2])
    written = write(folder, Material(rows, BASIC[:2], {}, models, {}), data)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert sorted(path.relative_to(folder).as_posix() for path in written) == found
    assert found == [
        "figures.csv",
        "report.html",
        "report.md",
        "sheet.png",
        "strips/01.webp",
        "strips/02.webp",
        "strips/03.webp",
        "strips/04.webp",
        "summary.json",
    ]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["models"]["white"]["psnr_y"]["images"] == 4
    with open(folder / "figures.csv", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 12
    assert str(tmp_path) not in (folder / "report.md").read_text(encoding="utf-8")


def test_groups_reach_the_page_and_the_summary(material, data, tmp_path):
    groups = {"light": {row.file: "dark" if row.file.stem in ("10", "60") else "bright" for row in material.rows}}
    write(tmp_path / "report", Material(material.rows, MEASURES, {}, {}, {}), data, groups)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["subgroups"]["light"]) == ["bright", "dark"]
    assert "By light" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_a_report_of_interpolations_alone_has_no_sheet(data, tmp_path):
    models = protocol.baselines(4)
    rows = protocol.evaluate(models, sorted(data.iterdir()), 4, measures=MEASURES)
    write(tmp_path / "report", Material(rows, MEASURES, {}, models, {}), data)
    assert not (tmp_path / "report" / "sheet.png").exists()


def test_an_unwritable_file_is_one_line(material, data, tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(13, "Permission denied")

    report.prepare(tmp_path / "report")
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OutputError, match=r"report/figures\.csv: cannot be written \(Permission denied\)"):
        write(tmp_path / "report", material, data)
    assert list((tmp_path / "report").iterdir()) == []


# --- strips


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The arguments of every strip that is drawn."""
    calls = []

    def draw(*arguments):
        calls.append(arguments)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(strips, "draw_strip", draw)
    monkeypatch.setattr("keras_fsr.evaluation.sheet.evaluation_sheet", lambda *a, **k: None)
    return calls


def test_the_worst_and_the_best_are_drawn_with_their_figures(material, data, drawn, tmp_path):
    lr = object()
    write(tmp_path / "report", Material(material.rows, MEASURES, {}, material.models, {"r": {}}, lr), data)
    assert [call[0].stem for call in drawn] == ["10", "60", "160", "110"]
    for call in drawn:
        level = int(call[0].stem)
        error = (255 - level) * 219.0 / 255  # of luma, from 16 to 235
        assert call[1:5] == (material.models, {"r": {}}, 4, lr)
        assert call[5] == {"white": f"PSNR-Y {20 * math.log10(255 / error):.2f}"}
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    titles = [line for line in markdown.splitlines() if line.startswith("### ")]
    assert titles == ["### Worst: 10", "### Worst: 60", "### Best: 160", "### Best: 110"]
    assert "Worst: 10, 60" in markdown


def test_lpips_orders_where_it_was_measured(material, data, drawn, tmp_path):
    lpips = Measure("lpips", "LPIPS", ".4f", None)
    values = {"10": 0.2, "60": 0.4, "110": 0.1, "160": 0.3}
    rows = [
        protocol.Row(row.file, row.model, {**row.vectors, "lpips": np.array([values[row.file.stem]])})
        for row in material.rows
    ]
    write(tmp_path / "report", Material(rows, [PSNR, lpips], {}, material.models, {}), data)
    assert [call[0].stem for call in drawn] == ["60", "160", "110", "10"]
    assert drawn[0][5] == {"white": "LPIPS 0.4000"}


def test_shown_images_take_the_place_of_all_measured_ones(material, data, save_image, tmp_path):
    save_image("show/one.png", flat(200, 0, 0))
    save_image("show/two.png", flat(0, 0, 200))
    save_image("made/one.png", flat(0, 180, 0))
    save_image("made/two.png", flat(0, 90, 0))
    shown = report.read_shown(tmp_path / "show", [("them", tmp_path / "made")], None)
    folder = tmp_path / "report"
    theirs = {"theirs": {row.file: row.file for row in material.rows}}
    written = write(folder, Material(material.rows, MEASURES, {}, {"white": white}, theirs, None, shown), data)
    pictures = [path for path in written if path.suffix in (".webp", ".png")]
    assert pictures == [folder / "strips" / "01.webp", folder / "strips" / "02.webp"]
    assert sorted(path for path in folder.rglob("*") if path.suffix in (".webp", ".png")) == pictures
    # input, white, them, original; of no gray, which is what was measured
    for path, (original, made) in zip(pictures, (((200, 0, 0), (0, 180, 0)), ((0, 0, 200), (0, 90, 0))), strict=True):
        found = whole_images(path)
        assert len(found) == 4
        for colour, expected in zip(found, (original, (255, 255, 255), made, original), strict=True):
            np.testing.assert_allclose(colour, expected, atol=3)  # WebP
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h3>one</h3>" in html
    assert html.count("data:image/webp") == 2
    assert "<h3>Worst" not in html


def test_measured_images_are_drawn_where_none_are_shown(material, data, tmp_path):
    folder = tmp_path / "report"
    write(folder, Material(material.rows, MEASURES, {}, {}, {}), data)
    levels = [whole_images(path)[-1][0] for path in sorted((folder / "strips").iterdir())]
    assert levels == pytest.approx([10, 60, 160, 110], abs=3)
