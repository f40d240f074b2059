"""`keras-fsr evaluate`: tables, reports, metrics, groups, other people's results, strengths."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli
from keras_fsr.cli import make_parser
from keras_fsr.evaluation import statistics

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Intervals have their own tests."""
    monkeypatch.setattr(statistics, "RESAMPLES", 50)
    statistics.draws.cache_clear()
    yield
    statistics.draws.cache_clear()


@pytest.fixture
def no_work(monkeypatch):
    """Fails the test that measures anything."""
    monkeypatch.setattr("keras_fsr.evaluation.protocol.evaluate", lambda *a, **k: pytest.fail("worked first"))


def refused(capsys, *arguments: str) -> str:
    """The one line with which `evaluate` refuses these arguments."""
    assert cli.main(["evaluate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("keras-fsr: error: ")
    return err


def summary_in(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


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
    files = sorted(path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file())
    assert files == [
        "figures.csv",
        "report.html",
        "report.md",
        "sheet.png",
        "strips/01.webp",
        "strips/02.webp",
        "summary.json",
    ]
    assert all(f"{report / name}" in out for name in files)
    figures = summary_in(report)["models"]
    assert set(figures["face_x4"]["psnr_y"]) == {"mean", "low", "high", "images"}
    assert f"{figures['face_x4']['psnr_y']['mean']:.2f}" == table_of(out)["face_x4"]["PSNR-Y"]


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
    rows = [line.split() for line in lines[first + 1 :] if ":" not in line]
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
    files = sorted(path.name for path in report.iterdir())
    assert files == ["figures.csv", "report.html", "report.md", "strips", "summary.json"]
    assert summary_in(report)["sha256"] == {}


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
        def __init__(self, weights, backbone):
            assert (weights, backbone) == (tmp_path, "squeeze")

        def __call__(self, reference, image):
            assert reference.shape == image.shape == (1, 64, 64, 3)
            assert 0.5 < reference.max() <= 1.0
            return [0.125]

    monkeypatch.setattr("keras_fsr.metrics.lpips.LPIPS", Distance)
    arguments = [
        "evaluate",
        "--model",
        "bicubic",
        "--data",
        str(originals),
        "--metrics",
        "lpips",
        "--weights",
        str(tmp_path),
    ]
    assert cli.main(arguments) == 0
    assert table_of(capsys.readouterr().out)["lanczos"]["LPIPS"] == "0.1250"


def test_lpips_without_weights_is_one_line_before_the_work(originals, tmp_path, capfd, monkeypatch, no_work):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path / "empty"))
    for more in ([], ["--weights", str(tmp_path)]):
        assert cli.main(["evaluate", "--data", str(originals), "--metrics", "lpips", *more]) == 2
        err = capfd.readouterr().err
        assert err.count("\n") == 1
        assert "squeezenet1_1_torchvision.npz" in err
        assert "KERAS_FSR_WEIGHTS" in err
        assert str(tmp_path if more else tmp_path / "empty") in err


def test_lpips_without_tensorflow_names_the_extra(originals, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert "pip install '.[train]'" in refused(capsys, "--data", str(originals), "--metrics", "lpips")


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


# --- names


def parsed(*arguments: str):
    return make_parser().parse_args(["evaluate", "--data", "d", *arguments])


def test_names_come_with_spaces_commas_and_repeated_options():
    arguments = parsed("--models", "a,b", "c", "--model", "d,", "--metrics", "lpips,niqe", "--by", "x", "y,z")
    assert arguments.models == ["a", "b", "c", "d"]
    assert arguments.metrics == ["lpips", "niqe"]
    assert arguments.by == ["x", "y", "z"]
    again = parsed("--metrics", "pi")
    assert (again.models, again.metrics, again.by) == (None, ["pi"], [])
    assert parsed().metrics == []


def test_models_with_commas_are_measured_in_their_order(originals, capsys):
    from keras_fsr import pretrained

    file = str(pretrained.weights("face_x4"))
    assert cli.main(["evaluate", "--models", f"lanczos,{file}", file, "--data", str(originals)]) == 0
    assert list(table_of(capsys.readouterr().out)) == ["lanczos", "face_x4.tflite", "bicubic"]


def test_unknown_names_are_one_line_before_the_work(originals, capsys, no_work):
    data = ["--data", str(originals)]
    assert "face_x9: no such model; shipped are " in refused(capsys, *data, "--models", "bicubic,face_x9")
    assert "no metric is called lpipz; did you mean 'lpips'?" in refused(capsys, *data, "--metrics", "lpipz")
    assert "no metric is called psnr9" in refused(capsys, *data, "--metrics", "all,psnr9")
    assert "no such folder" in refused(capsys, "--data", str(originals / "none"))


def test_a_report_tells_which_file_of_weights_was_measured(originals, shipped_pair, tmp_path):
    from keras_fsr import pretrained

    digest = pretrained.card("face_x4_gan").sha256["face_x4_gan.tflite"]
    models = ["--models", "face_x4_gan,bicubic", "--strength", "0.5", "1"]
    assert cli.main(["evaluate", *models, "--data", str(originals), "--report", str(tmp_path / "report")]) == 0
    summary = summary_in(tmp_path / "report")
    assert summary["sha256"] == {"face_x4_gan@0.5": digest, "face_x4_gan@1": digest}
    assert summary["first"] == "face_x4_gan@0.5"
    assert list(summary["models"]) == ["face_x4_gan@0.5", "face_x4_gan@1", "bicubic", "lanczos"]


# --- metrics


@pytest.fixture
def nothing_else(tmp_path, monkeypatch):
    """A machine with the light install, the extra report and no weights."""
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path / "none"))
    for name in ("tensorflow", "dlib", "pyiqa"):
        monkeypatch.setitem(sys.modules, name, None)


def test_of_all_metrics_what_is_missing_is_left_out_and_told(originals, nothing_else, tmp_path, capsys):
    report = tmp_path / "report"
    arguments = ["--model", "bicubic", "--data", str(originals), "--metrics", "all", "--report", str(report)]
    assert cli.main(["evaluate", *arguments]) == 0
    out = capsys.readouterr().out
    names = ["lpips", "lpips-vgg", "lpips-alex", "pieapp", "niqe", "pi", "identity"]
    said = [line.split(": ", 2)[1:] for line in out.splitlines() if line.startswith("not measured: ")]
    reasons = dict(said)
    assert list(reasons) == names
    assert "tensorflow" in reasons["lpips"]
    assert "holds no parameters of NIQE" in reasons["niqe"]
    assert "dlib" in reasons["identity"]
    assert summary_in(report)["left_out"] == names
    for name in ("report.html", "report.md"):
        text = (report / name).read_text(encoding="utf-8")
        assert f"Not measured, for want of weights or packages: {', '.join(names)}." in text
    for path in report.glob("*.*"):  # the reasons name folders of this machine, which a report may not
        assert str(tmp_path).encode() not in path.read_bytes()
    assert list(table_of(out)["bicubic"]) == ["PSNR-Y", "SSIM-Y", "PSNR-RGB", "SSIM-RGB", "grid", "colour"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("pieapp", "pip install '.[train]'"),
        ("niqe", "holds no parameters of NIQE"),
        ("identity", "pip install '.[identity]'"),
        ("all,niqe", "holds no parameters of NIQE"),
    ],
)
def test_a_metric_that_was_named_must_be_there(originals, nothing_else, no_work, capsys, metric, message):
    assert message in refused(capsys, "--data", str(originals), "--model", "bicubic", "--metrics", metric)


@pytest.fixture
def naturalness(monkeypatch):
    """A NIQE that is the mean of the image; collects the priors it is made with."""
    priors = []

    class Score:
        def __init__(self, prior):
            priors.append(prior)

        def __call__(self, image, border=0):
            return float(image.mean())

    monkeypatch.setattr("keras_fsr.metrics.niqe.NIQE", Score)
    return priors


def test_ma_score_without_pyiqa_says_what_to_install(originals, naturalness, nothing_else, no_work, capsys):
    message = refused(capsys, "--data", str(originals), "--model", "bicubic", "--metrics", "pi")
    assert "pip install pyiqa" in message


def test_blind_figures_stand_beside_those_of_the_originals(originals, naturalness, tmp_path, capsys):
    means = [np.asarray(Image.open(path)).mean() for path in sorted(originals.iterdir())]
    prior = ["--niqe-prior", str(tmp_path / "own.npz"), "--weights", str(tmp_path)]
    report = tmp_path / "report"
    arguments = ["--model", "bicubic", "--data", str(originals), "--metrics", "niqe", *prior]
    assert cli.main(["evaluate", *arguments, "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert naturalness == [tmp_path / "own.npz"]
    assert f"niqe: the originals have {np.mean(means):.3f}" in out
    assert summary_in(report)["originals"]["niqe"] == pytest.approx(np.mean(means), abs=1e-6)
    assert "NIQE" in table_of(out)["bicubic"]


# --- groups


@pytest.fixture
def manifest(originals) -> Path:
    path = originals.parent / "faces.csv"
    path.write_text("file,source,identity\nhr/0.jpg,drawn,ann\n1.jpg,real,bob\n", encoding="utf-8")
    return path


def test_groups_of_a_manifest_are_kept_apart(originals, manifest, tmp_path):
    report = tmp_path / "report"
    arguments = ["--model", "bicubic", "--data", str(originals), "--manifest", str(manifest), "--by", "source"]
    assert cli.main(["evaluate", *arguments, "--report", str(report)]) == 0
    summary = summary_in(report)
    assert list(summary["subgroups"]) == ["source"], "persons are groups only where they are asked for"
    parts = summary["subgroups"]["source"]
    assert [(name, part["images"]) for name, part in parts.items()] == [("drawn", 1), ("real", 1)]
    both = [parts[name]["models"]["bicubic"]["psnr_y"]["mean"] for name in parts]
    assert np.mean(both) == pytest.approx(summary["models"]["bicubic"]["psnr_y"]["mean"], abs=1e-5)
    assert "By source" in (report / "report.html").read_text(encoding="utf-8")


def test_persons_of_a_manifest_reach_the_identity_metric(originals, manifest, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("keras_fsr.evaluation.choosing.identity", lambda persons: asked.append(persons) or [])
    base = ["evaluate", "--model", "bicubic", "--data", str(originals), "--metrics", "identity"]
    assert cli.main([*base, "--manifest", str(manifest)]) == 0
    assert cli.main(base) == 0
    assert asked == [{originals / "0.jpg": "ann", originals / "1.jpg": "bob"}, None]


def test_a_manifest_that_does_not_fit_is_one_line_before_the_work(originals, manifest, tmp_path, capsys, no_work):
    base = ["--model", "bicubic", "--data", str(originals), "--report", str(tmp_path / "report")]
    assert "give --manifest" in refused(capsys, *base, "--by", "source")
    given = [*base, "--manifest", str(manifest)]
    assert "has no column age; it has file, source, identity" in refused(capsys, *given, "--by", "source,age")
    manifest.write_text("file,source\n0.jpg,drawn\n", encoding="utf-8")
    assert "has no row for " in refused(capsys, *given, "--by", "source")
    manifest.unlink()
    assert "cannot be read as a CSV" in refused(capsys, *given)


def test_options_of_the_report_need_one(originals, manifest, capsys, no_work):
    base = ["--model", "bicubic", "--data", str(originals)]
    assert "--report DIR" in refused(capsys, *base, "--manifest", str(manifest), "--by", "source")
    assert "--report DIR" in refused(capsys, *base, "--show", str(originals))


# --- what is shown


def test_shown_images_are_drawn_and_measured_ones_are_not(originals, theirs, tmp_path):
    (tmp_path / "show").mkdir()
    (tmp_path / "made").mkdir()
    Image.new("RGB", (64, 64), (200, 0, 0)).save(tmp_path / "show" / "free.png")
    Image.new("RGB", (64, 64), (0, 0, 200)).save(tmp_path / "made" / "free.png")
    report = tmp_path / "report"
    arguments = ["--data", str(originals), "--results", f"them={theirs}", "--show", str(tmp_path / "show")]
    arguments += ["--show-results", f"others={tmp_path / 'made'}", "--report", str(report)]
    assert cli.main(["evaluate", *arguments]) == 0
    assert sorted(path.name for path in report.rglob("*") if path.suffix in (".png", ".webp")) == ["01.webp"]
    with Image.open(report / "strips" / "01.webp") as strip:
        # input, face_x4, bicubic, lanczos, others, original: 256 pixels each, 8 between them
        middles = [strip.getpixel((8 + 128 + 264 * column, 31 + 128)) for column in range(6)]
        assert strip.width == 8 + 6 * 264
    for column, (red, _, blue) in enumerate(middles):
        assert (red > 150) == (column != 4)
        assert (blue > 150) == (column == 4)
    assert list(summary_in(report)["models"]) == ["face_x4", "bicubic", "lanczos", "them"]


def test_show_does_not_go_with_given_lr_images(originals, tmp_path, capsys, no_work):
    base = ["--model", "bicubic", "--data", str(originals), "--report", str(tmp_path / "report")]
    assert "--lr-data" in refused(capsys, *base, "--show", str(originals), "--lr-data", str(originals))
    assert "--show-results" in refused(capsys, *base, "--show-results", f"a={originals}")
    assert "no such folder" in refused(capsys, *base, "--show", str(tmp_path / "none"))


# --- the report's folder and its extra


def test_a_report_that_cannot_be_written_is_one_line_before_the_work(originals, tmp_path, capsys, no_work):
    (tmp_path / "file").touch()
    base = ["--model", "bicubic", "--data", str(originals)]
    for folder in (tmp_path / "file", tmp_path / "file" / "report"):
        assert f"{folder}: cannot be made a folder" in refused(capsys, *base, "--report", str(folder))


def test_a_report_without_jinja_names_the_extra_before_the_work(originals, tmp_path, capsys, monkeypatch, no_work):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    base = ["--model", "bicubic", "--data", str(originals)]
    message = refused(capsys, *base, "--report", str(tmp_path / "report"))
    assert "jinja2" in message
    assert "pip install '.[report]'" in message
    assert not (tmp_path / "report").exists()
