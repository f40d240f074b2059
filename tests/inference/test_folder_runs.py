"""Folder runs: the tree, what is left out, resumed runs, collisions, counts. Enlarging itself is a stand-in."""

import os
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DataError, ImageError, OutputError
from keras_fsr.inference import folder_runs, video
from keras_fsr.inference.folder_runs import FolderReport, describe, is_done, upscale_folder


class Copy:
    """A predictor that copies: files by their bytes, so that a result tells where it is from."""

    scale, workers = 1, 1

    def __init__(self):
        self.seen = []

    def predict(self, image, out=None, progress=None):
        if isinstance(image, np.ndarray):
            return image
        self.seen.append(image)
        if progress:
            progress(1, 2)
        if b"bad" in image.read_bytes():
            raise ImageError(f"{image}: is bad")
        out.write_bytes(image.read_bytes())
        return out


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    for name in ("a.png", "a.jpg", "sub/deep/b.JPG", "notes.txt", ".hidden.png", ".hidden/c.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def age(path, seconds):
    time = path.stat().st_mtime - seconds
    os.utime(path, (time, time))


def test_the_tree_is_kept_and_names_too(source, tmp_path):
    report = upscale_folder(Copy(), source, tmp_path / "out")
    assert tree(tmp_path / "out") == ["a.jpg", "a.png", "sub/deep/b.JPG"]
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"a.jpg"
    assert report.written == [tmp_path / "out" / name for name in ("a.jpg", "a.png", "sub/deep/b.JPG")]
    assert report.summary() == "3 written, 0 failed"


def test_a_bad_file_does_not_stop_the_others(source, tmp_path):
    (source / "a.png").write_bytes(b"bad")
    report = upscale_folder(Copy(), source, tmp_path / "out")
    assert report.failed == [(source / "a.png", f"{source / 'a.png'}: is bad")]
    assert report.summary() == "2 written, 1 failed"


def test_a_resumed_run_does_what_is_missing_outdated_or_failed(source, tmp_path):
    out = tmp_path / "out"
    (source / "a.png").write_bytes(b"bad")
    upscale_folder(Copy(), source, out)
    (source / "a.png").write_bytes(b"good")
    (out / "sub" / "deep" / "b.JPG").unlink()
    again = Copy()
    report = upscale_folder(again, source, out, resume=True)
    assert again.seen == [source / "a.png", source / "sub" / "deep" / "b.JPG"]
    assert report.skipped == [source / "a.jpg"]
    assert report.summary() == "2 written, 1 skipped (done before), 0 failed"
    age(out / "a.png", 60)
    assert upscale_folder(again, source, out, resume=True).written == [out / "a.png"]
    assert len(upscale_folder(Copy(), source, out).written) == 3  # unless asked for, all are done again


def test_a_result_is_done_unless_it_is_missing_older_or_a_folder(tmp_path):
    path, out = tmp_path / "in.png", tmp_path / "out.png"
    path.write_text("")
    assert not is_done(path, out)
    out.write_text("")
    os.utime(path, (1000, 1000))
    for time, done in ((999, False), (1000, True), (1001, True)):  # equal: disks that count in two seconds
        os.utime(out, (time, time))
        assert is_done(path, out) is done
    assert not is_done(path, tmp_path)


def test_an_output_inside_the_input_is_no_input(source):
    for _ in range(2):
        assert len(upscale_folder(Copy(), source, source / "sub" / "out").written) == 3
    assert tree(source / "sub" / "out") == ["a.jpg", "a.png", "sub/deep/b.JPG"]


@pytest.mark.parametrize("resume", [False, True])
def test_the_input_folder_is_no_output(source, resume):
    with pytest.raises(ImageError, match="is the input folder itself"):
        upscale_folder(Copy(), source, source / "sub" / "..", resume=resume)


@pytest.mark.parametrize("resume", [False, True])
def test_no_input_is_overwritten_by_the_result_of_another(tmp_path, resume):
    # in/in/a.png goes to ./in/a.png, which is an input itself.
    for name, time in (("in/a.png", 2000), ("in/in/a.png", 1000)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        os.utime(path, (time, time))
    report = upscale_folder(Copy(), tmp_path / "in", tmp_path, resume=resume)
    assert report.written == [tmp_path / "a.png"]
    ((failed, reason),) = report.failed
    assert failed == tmp_path / "in" / "in" / "a.png"
    assert f"would overwrite {tmp_path / 'in' / 'a.png'}" in reason
    assert (tmp_path / "in" / "a.png").read_bytes() == b"in/a.png"


@pytest.mark.parametrize("resume", [False, True])
def test_names_that_are_one_on_the_output_disk_do_not_overwrite_each_other(source, tmp_path, resume):
    # A link stands for a disk that takes A.png for a.png.
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").symlink_to("a.jpg")
    if resume:
        (out / "a.jpg").write_bytes(b"a.jpg")
    report = upscale_folder(Copy(), source, out, resume=resume)
    assert [path for path, _ in report.failed] == [source / "a.png"]
    assert "would overwrite" in report.failed[0][1]
    assert (out / "a.jpg").read_bytes() == b"a.jpg"


def test_links_to_folders_are_not_followed_and_loops_end(source, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.png").write_bytes(b"x")
    (source / "sub" / "loop").symlink_to(source)
    (source / "link").symlink_to(elsewhere)
    (source / "file.png").symlink_to(elsewhere / "x.png")
    upscale_folder(Copy(), source, tmp_path / "out")
    assert tree(tmp_path / "out") == ["a.jpg", "a.png", "file.png", "sub/deep/b.JPG"]


def test_a_link_that_leads_nowhere_is_told_and_a_pipe_left_alone(source, tmp_path):
    (source / "lost.png").symlink_to(tmp_path / "none.png")
    os.mkfifo(source / "pipe.png")
    report = upscale_folder(Copy(), source, tmp_path / "out")
    assert [path.name for path, _ in report.failed] == ["lost.png"]
    assert report.failed[0][1] == f"{source / 'lost.png'}: No such file or directory; check the disk and permissions"


def test_a_folder_that_cannot_be_listed_is_told(source, tmp_path, monkeypatch):
    # Tests may run as root, whom permissions do not bind: the refusal of the operating system is played.
    listed = os.scandir

    def refuse(folder):
        if str(folder).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    report = upscale_folder(Copy(), source, tmp_path / "out")
    reason = f"{source / 'sub'}: cannot be listed (Permission denied); check its permissions"
    assert report.failed == [(source / "sub", reason)]
    assert report.summary() == "2 written, 1 failed"
    assert len(upscale_folder(Copy(), source / "sub", tmp_path / "out").failed) == 1


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"in: holds no image or video \(.*\.png.*\.mp4"):
        upscale_folder(Copy(), tmp_path / "in", tmp_path / "out")


def test_progress_counts_files_and_parts_of_them(source, tmp_path):
    seen = []
    upscale_folder(Copy(), source, tmp_path / "out", lambda *state: seen.append(state))
    assert seen == [(0.5, 3), (1, 3), (1.5, 3), (2, 3), (2.5, 3), (3, 3)]


def test_a_file_of_unknown_length_does_not_move_the_progress(tmp_path):
    assert folder_runs._Bar(lambda *state: pytest.fail("moved"), 2).part(tmp_path)(1, None) is None
    assert folder_runs._Bar(None, 2).part(tmp_path) is None


class Crew(Copy):
    """Copies in two threads, each of which waits until the other is at work, too."""

    workers = 2

    def __init__(self):
        super().__init__()
        self.meeting = threading.Barrier(2)

    def shared(self):
        return self

    def predict(self, image, out=None, progress=None):
        self.meeting.wait(30)
        return super().predict(image, out, progress)


def test_several_workers_do_files_side_by_side_and_report_them_in_order(source, tmp_path):
    (source / "b.png").write_bytes(b"bad")
    crew, seen = Crew(), []
    report = upscale_folder(crew, source, tmp_path / "out", lambda *state: seen.append(state))
    assert report.written == [tmp_path / "out" / name for name in ("a.jpg", "a.png", "sub/deep/b.JPG")]
    assert report.failed == [(source / "b.png", f"{source / 'b.png'}: is bad")]
    assert all(total == 4 for _, total in seen)
    done = [done for done, _ in seen]
    assert done == sorted(done)
    assert done[-1] == 4


@pytest.mark.parametrize("names", [("A.png", "a.png"), ("\u00e4.png", "a\u0308.png")])
def test_files_that_may_be_one_on_the_output_disk_are_not_done_side_by_side(tmp_path, names):
    first, rest = folder_runs._apart({tmp_path / name: tmp_path / "out" / name for name in (*names, "b.png")})
    assert first == [tmp_path / names[0], tmp_path / "b.png"]
    assert rest == [tmp_path / names[1]]


def test_files_that_links_make_one_are_not_done_side_by_side(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").symlink_to(tmp_path / "out" / "a")
    targets = {tmp_path / name: tmp_path / "out" / name for name in ("a/x.png", "b/x.png")}
    assert folder_runs._apart(targets) == ([tmp_path / "a/x.png"], [tmp_path / "b/x.png"])


def test_videos_are_enlarged_among_the_images(source, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "has_ffmpeg", lambda: False)
    writer = cv2.VideoWriter(
        str(source / "sub" / "v.MP4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25, (16, 16)
    )
    for _ in range(3):
        writer.write(np.zeros((16, 16, 3), np.uint8))
    writer.release()
    (source / "bad.mkv").write_text("text")
    report = upscale_folder(Copy(), source, tmp_path / "out")
    assert tree(tmp_path / "out") == ["a.jpg", "a.png", "sub/deep/b.JPG", "sub/v.MP4"]
    assert [path.name for path, _ in report.failed] == ["bad.mkv"]
    assert len(report.notes) == 1
    assert "without sound" in report.notes[0]
    again = upscale_folder(Copy(), source, tmp_path / "out", resume=True)
    assert again.summary() == "0 written, 4 skipped (done before), 1 failed"


def test_with_the_predictor_itself(source, tmp_path, save_image):
    from keras_fsr.inference.predictor import Predictor

    image = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    save_image("photos/sub/c.png", image)
    predictor = Predictor("face_x4")
    report = predictor.predict(tmp_path / "photos", tmp_path / "out")
    assert report.written == [tmp_path / "out" / "sub" / "c.png"]
    with Image.open(report.written[0]) as result:
        assert result.size == (40, 32)
    assert upscale_folder(predictor, tmp_path / "photos", tmp_path / "out", resume=True).written == []
    with pytest.raises(ImageError, match="photos: is a folder; name the folder to write to"):
        predictor.predict(tmp_path / "photos")


def test_reports_add_up(tmp_path):
    report = FolderReport(written=[tmp_path], notes=["a"])
    report.add(FolderReport([tmp_path], [tmp_path], [(tmp_path, "reason")], ["b"]))
    assert report == FolderReport([tmp_path] * 2, [tmp_path], [(tmp_path, "reason")], ["a", "b"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OutputError("what it says"), "what it says"),
        (MemoryError(), "a.png: does not fit in memory; use a smaller tile or image"),
        (OSError(28, "No space left"), "a.png: No space left; check the disk and permissions"),
        (OSError("odd"), "a.png: odd; check the disk and permissions"),
    ],
)
def test_every_error_is_one_line_that_names_the_file(error, line):
    from pathlib import Path

    assert describe(Path("a.png"), error) == line
