"""The command line as a user meets it: outputs, one-line refusals, exit codes."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli, pretrained
from keras_fsr.deploy.metadata import write_metadata


@pytest.fixture
def face(tmp_path):
    path = tmp_path / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)).save(path)
    return path


def huge_header(path):
    """A PNG that says 30,000 x 30,000 and holds nothing."""
    header = struct.pack(">II5B", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )  # fmt: skip


def truncated(path):
    whole = path.with_name("whole.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(whole)
    path.write_bytes(whole.read_bytes()[:1500])
    whole.unlink()


BAD = {
    "cut.jpg": truncated,
    "text.png": lambda path: path.write_text("this is text"),
    "empty.png": lambda path: path.write_bytes(b""),
    "huge.png": huge_header,
    "one.png": lambda path: Image.new("RGB", (1, 1)).save(path),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_exit_code_2(tmp_path, capfd, name):
    BAD[name](tmp_path / name)
    assert cli.main(["upscale", str(tmp_path / name), "-o", str(tmp_path / "out.png")]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("keras-fsr: error: ")
    assert name in err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("out", ["missing/out.png", "face.png/out.png", "out.xyz"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(face, capfd, monkeypatch, out):
    monkeypatch.setattr("keras_fsr.inference.tiles.upscale", lambda *a, **k: pytest.fail("worked first"))
    before = sorted(face.parent.iterdir())
    assert cli.main(["upscale", str(face), "-o", str(face.parent / out)]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert sorted(face.parent.iterdir()) == before


def test_a_read_only_folder_is_refused(face, capfd, monkeypatch):
    # Tests may run as root, whom permissions do not bind: the refusal of the operating system is played.
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    assert cli.main(["upscale", str(face), "-o", str(face.parent / "out.png")]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "out.png" in err
    assert [path.name for path in face.parent.iterdir()] == ["face.png"]


def test_a_folder_run_does_the_others_lists_failures_and_exits_with_1(tmp_path, capfd):
    source = tmp_path / "in"
    source.mkdir()
    for i in range(2):
        Image.new("RGB", (8, 8), (i * 90, 50, 100)).save(source / f"good{i}.png")
    for name, make in BAD.items():
        make(source / name)
    assert cli.main(["upscale", str(source), "-o", str(tmp_path / "out")]) == 1
    out, err = capfd.readouterr()
    assert "2 written, 5 failed" in out
    assert err.count("\n") == 5
    assert all(name in err for name in BAD)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good0.png", "good1.png"]


def test_several_inputs_go_to_a_folder(face, tmp_path, capfd):
    other = tmp_path / "other.jpg"
    Image.new("RGB", (8, 8)).save(other)
    bad = tmp_path / "text.png"
    bad.write_text("text")
    assert cli.main(["upscale", str(face), str(bad), str(other), "-o", str(tmp_path / "out")]) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["face_x4.png", "other_x4.jpg"]
    assert "2 written, 1 failed" in capfd.readouterr().out


def test_missing_input_and_unknown_model_are_refused(tmp_path, face, capfd):
    assert cli.main(["upscale", str(tmp_path / "none.png")]) == 2
    assert "none.png" in capfd.readouterr().err
    assert cli.main(["upscale", str(face), "--model", "face_x5"]) == 2
    assert "face_x4" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["upscale", "bulk"])
def test_more_threads_than_litert_counts_are_refused(command, capfd):
    with pytest.raises(SystemExit):
        cli.main([command, "in", "out", "--threads", "2147483648"])
    assert "argument --threads: 2147483648 is above 1024" in capfd.readouterr().err


def test_models_lists_and_shows_cards(capsys):
    assert cli.main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "face_x4" in listed
    assert "Apache-2.0" in listed
    assert cli.main(["models", "face_x4"]) == 0
    assert '"sha256"' in capsys.readouterr().out


def test_models_tells_what_a_file_says_of_itself(tmp_path, capsys):
    path = tmp_path / "m.tflite"
    path.write_bytes(pretrained.weights("face_x4").read_bytes())
    assert cli.main(["models", str(path)]) == 0  # no metadata: its tensors
    assert json.loads(capsys.readouterr().out)["output"]["shape"] == [1, -1, -1, 3]
    write_metadata(path, {"name": "mine \x9b2J", "scale": 4, "quantization": "dynamic"})
    assert cli.main(["models", str(path)]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["name"] == "mine \x9b2J"
    assert out.isascii()


def test_models_refuses_files_that_tell_nothing(tmp_path, capsys):
    assert cli.main(["models", str(tmp_path / "none.tflite")]) == 2
    assert "none.tflite: no such model file" in capsys.readouterr().err
    assert cli.main(["models", str(pretrained.weights("face_x4", ".keras"))]) == 2
    assert "only .tflite files tell of themselves" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "export tflite --quantize qat --data DIR --run DIR --resume -o m.tflite",
        "export fixed --size 64x64 -o m.tflite",
        "export onnx -o m.onnx --trtexec",
        "export tf-trt -o m",
        "models face_x4",
        "upscale face.png",
    ],
)
def test_no_option_hides_what_a_command_calls(line):
    assert callable(cli.make_parser().parse_args(line.split()).call)


def test_demo_beats_bicubic_and_writes_its_sheet(tmp_path, capsys):
    assert cli.main(["demo", "-o", str(tmp_path / "demo")]) == 0
    lines = capsys.readouterr().out.splitlines()
    psnr = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(("bicubic", "face_x4"))}
    assert psnr["face_x4"] > psnr["bicubic"] + 2.0
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["input.png", "output.png", "sheet.png"]


def test_a_missing_package_names_its_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(__import__("sys").modules, "skimage.data", None)
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    assert cli.main(["demo", "-o", str(tmp_path)]) == 2
    assert "pip install '.[demo]'" in capsys.readouterr().err


def test_export_writes_a_file_that_upscale_can_use(tmp_path, face):
    model = tmp_path / "exported.tflite"
    assert cli.main(["export", "tflite", "--quantize", "none", "-o", str(model)]) == 0
    assert cli.main(["upscale", str(face), "--model", str(model), "-o", str(tmp_path / "out.png")]) == 0
    assert Image.open(tmp_path / "out.png").size == (80, 96)


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    source = tmp_path / "photos"
    source.mkdir()
    Image.new("RGB", (8, 8)).save(source / "a.png")
    monkeypatch.chdir(source)
    assert cli.main(["upscale", "."]) == 0
    assert (tmp_path / "photos_x4" / "a.png").is_file()


def test_a_folder_that_cannot_be_made_stops_a_folder_run(tmp_path, face, capfd):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "a.png")
    assert cli.main(["upscale", str(tmp_path / "in"), "-o", str(face / "out")]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_two_inputs_of_one_name_do_not_overwrite_each_other(tmp_path, capfd):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "f.png")
    inputs = [str(tmp_path / folder / "f.png") for folder in ("a", "b")]
    assert cli.main(["upscale", *inputs, "-o", str(tmp_path / "out")]) == 1
    out, err = capfd.readouterr()
    assert "1 written, 1 failed" in out
    assert "would overwrite" in err


def test_results_inside_the_input_folder_are_not_enlarged_again(tmp_path, capfd):
    Image.new("RGB", (8, 8)).save(tmp_path / "f.png")
    for _ in range(2):
        assert cli.main(["upscale", str(tmp_path), "-o", str(tmp_path / "sharp")]) == 0
        assert "1 written, 0 failed" in capfd.readouterr().out
    assert [path.name for path in (tmp_path / "sharp").iterdir()] == ["f.png"]


def test_an_image_that_does_not_fit_in_memory_does_not_stop_the_others(tmp_path, capfd, monkeypatch):
    from keras_fsr.inference import predictor

    for name in "abc":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    read = predictor.read_image

    def run_out(path, **options):
        if path.name == "b.png":
            raise MemoryError
        return read(path, **options)

    monkeypatch.setattr(predictor, "read_image", run_out)
    assert cli.main(["upscale", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    out, err = capfd.readouterr()
    assert "2 written, 1 failed" in out
    assert "b.png: does not fit in memory" in err


def test_strength_draws_a_model_towards_its_fidelity_model(face, shipped_pair, capsys):
    def upscaled(*options):
        out = face.parent / "out.png"
        assert cli.main(["upscale", str(face), "-o", str(out), *options]) == 0
        return np.asarray(Image.open(out)).astype(int)

    fidelity, perceptual = upscaled(), upscaled("--model", "face_x4_gan")
    half = upscaled("--model", "face_x4_gan", "--strength", "0.5")
    file = str(shipped_pair / "face_x4_gan.tflite")
    assert np.array_equal(half, upscaled("--model", file, "--strength", ".5", "--fidelity-model", "face_x4"))
    assert np.array_equal(fidelity, upscaled("--model", "face_x4_gan", "--strength", "0"))
    assert np.array_equal(perceptual, upscaled("--model", "face_x4_gan", "--strength", "1"))
    whole_way = np.abs(perceptual - fidelity).mean()
    assert whole_way > 0
    assert 0.2 * whole_way < np.abs(half - fidelity).mean() < 0.8 * whole_way


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strength", "1.5"], "strength is 1.5; give 0 (the fidelity model) to 1"),
        (["--strength", "-0.5"], "strength is -0.5"),
        (["--strength", "nan"], "strength is nan"),
        (["--strength", "0.5"], "face_x4: takes no strength"),
        (["--fidelity-model", "face_x4"], "without a strength"),
        (["--strength", "0.5", "--fidelity-model", "none.tflite"], "none.tflite: no such model file"),
    ],
)
def test_strengths_that_mean_nothing_are_one_line(face, capfd, options, message):
    assert cli.main(["upscale", str(face), *options]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert list(face.parent.iterdir()) == [face]


def test_tables_of_an_unknown_paper_names_the_known(tmp_path, capsys):
    assert cli.main(["tables", "A", "E", "--data", str(tmp_path)]) == 2
    assert "E: no such paper; there are A, B, C, D" in capsys.readouterr().err


def test_tables_need_the_test_folder(tmp_path, capsys):
    assert cli.main(["tables", "C", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert f"{tmp_path}/test/1024: is missing" in capsys.readouterr().err


def test_budget_needs_a_budget_block(tmp_path, capsys):
    assert cli.main(["train", "face_x4", "--budget", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "has no budget block" in capsys.readouterr().err


def test_resume_skips_what_is_done(tmp_path, face, capsys):
    (tmp_path / "in").mkdir()
    face.rename(tmp_path / "in/a.png")
    arguments = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--resume"]
    assert cli.main(arguments) == 0
    assert "1 written, 0 failed" in capsys.readouterr().out
    written = (tmp_path / "out/a.png").stat().st_mtime_ns
    assert cli.main(arguments) == 0
    assert "0 written, 1 skipped (done before), 0 failed" in capsys.readouterr().out
    assert (tmp_path / "out/a.png").stat().st_mtime_ns == written
