"""The commands of docs/deploy.md and of the README's section on exports run as they stand, QAT for two steps."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli
from keras_fsr.deploy.form import QAT_PACKAGES
from keras_fsr.generators.edge import Edge
from keras_fsr.inference.engines import LiteRTEngine

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("## To the phone")[2]
COMMAND = re.compile(r"^ *(?:keras-fsr|python export/tflite\.py) .*", re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    lines = [line.strip() for line in COMMAND.findall(text)]
    return [
        shlex.split(line.replace("python export/tflite.py", "keras-fsr export tflite"), comments=True)
        for line in lines
    ]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the files that the commands name."""
    folder = tmp_path_factory.mktemp("work")
    Edge(4, num_features=16, num_blocks=1).save(folder / "mine.keras")
    (folder / "FACES").mkdir()
    for i in range(4):
        coarse = np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(coarse).resize((768, 768), Image.Resampling.BICUBIC).save(folder / f"FACES/{i}.png")
    Image.fromarray(coarse).save(folder / "face.jpg")
    return folder


@pytest.mark.parametrize("words", commands(DOC + README), ids=" ".join)
def test_command_runs(words, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    if "qat" in words:
        for package in QAT_PACKAGES:
            pytest.importorskip(package)
        words += ["--steps", "2"]
    if "onnx" in words:
        pytest.importorskip("onnxruntime")
    assert cli.main(words[1:]) == 0


def test_the_python_example_runs():
    (example,) = re.findall(r"^```python\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    names = {}
    exec(example, names)
    assert names["sr"].shape == (256, 256, 3)
    assert names["sr"].dtype == np.uint8


def test_the_scripts_that_are_named_are_there():
    scripts = re.findall(r"export/\w+(?:/\w+)?\.(?:py|sh)", DOC + README)
    assert len(set(scripts)) >= 4
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_the_shipped_edge_model_takes_any_size():
    assert LiteRTEngine(ROOT / "keras_fsr/pretrained/face_x4_edge.tflite").size is None
