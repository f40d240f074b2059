"""The papers' tables: what is printed, what is trained, and that a stopped table goes on."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DataError, RecipeError, TrainingError
from keras_fsr.evaluation.protocol import load_pair, reduce_image
from keras_fsr.tables import make
from keras_fsr.tables.papers import TABLES, Table, TableRow
from keras_fsr.training.recipes import save_recipe

TOY = (
    "data.patch_size=16",
    "data.batch_size=2",
    "degradation.presets={real-esrgan: 1.0}",
    "perceptual.weights=random",
    "generator.options={num_features: 8, growth_channels: 4, num_blocks: 1, hardware: true, anchor: true}",
    "adversarial.options={num_features: 4}",
)
LEARNED = TableRow("learned", {"psnr": 24.5, "lpips": 0.387}, "degradation_esrgan_x4")
SMALL = Table(
    title="Toy",
    scale=4,
    columns=("psnr_y", "lpips", "grid"),
    test="test/small",
    patch_size=16,
    rows=(
        TableRow("bicubic", interpolation="bicubic"),
        TableRow("printed only", {"psnr": 26.83}, absent="no public weights"),
        LEARNED,
    ),
    notes=("One note.",),
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    draw = np.random.default_rng(0)
    for name, count in (("train", 3), ("val", 1), ("test/small", 3)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), np.uint8))
            coarse.resize((80, 80), Image.Resampling.BICUBIC).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(TABLES, "T", SMALL)


def test_table_prints_paper_and_own_figures_and_says_what_is_absent(toy, faces, tmp_path):
    text = make.make_table("T", faces, tmp_path, steps=4, progress=lambda _: None, overrides=TOY)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == ["method", "paper PSNR", "paper SSIM", "paper LPIPS", "PSNR-Y", "grid", "minutes", ""]
    by_label = {row[0]: row for row in rows}
    assert by_label["printed only"][1:] == ["26.83", "", "", "", "", "", "no public weights"]
    assert by_label["learned"][1:4] == ["24.50", "", "0.387"]
    assert float(by_label["learned"][4]) > 10
    assert float(by_label["bicubic"][4]) > 10
    assert "One note." in text
    assert "4 steps" in text
    assert (tmp_path / "table_T.md").read_text(encoding="utf-8") == text
    with open(tmp_path / "table_T.csv", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["bicubic", "printed only", "learned"]
    with Image.open(tmp_path / "table_T.png") as sheet:
        assert sheet.width > 3 * make.SHEET_SIDE


def test_a_second_call_trains_nothing_again(toy, faces, tmp_path, monkeypatch):
    first = make.make_table("T", faces, tmp_path, steps=4, progress=lambda _: None, overrides=TOY)

    def refuse(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(make, "train", refuse)
    assert make.make_table("T", faces, tmp_path, steps=4, progress=lambda _: None, overrides=TOY) == first


def test_a_row_of_another_budget_is_refused(toy, faces, tmp_path):
    make.make_table("T", faces, tmp_path, steps=4, progress=lambda _: None, overrides=TOY)
    with pytest.raises(TrainingError, match="was made by other settings"):
        make.make_table("T", faces, tmp_path, steps=8, progress=lambda _: None, overrides=TOY)


def test_a_damaged_log_of_a_row_is_one_line(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,seconds\n1,1.5\n2,3\n")
    assert make.seconds_of(tmp_path) == 4.5
    (tmp_path / "log.csv").write_text("epoch,seconds\n1,x\n")
    with pytest.raises(TrainingError, match=r"log.csv: is damaged"):
        make.seconds_of(tmp_path)


def test_a_stopped_row_is_resumed(toy, faces, tmp_path, monkeypatch):
    run = tmp_path / "rows" / "T" / LEARNED.key
    calls = []

    def stop(recipe, data, out, resume):
        calls.append(resume)
        out.mkdir(parents=True, exist_ok=True)
        save_recipe(recipe, out / "recipe.yaml")
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "train", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            make.make_table("T", faces, tmp_path, steps=4, progress=lambda _: None, overrides=TOY)
    assert calls == [False, True]
    assert run.is_dir()


def test_lr_of_a_table_is_reduced_or_made_by_its_degradation(save_image):
    hr = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    file = save_image("a.png", hr)
    for name, degradation in (("A", ""), ("C", "jiang")):
        table = TABLES[name]
        assert table.degradation == degradation
        lr = load_pair(file, table.scale, make.make_lr(table)).lr
        if degradation:
            expected = Degrader(presets.load(degradation), table.scale)(hr, 0)
            assert lr.std() < 0.5 * reduce_image(hr, table.scale).std()
        else:
            expected = reduce_image(hr, table.scale)
        np.testing.assert_array_equal(lr, expected)


def test_missing_test_folder_is_named(toy, tmp_path):
    with pytest.raises(DataError, match="test/small"):
        make.make_table("T", tmp_path, tmp_path / "out", steps=4)


@pytest.mark.parametrize("steps", [0, 3, 10])
def test_steps_that_make_no_whole_epochs_are_refused(toy, faces, tmp_path, steps):
    with pytest.raises(RecipeError, match=f"{steps} steps are not a multiple of 4"):
        make.make_table("T", faces, tmp_path, steps=steps)


def test_pieapp_row_says_what_it_needs(monkeypatch, tmp_path):
    row = next(row for row in TABLES["B"].rows if row.needs)
    monkeypatch.delenv("KERAS_FSR_WEIGHTS", raising=False)
    assert "PieAPPv0.1.pth" in make.missing(row)
    (tmp_path / "PieAPPv0.1.pth").touch()
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path))
    assert make.missing(row) == ""


@pytest.mark.parametrize("name", sorted(TABLES))
def test_trained_rows_of_a_paper_share_one_budget(name):
    table = TABLES[name]
    recipes = [make.row_recipe(table, row, 40) for row in table.rows if row.recipe]
    budgets = {(r.training.steps, r.data.batch_size, r.data.patch_size, r.scale) for r in recipes}
    assert budgets == {(40, 8, table.patch_size, table.scale)}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_row_is_interpolated_trained_or_explained(name):
    for row in TABLES[name].rows:
        assert bool(row.interpolation) + bool(row.recipe) + bool(row.absent) == 1, row.label
        assert re.fullmatch(r"[a-z0-9_]+", row.key)
