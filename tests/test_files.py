"""Writing whole files or none."""

import os

import pytest

from keras_fsr.errors import OutputError
from keras_fsr.files import make_folder, read_text, sweep, whole_file


def test_a_whole_file_takes_its_place(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".txt"
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path, interruption):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(interruption), whole_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise interruption
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_refusals_of_the_system_name_the_file_in_one_line(tmp_path):
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written") as caught, whole_file(path) as temporary:
        temporary.write_text("x")
    assert "\n" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made a folder"):
        make_folder(tmp_path / "file" / "sub")


def test_text_is_read_of_files_alone_and_never_without_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffäb\r\n".encode())
    assert read_text(path, 8) == "äb\r\n"
    with pytest.raises(ValueError, match="over 7e-06 MB"):
        read_text(path, 7)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match="not a file"):
            read_text(other, 8)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none", 8)


def test_folders_are_made_with_those_above(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()


def test_leftovers_of_the_killed_are_swept_and_nothing_else(tmp_path):
    left = [f".{'0a' * 16}.png", f"sub/.{'f' * 32}", f"sub/.{'1' * 32}.keras"]
    others = ["a.png", f"{'0' * 32}.png", f".{'0' * 31}.png", f".{'g' * 32}.png", f"sub/.{'2' * 32}.png"]
    (tmp_path / "sub").mkdir()
    for name in [*left, *others]:
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (1000, 1000))
    os.utime(tmp_path / others[-1], (3000, 3000))  # written to since
    sweep(tmp_path, 2000)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == set(others)
