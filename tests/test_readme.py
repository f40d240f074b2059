"""The README's examples run as they stand. (Its first block, the two set-up commands, is run by .ci/run.)"""

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT.parent / "shared" / "weights"
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, text=TEXT):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that holds the files the README speaks of."""
    monkeypatch.chdir(tmp_path)
    face = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)).resize((128, 128))
    for name in ("face.jpg", "scan.png", "old_photos/a.png", "old_photos/b/c.jpg", "faces/val/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        face.resize((24, 24)).save(name) if "faces" not in name else face.save(name)
    face.resize((48, 40)).save("photo.jpg")
    save_clip(tmp_path / "clip.mp4")
    for i in range(8):
        (tmp_path / "faces/train").mkdir(exist_ok=True)
        face.rotate(90 * i).save(f"faces/train/{i}.png")
    return tmp_path


def save_clip(path):
    """Three frames of 16x16 pixels."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (16, 16))
    for level in (0, 90, 200):
        writer.write(np.full((16, 16, 3), level, np.uint8))
    writer.release()


def test_the_two_set_up_commands_come_first():
    commands = blocks("bash")[0].splitlines()
    assert commands == ['pip install ".[demo]" && keras-fsr demo', 'pip install ".[test]" && pytest']


def test_the_upscale_examples_run(workplace):
    lines = [line for line in blocks("sh")[0].splitlines() if line.startswith("keras-fsr")]
    assert len(lines) == 12
    for line in lines:
        if line.startswith("keras-fsr web"):  # runs until it is stopped; tests/web starts it
            continue
        assert cli.main(shlex.split(line, comments=True)[1:]) == 0, line
    assert {"face_x4.jpg", "big.tiff", "sharp", "photo_x4.jpg", "clip_x4.mp4"} <= {
        path.name for path in workplace.iterdir()
    }
    assert Image.open("sharp/b/c.jpg").size == (96, 96)


def test_the_python_examples_run(workplace):
    predict, train = blocks("python")
    names = {"lr": np.zeros((16, 16, 3), np.uint8)}
    exec(predict, names)
    assert names["sr"].shape == (64, 64, 3)
    shutil.rmtree("sharp")
    exec(train, {})
    assert Path("mine.keras").stat().st_size > 1e6


def test_the_example_of_the_extractor_runs(monkeypatch):
    if not WEIGHTS.is_dir():
        pytest.skip("VGG's weights are not here (../shared/weights)")
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(WEIGHTS))
    (example,) = blocks("python", (ROOT / "docs/extractor.md").read_text(encoding="utf-8"))
    names = {}
    exec(example, names)
    assert names["vgg"].taps == list(names["loss"].tap_weights)


def test_the_examples_of_the_degradations_run(workplace):
    text = (ROOT / "docs/degradations.md").read_text(encoding="utf-8")
    sets, fit = blocks("sh", text)
    for line in sets.splitlines():
        assert cli.main(shlex.split(line, comments=True)[1:]) == 0, line
    originals = sorted(path.relative_to("lr") for path in Path("lr").rglob("*.png"))
    assert len(originals) == 9
    assert all((Path("again") / name).read_bytes() == (Path("lr") / name).read_bytes() for name in originals)
    assert any((Path("lr_bsrgan") / name).read_bytes() != (Path("lr") / name).read_bytes() for name in originals)
    hq = np.asarray(Image.open("faces/val/0.png").convert("RGB"))
    names = {"hq": hq, "lq": np.asarray(Image.open("lr/val/0.png")), "other_hq": hq[::-1]}
    exec(blocks("python", text)[0], names)
    assert names["lr"].shape == (32, 32, 3)
    for line in fit.splitlines():
        assert cli.main(shlex.split(line, comments=True)[1:]) == 0, line
    assert len(list(Path("lr_phone").rglob("*.png"))) == 9


def test_the_example_of_the_report_runs(workplace):
    (line,) = [line for line in blocks("sh")[1].splitlines() if line.startswith("keras-fsr")]
    assert cli.main(shlex.split(line)[1:]) == 0
    assert Path("report/report.html").stat().st_size > 1e4


def test_the_examples_of_the_metrics_run(workplace, monkeypatch):
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(WEIGHTS if WEIGHTS.is_dir() else workplace))
    shutil.copytree("faces/train", "faces/test")
    Path("their_images").mkdir()
    names = sorted(path.name for path in Path("faces/test").iterdir())
    for name in names:
        Image.open(f"faces/test/{name}").save(f"their_images/{name}")
    rows = [f"test/{name},drawn" for name in names]
    Path("faces/manifest.csv").write_text("\n".join(["file,source", *rows]), encoding="utf-8")
    lines = blocks("sh", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"))[0].splitlines()
    assert len(lines) == 3
    for line in lines:
        if "lpips" not in line or WEIGHTS.is_dir():
            assert cli.main(shlex.split(line)[1:]) == 0, line
    summary = json.loads(Path("report/summary.json").read_text(encoding="utf-8"))
    assert list(summary["subgroups"]["source"]) == ["drawn"]


@pytest.mark.parametrize("name", ["upscale", "faces"])
def test_the_examples_of_the_guides_run(name, workplace):
    text = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
    shutil.copytree("old_photos", "frames")
    lines = [line for block in blocks("sh", text) for line in block.splitlines() if line.startswith("keras-fsr")]
    assert len(lines) >= 5
    for line in lines:
        if "identity" in line:
            pytest.importorskip("dlib")
        assert cli.main(shlex.split(line, comments=True)[1:]) == 0, line
    if name == "upscale":
        names = {"lr": np.zeros((16, 16, 3), np.uint8)}
        exec(blocks("python", text)[0], names)
        assert names["sr"].shape == (64, 64, 3)


SMALL = "training.steps=2 training.steps_per_epoch=2 data.batch_size=2 data.patch_size=16 data.validation_limit=1"


def test_the_examples_of_training_run(workplace, monkeypatch):
    if not WEIGHTS.is_dir():
        pytest.skip("VGG's weights are not here (../shared/weights)")
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(WEIGHTS))
    text = (ROOT / "docs/train.md").read_text(encoding="utf-8").replace("FACES", "faces")
    lines = [line for block in blocks("sh", text) for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "train" and "--resume" not in words:  # a run is resumed by its own recipe
            settings = SMALL.split() + ["adversarial.warmup_steps=0"] * ("face_x4_gan" in words)
            words += [word for setting in settings for word in ("--set", setting)]
        assert cli.main(words) == 0, line


GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("export/*/README.md")]


@pytest.mark.parametrize("path", sorted(GUIDES), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_shown_parses(path):
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    shown = [
        line.strip() for block in re.findall(r"^ *```\w*\n(.*?)```", text, re.S | re.M) for line in block.splitlines()
    ]
    for line in shown:
        if line.startswith("keras-fsr ") and "..." not in line:
            words = shlex.split(line.partition(" $")[0], comments=True)  # not what the shell puts there
            assert callable(cli.make_parser().parse_args(words[1:]).call), line


def test_no_figure_is_left_open():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert "@@" not in path.read_text(encoding="utf-8"), path


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
