"""`keras-fsr evaluate`: tables, sheets, other people's results, strengths."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli

CHECKOUT = Path(__file__).parents[1]


def test_evaluate_prints_a_table_and_writes_figures_and_sheet(tmp_path, capsys):
    from skimage.data import astronaut

    (tmp_path / "hr").mkdir()
    for i in range(2):
        Image.fromarray(astronaut()[: 96 + i, 176:272]).save(tmp_path / "hr" / f"{i}.png")
    report = tmp_path / "report"
    assert cli.main(["evaluate", "--data", str(tmp_path / "hr"), "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert "2 images, x4" in out
    assert all(model in out for model in ("face_x4", "bicubic", "lanczos"))
    assert len((report / "figures.csv").read_text().splitlines()) == 1 + 2 * 3
    assert Image.open(report / "sheet.png").width > 4 * 90


@pytest.fixture
def originals(tmp_path):
    """Two HR images of 64x64 in a folder."""
    folder = tmp_path / "hr"
    folder.mkdir()
    for seed in range(2):
        small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(small).resize((64, 64)).save(folder / f"{seed}.jpg", quality=95)
    return folder


@pytest.fixture
def theirs(originals):
    """What another model made of them: bicubic, and two levels more red."""
    folder = originals.parent / "theirs"
    folder.mkdir()
    for path in originals.iterdir():
        with Image.open(path) as image:
            bicubic = image.resize((16, 16), Image.Resampling.BICUBIC).resize((64, 64), Image.Resampling.BICUBIC)
        redder = np.asarray(bicubic).astype(int) + np.array([2, 0, 0])
        Image.fromarray(redder.clip(0, 255).astype(np.uint8)).save(folder / f"{path.stem}.png")
    return folder


def table_of(out: str) -> dict[str, dict[str, str]]:
    """Model -> heading -> cell of the table that `evaluate` prints."""
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("model "))
    headings = lines[first].split()[1:]
    rows = [line.split() for line in lines[first + 1 :] if not line.startswith(("grid:", "written:"))]
    return {name: dict(zip(headings, cells, strict=True)) for name, *cells in rows}


def test_evaluate_measures_several_models_and_others_results_in_one_run(originals, theirs, tmp_path, capsys):
    from keras_fsr import pretrained

    copy = tmp_path / "copy.tflite"
    copy.write_bytes(pretrained.weights("face_x4").read_bytes())
    report = tmp_path / "report"
    arguments = ["--model", "face_x4", str(copy), "bicubic", "--data", str(originals), "--results", f"them={theirs}"]
    assert cli.main(["evaluate", *arguments, "--report", str(report)]) == 0
    out = capsys.readouterr().out
    table = table_of(out)
    assert list(table) == ["face_x4", "copy.tflite", "bicubic", "lanczos", "them"]
    assert table["face_x4"] == table["copy.tflite"]
    assert list(table["them"]) == ["PSNR-Y", "SSIM-Y", "PSNR-RGB", "SSIM-RGB", "grid", "colour"]
    assert float(table["them"]["colour"]) == pytest.approx(2.0, abs=0.3)
    assert float(table["bicubic"]["colour"]) < 0.5
    assert "grid: 1 is none, the originals have" in out
    assert len((report / "figures.csv").read_text().splitlines()) == 1 + 2 * 5


def test_evaluate_of_interpolations_alone_draws_no_sheet(originals, tmp_path, capsys):
    report = tmp_path / "report"
    arguments = ["evaluate", "--model", "bicubic", "--data", str(originals), "--report", str(report)]
    assert cli.main(arguments) == 0
    assert list(table_of(capsys.readouterr().out)) == ["bicubic", "lanczos"]
    assert [path.name for path in report.iterdir()] == ["figures.csv"]


def test_evaluate_refuses_results_that_do_not_fit(originals, theirs, capsys):
    base = ["evaluate", "--model", "bicubic", "--data", str(originals), "--results"]
    refused = [
        ([f"bicubic={theirs}"], "bicubic is both"),
        ([f"a={theirs}", "--results", f"a={theirs}"], "two --results of one name"),
        ([f"a={theirs / 'none'}"], "no such folder"),
    ]
    for arguments, message in refused:
        assert cli.main([*base, *arguments]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    (theirs / "0.png").unlink()
    assert cli.main([*base, f"a={theirs}"]) == 2
    assert "0.jpg: has no partner" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main([*base, str(theirs)])
    assert "is not NAME=DIR" in capsys.readouterr().err


def test_evaluate_measures_lpips_when_asked(originals, tmp_path, capsys, monkeypatch):
    class Distance:
        def __init__(self, weights):
            assert weights == tmp_path

        def __call__(self, reference, image):
            assert reference.shape == image.shape == (1, 64, 64, 3)
            assert 0.5 < reference.max() <= 1.0
            return [0.125]

    monkeypatch.setattr("keras_fsr.metrics.lpips.LPIPS", Distance)
    arguments = ["evaluate", "--model", "bicubic", "--data", str(originals), "--lpips", "--weights", str(tmp_path)]
    assert cli.main(arguments) == 0
    assert table_of(capsys.readouterr().out)["lanczos"]["LPIPS"] == "0.1250"


def test_lpips_without_weights_is_one_line_before_the_work(originals, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("keras_fsr.evaluation.protocol.evaluate", lambda *a, **k: pytest.fail("worked first"))
    monkeypatch.delenv("KERAS_FSR_WEIGHTS", raising=False)
    for more in ([], ["--weights", str(tmp_path)]):
        assert cli.main(["evaluate", "--data", str(originals), "--lpips", *more]) == 2
        err = capfd.readouterr().err
        assert err.count("\n") == 1
        assert "squeezenet1_1_torchvision.npz" in err
        assert "KERAS_FSR_WEIGHTS" in err


def test_lpips_without_tensorflow_names_the_extra(originals, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    assert cli.main(["evaluate", "--data", str(originals), "--lpips"]) == 2
    assert "pip install '.[train]'" in capsys.readouterr().err


def test_evaluate_imports_no_tensorflow(originals):
    code = (
        "import sys; from keras_fsr import cli;"
        f"cli.main(['evaluate', '--model', 'bicubic', '--data', {str(originals)!r}]);"
        "sys.exit(str([name for name in ('tensorflow', 'keras', 'skimage') if name in sys.modules] or ''))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert "bicubic" in result.stdout
    assert result.stderr.strip() == ""


def test_evaluate_measures_on_given_lr_images(originals, tmp_path, capsys):
    reduced, dark = tmp_path / "reduced", tmp_path / "dark"
    for folder, gain in ((reduced, 1.0), (dark, 0.5)):
        folder.mkdir()
        for path in originals.iterdir():
            with Image.open(path) as image:
                lr = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC))
            Image.fromarray((lr * gain).astype(np.uint8)).save(folder / f"{path.stem}.png")
    base = ["evaluate", "--model", "bicubic", "--data", str(originals)]
    tables = []
    for options in ([], ["--lr-data", str(reduced)], ["--lr-data", str(dark)]):
        assert cli.main([*base, *options]) == 0
        tables.append(table_of(capsys.readouterr().out))
    assert tables[0] == tables[1]
    assert float(tables[2]["bicubic"]["PSNR-Y"]) < float(tables[0]["bicubic"]["PSNR-Y"]) - 3
    (reduced / "0.png").unlink()
    assert cli.main([*base, "--lr-data", str(reduced)]) == 2
    assert "0.jpg: has no partner" in capsys.readouterr().err
    assert cli.main([*base, "--lr-data", str(dark), "--scale", "2"]) == 2
    assert "its LR has 16x16 pixels, 64x64 by 2 are wanted" in capsys.readouterr().err


def test_evaluate_at_another_scale_is_refused(originals, capsys):
    assert cli.main(["evaluate", "--data", str(originals), "--scale", "2"]) == 2
    assert "scale" in capsys.readouterr().err


def test_models_of_one_file_name_are_told_apart(tmp_path, capsys):
    from keras_fsr import pretrained

    paths = []
    for folder in ("run1", "run2"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "m.tflite")
        paths[-1].write_bytes(pretrained.weights("face_x4").read_bytes())
    (tmp_path / "hr").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "hr" / "a.png")
    arguments = [part for path in paths for part in ("--model", str(path))]
    assert cli.main(["evaluate", *arguments, "--data", str(tmp_path / "hr")]) == 0
    out = capsys.readouterr().out
    assert all(str(path) in out for path in paths)


def test_evaluate_measures_a_model_at_several_strengths(originals, shipped_pair, capsys):
    arguments = ["--model", "face_x4_gan", "--strength", "0", "0.5", "1", "--data", str(originals)]
    assert cli.main(["evaluate", *arguments]) == 0
    table = table_of(capsys.readouterr().out)
    assert list(table) == ["face_x4_gan@0", "face_x4_gan@0.5", "face_x4_gan@1", "bicubic", "lanczos"]
    assert cli.main(["evaluate", "--model", "face_x4", "face_x4_gan", "--data", str(originals)]) == 0
    ends = table_of(capsys.readouterr().out)
    assert [table["face_x4_gan@0"], table["face_x4_gan@1"]] == [ends["face_x4"], ends["face_x4_gan"]]
    assert table["face_x4_gan@0.5"] not in ends.values()


def test_evaluate_takes_a_fidelity_model_for_a_file(originals, shipped_pair, capsys):
    model = str(shipped_pair / "face_x4_gan.tflite")
    arguments = ["evaluate", "--model", model, "--strength", "0.25", "--data", str(originals)]
    assert cli.main([*arguments, "--fidelity-model", "face_x4"]) == 0
    assert "face_x4_gan.tflite@0.25" in table_of(capsys.readouterr().out)
    assert cli.main(arguments) == 2
    assert "--fidelity-model" in capsys.readouterr().err
