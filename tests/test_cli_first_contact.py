"""What a newcomer sees: the welcome, help with examples, the doctor, completion in a shell."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keras_fsr import cli, pretrained
from keras_fsr.commands import doctor
from keras_fsr.commands.completion import parsers

PARSERS = {parser.prog: parser for parser in parsers(cli.make_parser())}


def parsed(line: str) -> argparse.Namespace:
    return cli.make_parser().parse_args(shlex.split(line, comments=True)[1:])


def test_without_a_command_five_things_are_shown_that_all_exist(capsys):
    assert cli.main([]) == 0
    lines = re.findall(r"^  (keras-fsr .*?)  ", capsys.readouterr().out, re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        assert callable(parsed(line).call), line


@pytest.mark.parametrize("name", [name for name in PARSERS if name not in ("keras-fsr", "keras-fsr export")])
def test_help_ends_with_examples_that_parse(name):
    _, heading, examples = PARSERS[name].format_help().partition("examples:\n")
    assert heading, f"{name} has no examples"
    lines = [re.sub(r'^eval "\$\((.*)\)"', r"\1", line.strip()) for line in examples.splitlines() if line.strip()]
    assert lines
    for line in lines:
        assert line.startswith(name), line
        assert callable(parsed(line.partition(" > ")[0]).call)


def test_wrong_arguments_are_told_and_end_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["upscal", "face.png"])
    assert stopped.value.code == 2
    assert "upscal" in capsys.readouterr().err


def test_doctor_tells_versions_extras_and_weights(capsys, monkeypatch, tmp_path):
    (tmp_path / "vgg.h5").touch()
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path))
    assert cli.main(["doctor"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "extra" not in line)
    assert told["numpy"][0].isdigit()
    assert told["face_x4"].endswith("MB, unchanged")
    assert told["KERAS_FSR_WEIGHTS"] == f"{tmp_path}: vgg.h5"


def test_doctor_names_what_is_missing_and_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "version_of", lambda name: "" if name in ("tensorflow", "gradio", "cv2") else "1.0")
    assert cli.main(["doctor"]) == 1  # OpenCV belongs to the light install
    told = capsys.readouterr().out
    assert re.search(r"^cv2 +MISSING", told, re.MULTILINE)
    assert re.search(r"^extra train +keras 1.0, .*; without tensorflow: pip install '.\[train\]'", told, re.MULTILINE)
    assert re.search(r"^extra web +without gradio: pip install '.\[web\]'", told, re.MULTILINE)


def test_doctor_finds_changed_weights(monkeypatch, tmp_path, capsys):
    for path in pretrained.FOLDER.glob("face_x4.*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "face_x4.tflite").write_bytes(b"changed")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    assert cli.main(["doctor"]) == 1
    assert "face_x4.tflite: differs from the file that was shipped" in capsys.readouterr().out


def test_bash_completes_commands_and_options(tmp_path, capsys):
    if (bash := shutil.which("bash")) is None:
        pytest.skip("bash is not installed")
    assert cli.main(["completion", "bash"]) == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out)

    def complete(*words):
        quoted = " ".join(map(shlex.quote, words))
        code = f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _shtab_keras_fsr 2>/dev/null"
        code += '; printf "%s\\n" "${COMPREPLY[@]}"'
        return subprocess.run([bash, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert complete("keras-fsr", "up") == ["upscale"]
    assert complete("keras-fsr", "upscale", "--ens") == ["--ensemble"]
    assert complete("keras-fsr", "export", "tfl") == ["tflite"]
    assert set(complete("keras-fsr", "export", "tflite", "--quantize", "f")) == {"float16"}


@pytest.mark.parametrize(
    ("line", "code", "complaint"),
    [
        ("models", 0, ""),
        ("models >/dev/full", 2, "what is printed cannot be written (No space left on device)"),
        ("models | true", 0, ""),
        ("models >&-", 0, ""),
        ("models 2>&-", 0, ""),
        ("models nobody 2>&-", 2, ""),
        ("models <&-", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full_are_no_traceback(line, code, complaint):
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m keras_fsr.cli {line}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=100, check=False
    )
    assert done.returncode == code
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == bool(complaint)
