"""The Android sample: what its README and code say of the model is what the export writes."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.cli import make_parser
from keras_fsr.deploy.form import QAT_PACKAGES, Form, Tuning

FOLDER = Path(__file__).parents[2] / "export/android"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
CODE = (FOLDER / "SuperResolver.kt").read_text(encoding="utf-8")


def contract() -> dict[str, list[str]]:
    """Tensor -> the other columns of the README's table."""
    rows = [line.strip("| ").split(" | ") for line in README.splitlines() if re.match(r"\| (in|out)put \d", line)]
    return {row[0]: row[1:] for row in rows}


def stated(row: list[str]) -> tuple:
    _, shape, kind, scale, zero_point = row
    numerator, denominator = map(int, scale.split("/"))
    return [int(side) for side in shape.split(",")], kind, numerator / denominator, int(zero_point)


def found(tensor: dict) -> tuple:
    scale, zero_point = tensor["quantization"]
    return tensor["shape"].tolist(), np.dtype(tensor["dtype"]).name, pytest.approx(scale, rel=1e-6), zero_point


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Little more than the 32 patches of 48x48 LR pixels that int8 takes: an image is 16, and qat keeps one apart."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(4):
        coarse = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(coarse).resize((768, 768), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder


@pytest.mark.parametrize("mode", ["int8", pytest.param("qat", marks=pytest.mark.slow)])
def test_contract_of_the_readme_is_that_of_the_file(mode, images, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    from keras_fsr.deploy.tflite import export
    from keras_fsr.generators.edge import Edge

    if mode == "qat":
        for package in QAT_PACKAGES:
            pytest.importorskip(package)
    network = tmp_path / "network.keras"
    Edge(4, num_features=16, num_blocks=1).save(network)
    form = Form(mode, size=(64, 64), images=images, tuning=Tuning(steps=2))
    export(network, tmp_path / "m.tflite", form, verified=False)
    interpreter = Interpreter(str(tmp_path / "m.tflite"))
    rows = contract()
    assert list(rows) == ["input 0", "output 0"]
    assert stated(rows["input 0"]) == found(interpreter.get_input_details()[0])
    assert stated(rows["output 0"]) == found(interpreter.get_output_details()[0])
    signature = interpreter.get_signature_list()["serving_default"]
    assert f"`{signature['inputs'][0]}` of {mode}" in rows["input 0"][0]
    assert [f"`{name}`" for name in signature["outputs"]] == [rows["output 0"][0]]


def test_command_of_the_readme_is_one_that_makes_the_asset():
    (command,) = re.findall(r"^keras-fsr (export tflite .*)$", README, re.MULTILINE)
    arguments = make_parser().parse_args(command.split())
    assert (arguments.quantize, arguments.size) == ("qat", (64, 64))
    assert f'const val ASSET = "{arguments.out}"' in CODE


def test_defaults_of_the_code_are_those_of_the_contract():
    shapes = {tensor: stated(row)[0] for tensor, row in contract().items()}
    constants = {name: int(value) for name, value in re.findall(r"const val (TILE|SCALE) = (\d+)", CODE)}
    assert shapes["input 0"] == [1, constants["TILE"], constants["TILE"], 3]
    side = constants["TILE"] * constants["SCALE"]
    assert shapes["output 0"] == [1, side, side, 3]


def test_one_version_of_litert_is_named():
    assert set(re.findall(r"litert:(\d+\.\d+\.\d+)", README + CODE)) == {"2.3.2"}
