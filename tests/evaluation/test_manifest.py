"""Groups of a CSV: how images are found in it, and what is refused."""

import os
from pathlib import Path

import pytest

from keras_fsr.errors import DataError
from keras_fsr.evaluation.manifest import read_manifest


@pytest.fixture
def folder(tmp_path):
    """A data set: test/a.png and test/sub/b.png; `write` puts a manifest beside the folder test."""
    for name in ("test/a.png", "test/sub/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def files(folder) -> list[Path]:
    return [folder / "test/a.png", folder / "test/sub/b.png"]


def write(folder: Path, text: str, **options) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, **{"encoding": "utf-8", **options})
    return path


def test_paths_are_from_the_manifests_folder(folder, files):
    path = write(folder, "file,source\ntest/a.png,real\ntest/sub/b.png,generated\ntrain/a.png,other\n")
    expected = {"source": {files[0]: "real", files[1]: "generated"}}
    assert read_manifest(path, files, ["source"]) == expected


def test_bare_names_do_as_well(folder, files):
    path = write(folder, "file,source\nb.png,generated\na.png,real\n")
    assert read_manifest(path, files, ["source"]) == {"source": {files[0]: "real", files[1]: "generated"}}


def test_a_path_goes_before_a_name(folder, files):
    path = write(folder, "file,source\ntest/a.png,right\na.png,wrong\nb.png,right\n")
    assert read_manifest(path, files, ["source"])["source"] == dict.fromkeys(files, "right")


def test_images_and_manifest_may_be_named_relative_to_elsewhere(folder, monkeypatch):
    write(folder, "file,source\ntest/a.png,real\n")
    monkeypatch.chdir(folder / "test")
    assert read_manifest(Path("../manifest.csv"), [Path("a.png")], ["source"]) == {"source": {Path("a.png"): "real"}}


def test_persons_are_always_read_where_they_are_told(folder, files):
    path = write(folder, "file,source,identity\na.png,real,ann\nb.png,real,bob\n")
    assert read_manifest(path, files, []) == {"identity": {files[0]: "ann", files[1]: "bob"}}
    assert list(read_manifest(path, files, ["source"])) == ["source", "identity"]
    assert list(read_manifest(path, files, ["identity", "source", "source"])) == ["identity", "source"]


def test_an_empty_cell_is_a_group_of_its_own(folder, files):
    path = write(folder, "file,source\na.png,\nb.png\n")
    assert read_manifest(path, files, ["source"])["source"] == dict.fromkeys(files, "(none)")


def test_a_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_heading(folder, files):
    path = write(folder, "file,source\na.png,x\nb.png,y\n", encoding="utf-8-sig")
    assert read_manifest(path, files, ["source"])["source"] == {files[0]: "x", files[1]: "y"}


def test_without_a_manifest_there_are_no_groups(files):
    assert read_manifest(None, files, []) == {}
    with pytest.raises(DataError, match="^groups by source need a manifest that tells them; give --manifest$"):
        read_manifest(None, files, ["source", "age"])


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("name,source\na.png,x\n", ["source"], "manifest.csv: has no column file; it has name, source"),
        ("file,source\na.png,x\n", ["sauce"], "manifest.csv: has no column sauce; it has file, source"),
        ("", [], "manifest.csv: has no column file; it has nothing"),
        ("file,source\na.png,x\n", ["source"], "manifest.csv: has no row for .*b.png; add it, or leave --manifest"),
        ("file,source\na.png,x\n", [], "manifest.csv: has no row for .*b.png"),
        ("file,source\na.png,x,more\nc.png,x\n", ["age"], "has no column age; it has file, source"),
    ],
)
def test_what_is_missing_is_one_line(folder, files, text, columns, message):
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(write(folder, text), files, columns)
    assert "\n" not in str(caught.value)
    assert str(folder / "manifest.csv") in str(caught.value)


def test_what_is_no_csv_is_one_line(folder, files):
    (folder / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "zero.csv").write_bytes(b"file\na\0.png\n")
    os.mkfifo(folder / "pipe.csv")
    for name in ("none.csv", "picture.csv", "zero.csv", "pipe.csv", "test"):
        path = folder / name
        with pytest.raises(DataError, match=f"{path.name}: cannot be read as a CSV .*column file") as caught:
            read_manifest(path, files, [])
        assert "\n" not in str(caught.value)
