"""The Android sample: what its README and code say of the model is what the export writes."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.cli import main
from keras_fsr.deploy.form import Form

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
    """A little more than the 32 patches of 48x48 LR pixels that int8 takes: an image is 16."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        coarse = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(coarse).resize((768, 768), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder


def check_contract(path: Path, name_of: str) -> None:
    """The README's table is true of a file, whose input is named in it as that `name_of` a mode."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    rows = contract()
    assert list(rows) == ["input 0", "output 0"]
    assert stated(rows["input 0"]) == found(interpreter.get_input_details()[0])
    assert stated(rows["output 0"]) == found(interpreter.get_output_details()[0])
    signature = interpreter.get_signature_list()["serving_default"]
    assert f"`{signature['inputs'][0]}` of {name_of}" in rows["input 0"][0]
    assert [f"`{name}`" for name in signature["outputs"]] == [rows["output 0"][0]]


def test_command_of_the_readme_makes_the_asset_of_its_contract(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"^keras-fsr (export .*)$", README, re.MULTILINE)
    assert main(command.split()) == 0
    (asset,) = tmp_path.iterdir()
    assert f'const val ASSET = "{asset.name}"' in CODE
    check_contract(asset, "qat")


def test_contract_of_the_readme_is_that_of_an_int8_file(images, tmp_path):
    from keras_fsr.deploy.tflite import export
    from keras_fsr.generators.edge import Edge

    network = tmp_path / "network.keras"
    Edge(4, num_features=16, num_blocks=1).save(network)
    form = Form("int8", size=(64, 64), images=images)
    export(network, tmp_path / "m.tflite", form, verified=False)
    check_contract(tmp_path / "m.tflite", "int8")


def test_defaults_of_the_code_are_those_of_the_contract():
    shapes = {tensor: stated(row)[0] for tensor, row in contract().items()}
    constants = {name: int(value) for name, value in re.findall(r"const val (TILE|SCALE) = (\d+)", CODE)}
    assert shapes["input 0"] == [1, constants["TILE"], constants["TILE"], 3]
    side = constants["TILE"] * constants["SCALE"]
    assert shapes["output 0"] == [1, side, side, 3]


def test_one_version_of_litert_is_named():
    assert set(re.findall(r"litert:(\d+\.\d+\.\d+)", README + CODE)) == {"2.3.2"}
