"""Where results go, resumed runs and videos among several inputs. `tests/test_cli.py` has the rest."""

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.errors import ImageError
from keras_fsr.inference import folder_runs
from keras_fsr.inference.inputs import output_for, upscale_inputs


class Copy:
    scale, workers = 4, 1

    def predict(self, image: np.ndarray | Path, out=None, progress=None):
        if not image.is_file():
            raise ImageError(f"{image}: does not exist; check the path")
        out.write_bytes(image.read_bytes())
        return out


@pytest.fixture
def files(tmp_path):
    """a.png, b.mp4, folder/c.png below tmp_path."""
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / "a.png", tmp_path / "b.mp4", tmp_path / "folder" / "c.png"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


@pytest.fixture
def copied_videos(monkeypatch):
    """Videos are copied by Copy, and leave a note."""

    def copy(path, out, predictor, progress):
        predictor.predict(path, out, progress)
        return [f"{out}: a note"]

    monkeypatch.setattr(folder_runs, "upscale_video", copy)


def run(inputs, out=None, **options):
    told = []
    report = upscale_inputs(Copy(), inputs, out, lambda label: nullcontext(None), told.append, **options)
    return report, told


@pytest.mark.parametrize(
    ("path", "out", "expected"),
    [
        ("a.png", None, "a_x4.png"),
        ("b.mp4", None, "b_x4.mp4"),
        ("b.MP4", "other.mkv", "other.mkv"),
        ("b.mp4", "folder", "folder/b_x4.mp4"),
        ("folder", None, "folder_x4"),
        ("folder", "sharp", "sharp"),
    ],
)
def test_results_go_beside_the_input_or_where_they_are_sent(files, monkeypatch, path, out, expected):
    monkeypatch.chdir(files[0].parent)
    assert output_for(Path(path), out and Path(out), 4, single=True) == Path(expected)


def test_images_videos_and_folders_in_one_run(files, tmp_path, copied_videos):
    out = tmp_path / "out"
    report, told = run([files[0], files[1], files[2].parent], out)
    expected = [out / "a_x4.png", out / "b_x4.mp4", out / "folder" / "c.png"]
    assert report.written == expected
    assert told == expected[:2]
    assert report.notes == [f"{out / 'b_x4.mp4'}: a note"]
    assert all(path.is_file() for path in expected)


def test_a_resumed_run_leaves_out_what_is_done(files, tmp_path, copied_videos):
    inputs, out = [files[0], files[1], files[2].parent], tmp_path / "out"
    run(inputs, out)
    os.utime(out / "b_x4.mp4", (1000, 1000))
    report, told = run(inputs, out, resume=True)
    assert told == report.written == [out / "b_x4.mp4"]
    assert report.skipped == [files[0], files[2]]
    assert len(run(inputs, out)[0].written) == 3


def test_a_single_file_can_be_resumed(files):
    assert len(run(files[:1], resume=True)[0].written) == 1
    assert run(files[:1], resume=True)[0].skipped == files[:1]


def test_an_input_is_not_its_own_result(files, tmp_path):
    # The refusal comes from the predictor, which a run that is resumed must ask.
    asked = []

    class Ask(Copy):
        def predict(self, image, out=None, progress=None):
            asked.append(image)
            return out

    upscale_inputs(Ask(), files[:1], files[0], lambda label: nullcontext(None), lambda path: None, resume=True)
    assert asked == files[:1]


def test_an_input_is_not_the_result_of_another(files, tmp_path):
    other = tmp_path / "a_x4.png"
    other.write_bytes(b"mine")
    report, _ = run([files[0], other])
    ((path, reason),) = report.failed
    assert path == files[0]
    assert "would overwrite" in reason
    assert other.read_bytes() == b"mine"
    assert report.written == [tmp_path / "a_x4_x4.png"]


def test_of_several_a_missing_one_is_reported_and_a_single_one_raises(files, tmp_path):
    missing = tmp_path / "none.png"
    report, _ = run([missing, files[0]], tmp_path / "out")
    assert [path for path, _ in report.failed] == [missing]
    assert len(report.written) == 1
    with pytest.raises(ImageError, match="does not exist"):
        run([missing])
