"""The check on emulated ARM64: what it measures and refuses; and, where qemu is installed, the check itself."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_fsr import pretrained

EXPORT = Path(__file__).parents[2] / "export"
TOOLS = ("qemu-aarch64-static", "mmdebstrap")


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("arm64_check", EXPORT / "arm64_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments, **environment) -> subprocess.CompletedProcess:
    """Runs the script with this interpreter."""
    command = [shutil.which("bash"), EXPORT / "arm64_check.sh", *arguments]
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(EXPORT.parent), **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"{' or '.join(TOOLS)} is not installed")
def test_a_shipped_model_computes_the_same_on_arm64():
    model = pretrained.weights("face_x4")
    result = run("--sizes", "24x16", model)
    if "cannot be fetched" in result.stderr:
        pytest.skip(result.stderr.splitlines()[-1])
    assert result.returncode == 0, result.stdout + result.stderr
    first, _, line = result.stdout.splitlines()
    assert first.startswith("aarch64 against ")
    assert line.split()[:3] == [model.name, "24x16", "dynamic"]


def test_without_the_tools_it_says_how_to_get_them():
    result = run(PATH="/nowhere")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith("apt-get install -y --no-install-recommends qemu-user-static mmdebstrap")


def test_cases_are_run_on_the_images_written_for_them(check, tmp_path):
    from keras_fsr.inference.engines import LiteRTEngine

    model = pretrained.weights("face_x4")
    kinds = check.prepare(tmp_path, 3, model, [(16, 24), (20, 16)])
    assert kinds == {
        "003_16x24": (f"{model.name} 16x24", "dynamic"),
        "003_20x16": (f"{model.name} 20x16", "dynamic"),
    }
    check.run_all(tmp_path)
    results = check.read_results(tmp_path)
    assert list(results) == ["003_16x24", "003_20x16"]
    np.testing.assert_allclose(results["003_16x24"][0], LiteRTEngine(model)(check.draw(16, 24)[0]), atol=1e-6)
    assert check.read_results(tmp_path) == {}


@pytest.mark.parametrize(
    ("kind", "dtype", "difference", "code"),
    [
        ("float", np.float32, 0.9e-5, 0),
        ("float", np.float32, 1.1e-5, 1),
        ("dynamic", np.float32, 0.9 / 255, 0),
        ("dynamic", np.float32, 1.1 / 255, 1),
        ("uint8", np.uint8, 1, 0),
        ("uint8", np.uint8, 2, 1),
    ],
)
def test_differences_beyond_the_limits_are_an_error(check, capsys, kind, dtype, difference, code):
    here = np.full((1, 4, 4, 3), 0, dtype)
    assert check.report({"a": ("m.tflite 1x1", kind)}, {"a": here}, {"a": here + dtype(difference)}) == code
    _, line = capsys.readouterr().out.splitlines()
    assert line.startswith("m.tflite 1x1")
    assert ("BEYOND" in line) == bool(code)


def test_one_large_difference_is_enough(check):
    here, there = np.zeros((1, 100, 100, 3), np.float32), np.zeros((1, 100, 100, 3), np.float32)
    there[0, 0, 0, 0] = 15 / 255
    assert check.report({"a": ("m", "dynamic")}, {"a": here}, {"a": there}) == 0
    there[0, 0, 0, 0] = 17 / 255
    assert check.report({"a": ("m", "dynamic")}, {"a": here}, {"a": there}) == 1


def test_a_later_good_file_does_not_hide_a_bad_one(check):
    good, bad = np.zeros((1, 4, 4, 3), np.float32), np.ones((1, 4, 4, 3), np.float32)
    kinds = {"a": ("bad", "float"), "b": ("good", "float")}
    assert check.report(kinds, {"a": bad, "b": good}, {"a": good, "b": good}) == 1


def test_pictures_are_in_range_and_not_flat(check):
    image = check.draw(48, 40)
    assert image.shape == (1, 48, 40, 3)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.std(axis=(1, 2)).min() > 0.1
    assert not np.allclose(image[..., 0], image[..., 1], atol=0.1)


def test_what_is_no_model_is_told_in_one_line(check, tmp_path, monkeypatch, capsys):
    (tmp_path / "m.tflite").write_bytes(b"no model")
    monkeypatch.setattr(sys, "argv", ["arm64_check.py", "root", "site", str(tmp_path / "m.tflite")])
    assert check.main() == 2
    assert f"{tmp_path}/m.tflite: is no super-resolution model" in capsys.readouterr().err


def test_failing_emulation_is_told_in_one_line(check, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "EMULATOR", (sys.executable, "-c", "raise SystemExit('no such CPU')"))
    arguments = ["arm64_check.py", "root", "site", "--sizes", "16x16", str(pretrained.weights("face_x4"))]
    monkeypatch.setattr(sys, "argv", arguments)
    assert check.main() == 2
    assert "LiteRT fails under qemu (no such CPU)" in capsys.readouterr().err


def test_shipped_models_are_checked_by_default(check):
    assert pretrained.FOLDER / "face_x4.tflite" in check.shipped()
