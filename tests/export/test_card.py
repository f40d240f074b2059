"""export/card.py: the figures of a model's card are those of reports on the very file that is shipped."""

import copy
import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli, pretrained
from keras_fsr.errors import DataError
from keras_fsr.evaluation import statistics

SCRIPT = Path(__file__).parents[2] / "export" / "card.py"
DIGEST = "ab" * 32
CARD = pretrained.Card(
    name="mine",
    description="text",
    scale=4,
    parameters=7,
    licence="Apache-2.0",
    sha256={"mine.keras": "cd" * 32, "mine.tflite": DIGEST},
    architecture={"class": "RRDB"},
    training={"hours": 1},
    figures={"headline": "not measured yet", "old/set": {"mine": {"psnr_y": 1.0}}},
    limits=["one"],
    subgroups={"old": {}},
)


@pytest.fixture(scope="module")
def card():
    spec = importlib.util.spec_from_file_location("export_card", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figure(mean: float, half: float | None = 0.123456, **more) -> dict:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high, "images": 73, **more}


def summary_of(folder: str = "test/256", lr_folder: str = "", shift: float = 0.0) -> dict:
    """As of `evaluation.summary`: two models, LPIPS, one group of two parts."""
    mine = {"psnr_y": figure(31.623456 + shift), "ssim_y": figure(0.874567), "lpips": figure(0.21339, 0.01)}
    other = {
        "psnr_y": figure(28.3, difference={"mean": -3.0, "low": -4.0, "high": -2.0}),
        "ssim_y": figure(0.81, None),
    }
    group = {name: {"psnr_y": figure(30.0 + shift)} for name in ("mine", "other", "bicubic")}
    return {
        "data": {"folder": folder, "lr_folder": lr_folder},
        "images": 73,
        "models": {"mine": mine, "bicubic": other},
        "subgroups": {"source": {"drawn": {"images": 25, "models": group}, "real": {"images": 1, "models": group}}},
        "sha256": {"mine": DIGEST},
    }


def test_figures_are_rounded_and_have_their_intervals(card):
    figures = card.filled(CARD, [summary_of()]).figures
    assert list(figures) == ["test/256", "headline"]
    assert figures["test/256"] == {
        "mine": {
            "images": 73,
            "psnr_y": 31.6235,
            "psnr_y_95": [31.5, 31.7469],
            "ssim_y": 0.8746,
            "ssim_y_95": [0.7511, 0.998],
            "lpips": 0.2134,
            "lpips_95": [0.2034, 0.2234],
        },
        "bicubic": {"images": 73, "psnr_y": 28.3, "psnr_y_95": [28.1765, 28.4235], "ssim_y": 0.81},
    }


def test_groups_are_of_the_model_and_of_bicubic(card):
    subgroups = card.filled(CARD, [summary_of()]).subgroups
    assert subgroups == {
        f"test/256, source {name}": {
            model: {"images": images, "psnr_y": 30.0, "psnr_y_95": [29.8765, 30.1235]}
            for model in ("mine", "bicubic")
        }
        for name, images in (("drawn", 25), ("real", 1))
    }


def test_the_headline_is_that_of_the_first_report(card):
    reports = [summary_of(), summary_of("test/512", shift=1.0)]
    assert card.filled(CARD, reports).figures["headline"] == "test/256: PSNR-Y 31.62 dB, SSIM-Y 0.8746, LPIPS 0.2134"
    filled = card.filled(CARD, reports[::-1])
    assert list(filled.figures) == ["test/512", "test/256", "headline"]
    assert filled.figures["headline"].startswith("test/512: PSNR-Y 32.62 dB")
    assert len(filled.subgroups) == 4
    del reports[0]["models"]["mine"]["lpips"]
    assert card.filled(CARD, reports).figures["headline"] == "test/256: PSNR-Y 31.62 dB, SSIM-Y 0.8746"


def test_nothing_else_of_the_card_changes(card):
    filled = card.filled(CARD, [summary_of()])
    for field in dataclasses.fields(CARD):
        if field.name not in ("figures", "subgroups"):
            assert getattr(filled, field.name) == getattr(CARD, field.name)
    assert "old/set" not in filled.figures
    assert "old" not in filled.subgroups
    assert CARD.figures["headline"] == "not measured yet"


def test_data_with_lr_images_of_their_own_have_another_name(card):
    both = card.filled(CARD, [summary_of(), summary_of(lr_folder="lr_real")])
    assert list(both.figures) == ["test/256", "test/256 from lr_real", "headline"]
    with pytest.raises(DataError, match="test/256 from lr: two reports are of these data; leave one out"):
        card.filled(CARD, [summary_of(lr_folder="lr"), summary_of(), summary_of(lr_folder="lr")])


@pytest.mark.parametrize("digests", [{"mine": "cd" * 32}, {"mine@0.5": DIGEST}, {"other": DIGEST}, {}])
def test_a_report_of_another_file_is_refused(card, digests):
    other = copy.deepcopy(summary_of("test/512"))
    other["sha256"] = digests
    with pytest.raises(DataError, match="test/512: the report is not of the mine that is shipped; measure it again"):
        card.filled(CARD, [summary_of(), other])


def test_a_folder_without_a_summary_is_refused(card, tmp_path):
    with pytest.raises(DataError, match=r"summary\.json: is no summary of a report .*; give a folder of evaluate"):
        card.read(tmp_path)
    (tmp_path / "summary.json").write_text('{"models": ', encoding="utf-8")
    with pytest.raises(DataError, match=r"summary\.json: is no summary of a report") as caught:
        card.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def run(card, monkeypatch, capsys):
    """Calls the script and returns its exit code, output and errors."""

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["card.py", *map(str, arguments)])
        return card.main(), *capsys.readouterr()

    return run


@pytest.fixture
def report(tmp_path, shipped_pair, monkeypatch) -> Path:
    """A report on a pair of shipped models, with groups."""
    pytest.importorskip("jinja2", reason="needs jinja2: the extra report")
    monkeypatch.setattr(statistics, "RESAMPLES", 50)
    statistics.draws.cache_clear()
    (tmp_path / "hr").mkdir()
    for seed in range(2):
        coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / "hr" / f"{seed}.png")
    (tmp_path / "faces.csv").write_text("file,source\n0.png,drawn\n1.png,real\n", encoding="utf-8")
    arguments = ["--models", "face_x4_gan,face_x4", "--data", tmp_path / "hr", "--report", tmp_path / "report"]
    arguments += ["--manifest", tmp_path / "faces.csv", "--by", "source"]
    assert cli.main(["evaluate", *map(str, arguments)]) == 0
    statistics.draws.cache_clear()
    return tmp_path / "report"


def test_a_card_is_filled_from_a_report(run, report, shipped_pair, tmp_path):
    before = pretrained.card("face_x4_gan")
    code, out, err = run("face_x4_gan", report)
    assert (code, err) == (0, "")
    after = pretrained.card("face_x4_gan")
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    label = f"{tmp_path.name}/hr"
    assert out == after.figures["headline"] + "\n"
    assert list(after.figures) == [label, "headline"]
    assert list(after.figures[label]) == ["face_x4_gan", "face_x4", "bicubic", "lanczos"]
    for name, figures in after.figures[label].items():
        psnr = summary["models"][name]["psnr_y"]
        assert figures["images"] == 2
        assert figures["psnr_y"] == pytest.approx(psnr["mean"], abs=1e-4)
        assert figures["psnr_y_95"] == pytest.approx([psnr["low"], psnr["high"]], abs=1e-4)
    assert list(after.subgroups) == [f"{label}, source drawn", f"{label}, source real"]
    part = after.subgroups[f"{label}, source real"]
    assert list(part) == ["face_x4_gan", "bicubic"]
    assert part["face_x4_gan"]["images"] == 1
    assert "psnr_y_95" not in part["face_x4_gan"]
    assert (after.sha256, after.fidelity, after.limits) == (before.sha256, before.fidelity, before.limits)
    assert pretrained.weights("face_x4_gan").is_file()
    # What the same file's sibling has measured is as good for the sibling's card.
    assert run("face_x4", report)[0] == 0


def test_what_is_refused_is_one_line_and_leaves_the_card(run, report, shipped_pair, tmp_path):
    path = shipped_pair / "face_x4_gan.json"
    changed = json.loads(path.read_text(encoding="utf-8"))
    changed["sha256"]["face_x4_gan.tflite"] = "0" * 64
    for arguments, message in (
        ((report, report), "two reports are of these data"),
        ((tmp_path,), "is no summary of a report"),
        ((report,), "is not of the face_x4_gan that is shipped"),
    ):
        if message.startswith("is not"):
            path.write_text(json.dumps(changed), encoding="utf-8")
        before = path.read_bytes()
        code, out, err = run("face_x4_gan", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("card: error: ")
        assert message in err
        assert err.count("\n") == 1
        assert path.read_bytes() == before
    assert run("no_such_model", report)[0] == 2
