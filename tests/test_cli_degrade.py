"""`keras-fsr degrade`: exit codes, what is printed, seeds, stages, replay."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def originals(save_image, tmp_path):
    """Two HR images of 32x24."""
    draw = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        save_image(f"hr/{name}", draw.integers(0, 256, (24, 32, 3), np.uint8))
    return tmp_path / "hr"


def degrade(originals, out, *options) -> int:
    return cli.main(["degrade", str(originals), "-o", str(out), *map(str, options)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "degradations.jsonl").read_text().splitlines()]


def test_degrade_writes_the_lr_set_and_exits_with_0(originals, tmp_path, capsys):
    out = tmp_path / "lr"
    assert degrade(originals, out) == 0
    captured = capsys.readouterr()
    assert captured.out == f"2 written, 0 failed; parameters: {out / 'degradations.jsonl'}\n"
    assert captured.err == ""
    assert set(contents(out)) == {"a.png", "b.png", "degradations.jsonl"}
    with Image.open(out / "a.png") as image:
        assert image.size == (8, 6)
    # By default by real-esrgan, x4, seed 0.
    assert [(r["model"], r["scale"], r["seed"]) for r in records(out)] == [("real-esrgan", 4, 0)] * 2


def test_degrade_takes_model_scale_seed_and_stages(originals, tmp_path):
    out = tmp_path / "lr"
    assert degrade(originals, out, "--model", "real-esrgan", "--scale", 2, "--seed", 9, "--stages", 4) == 0
    assert [(r["model"], r["scale"], r["seed"]) for r in records(out)] == [("real-esrgan", 2, 9)] * 2
    assert all(sum(step["step"] == "JPEG" for step in r["steps"]) == 4 for r in records(out))
    with Image.open(out / "a.png") as image:
        assert image.size == (16, 12)
    assert degrade(originals, tmp_path / "other", "--scale", 2, "--seed", 10, "--stages", 4) == 0
    assert records(tmp_path / "other")[0]["steps"] != records(out)[0]["steps"]


def test_degrade_takes_a_file_of_ones_own(originals, tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("order: staged\nmodes: [area]\n", encoding="utf-8")
    assert degrade(originals, tmp_path / "lr", "--model", preset) == 0
    assert records(tmp_path / "lr")[0]["steps"] == [{"step": "Resize", "share": 0.25, "mode": "area"}]


def test_replay_makes_the_same_files(originals, tmp_path, capsys):
    assert degrade(originals, tmp_path / "one", "--model", "bsrgan", "--seed", 3) == 0
    assert degrade(originals, tmp_path / "two", "--replay", tmp_path / "one" / "degradations.jsonl") == 0
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert "2 written, 0 failed" in capsys.readouterr().out


def test_failed_image_is_one_line_and_exit_code_1(originals, tmp_path, capsys):
    assert degrade(originals, tmp_path / "one") == 0
    broken = originals / "a.png"
    broken.write_bytes(broken.read_bytes()[:-400])
    capsys.readouterr()
    for options in ([], ["--replay", tmp_path / "one" / "degradations.jsonl"]):
        out = tmp_path / f"lr{len(options)}"
        assert degrade(originals, out, *options) == 1
        captured = capsys.readouterr()
        assert captured.out.startswith("1 written, 1 failed;")
        assert captured.err.startswith(f"keras-fsr: failed: {broken}: is damaged")
        assert captured.err.count("\n") == 1
        assert set(contents(out)) == {"b.png", "degradations.jsonl"}


def test_what_cannot_be_done_is_one_line_and_exit_code_2(originals, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n", encoding="utf-8")
    refused = [
        ((originals, tmp_path / "lr", "--model", "real-esrgn"), "did you mean 'real-esrgan'"),
        ((originals, tmp_path / "lr", "--model", "bsrgan", "--stages", "2"), "2 stages are not possible"),
        ((originals, tmp_path / "lr", "--stages", "5"), "5 stages are not possible"),
        ((originals, tmp_path / "lr", "--replay", bad), "bad.jsonl, line 1: is no record of a degradation"),
        ((originals, tmp_path / "lr", "--replay", tmp_path / "none.jsonl"), "none.jsonl: cannot be read"),
        ((originals, originals), "is in the folder of the originals"),
        ((tmp_path / "none", tmp_path / "lr"), "none: no such folder"),
    ]
    for arguments, message in refused:
        assert degrade(*arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("keras-fsr: error: ")
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert not (tmp_path / "lr").exists()
    assert set(contents(originals)) == {"a.png", "b.jpg"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "0"], "0 is not at least 1"),
        (["--stages", "0"], "0 is not at least 1"),
        (["--seed", "-1"], "below 0"),
    ],
)
def test_impossible_number_is_refused_by_the_parser(options, message, originals, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        degrade(originals, tmp_path / "lr", *options)
    assert message in capsys.readouterr().err


def test_degrade_imports_no_tensorflow(originals, tmp_path):
    code = (
        "import sys; from keras_fsr import cli;"
        f"code = cli.main(['degrade', {str(originals)!r}, '-o', {str(tmp_path / 'lr')!r}]);"
        "sys.exit(str([name for name in ('tensorflow', 'keras') if name in sys.modules] or code or ''))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert "2 written" in result.stdout
    assert result.stderr.strip() == ""
