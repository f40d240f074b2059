"""Shards, lists, Parquet files and manifests of strangers: nothing is written elsewhere."""

import io
import json
import os
import tarfile
from dataclasses import asdict
from pathlib import Path

import corpus
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from targets import upscaled

from keras_fsr.errors import DataError
from keras_fsr.inference import bulk_manifest
from keras_fsr.inference.bulk_sources import PARQUET, Chunk, Item, find_source
from keras_fsr.inference.bulk_worker import Row

IMAGE = corpus.images()["gray.png"]


def enlarged(source: Path, out: Path) -> list[Row]:
    """What a bulk run makes of a source; every reason is one line."""
    rows = [row for chunk in find_source(source, out).chunks() for row in upscaled(chunk, out)]
    assert all(not row.error or row.error.isprintable() for row in rows), rows
    assert bool(rows)
    bulk_manifest.add(out / "manifest.csv", rows)
    assert list(bulk_manifest.read(out / "manifest.csv")) == rows
    return rows


def members(shard: Path) -> list[str]:
    with tarfile.open(shard) as file:
        return file.getnames()


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "\\evil", "a/..", ".."])
def test_members_that_lead_out_are_left_out_of_the_result(write, tmp_path, out, name):
    sound = {"a.png": IMAGE, "a.json": b"{}"}
    for suffix in (".png", ".json"):
        path = write("a.tar", corpus.tar_file({**sound, f"{name}{suffix}" if name[-1] != "." else name: IMAGE}))
        rows = enlarged(path, out)
        assert [row.error.partition(": ")[2][:9] for row in rows] == ["", "leads out"]
        assert members(out / "a.tar") == ["a.png", "a.json"]
        (out / "manifest.csv").unlink()
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "out"]
    assert os.listdir(out) == ["a.tar"]


def test_links_and_devices_in_a_shard_are_left_out(write, out):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as shard:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo(f"{kind.decode()}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            shard.addfile(member)
        member = tarfile.TarInfo("a.png")
        member.size = len(IMAGE)
        shard.addfile(member, io.BytesIO(IMAGE))
    assert [row.error for row in enlarged(write("a.tar", file.getvalue()), out)] == [""]
    assert members(out / "a.tar") == ["a.png"]


def header(size: bytes, kind: bytes = b"0", sparse: bytes = b"") -> bytes:
    """The header of a member whose size is these twelve bytes."""
    member = tarfile.TarInfo("evil.png")
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size
    block[483 : 483 + len(sparse)] = sparse
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "start",
    [
        header(b"\x80" + (2**62).to_bytes(11)),
        header(b"\xff" + (-512 % 256**11).to_bytes(11)),  # to Python before 3.13.6, the way back to its beginning
        header(b"\xff" + (-512 % 256**11).to_bytes(11), b"x"),
        header(b"00000000000\0", tarfile.GNUTYPE_SPARSE, b"77777777777\0"),  # 8 GB of which nothing is there
        header(b"77777777777\0", b"L"),
    ],
    ids=["huge", "negative", "negative header", "sparse", "long name"],
)
def test_sizes_that_no_member_has_are_refused(write, out, start):
    (row,) = enlarged(write("a.tar", start + corpus.tar_file({"a.png": IMAGE})), out)
    assert row.error.startswith(row.input)
    assert row.input.endswith("a.tar")
    assert os.listdir(out) == ["manifest.csv"]


def test_names_that_are_no_text_are_in_the_manifest_and_the_result(write, out):
    name = os.fsdecode(b"\xff\xfe\n.png")
    (row,) = enlarged(write("a.tar", corpus.tar_file({name: IMAGE})), out)
    assert (row.error, members(out / "a.tar")) == ("", [name])
    (out / "manifest.csv").unlink()
    (row,) = enlarged(write("a.tar", corpus.tar_file({name: b"bad"})), out)
    assert "is not an image" in row.error


@pytest.mark.parametrize("line", ["..", ".", "/", "out", "sub"])
def test_a_list_that_names_a_folder_does_not_enlarge_what_is_in_it(write, tmp_path, out, line):
    (tmp_path / "sub").mkdir()
    write("sub/a.png", IMAGE)
    (row,) = enlarged(write("a.txt", f"{line}\n"), out)
    assert "is a folder, not an image; list the images in it" in row.error
    assert not list(out.rglob("*.png"))


def test_a_list_that_leads_out_is_done_within_the_output(write, tmp_path, out):
    (tmp_path / "sub").mkdir()
    write("a.png", IMAGE)
    (row,) = enlarged(write("sub/a.txt", "../a.png\n"), out)
    assert (out / row.output).resolve().is_relative_to(out)
    assert (out / row.output).is_file()


@pytest.mark.parametrize("line", ["a\0b.png", "x" * 5000 + ".png", "~", "/dev/zero", "manifest.csv"])
def test_lines_that_are_no_images_fail_alone(write, out, line):
    write("good.png", IMAGE)
    failed, done = enlarged(write("a.txt", f"{line}\ngood.png\n"), out)
    assert failed.error
    assert (done.error, done.output) == ("", "good.png")


@pytest.mark.parametrize("suffix", ["txt", "parquet", "tar"])
def test_a_pipe_is_no_source(tmp_path, out, suffix):
    os.mkfifo(tmp_path / f"a.{suffix}")
    with pytest.raises(DataError, match="does not exist, or is no file"):
        find_source(tmp_path / f"a.{suffix}", out)


def parquet(path: Path, column) -> Path:
    pq.write_table(pa.table({"image": column}), path)
    return path


def test_a_parquet_file_cut_in_its_pages_is_refused(tmp_path, out):
    path = parquet(tmp_path / "a.parquet", pa.array([f"{number}.png" for number in range(1000)]))
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet: is damaged"):
        find_source(path, out)


def test_more_rows_than_memory_are_refused(tmp_path, out, monkeypatch):
    path = parquet(tmp_path / "a.parquet", pa.array([IMAGE] * 6))
    monkeypatch.setattr("keras_fsr.inference.bulk_sources.MOST_ROWS", 5)
    with pytest.raises(DataError, match=r"a\.parquet: has 6 rows in a group; write it with 5 at most"):
        find_source(path, out)


def test_values_that_are_no_images_fail_alone(tmp_path, out):
    column = pa.array([b"", None, b"bad", IMAGE])
    rows = enlarged(parquet(tmp_path / "a.parquet", column), out)
    assert [bool(row.error) for row in rows] == [True, True, True, False]


def test_a_group_that_is_not_there_fails_its_chunk(tmp_path, out):
    path = parquet(tmp_path / "a.parquet", pa.array([IMAGE]))
    chunk = Chunk(PARQUET, (Item("x", "x.png"),), str(path), "image", 7)
    (row,) = upscaled(chunk, out)
    assert row.error.isprintable()
    assert row.error.startswith(str(path))


@pytest.mark.parametrize(
    "content",
    [
        "x" * 200_000,
        "input,output\n1,2\n",
        "input,output,model,sha256,milliseconds,error\n" + "a" * 200_000 + ",b,c,d,1,\n",
    ],
)
def test_what_is_no_manifest_is_left_alone(write, content):
    path = write("manifest.csv", content)
    with pytest.raises(DataError, match=r"manifest\.csv: is not a manifest of keras-fsr bulk") as caught:
        bulk_manifest.settle(path)
    assert str(caught.value).isprintable()
    assert path.read_text() == content


@pytest.mark.parametrize("line", ["5", "[1]", "null", "[" * 100_000, '{"input": ["a"]}', "\\xff", '"x"', "{"])
def test_lines_of_a_manifest_that_are_none_are_as_if_not_there(write, line):
    row = Row("/in/a.png", "a.png", "m:0", "0", 1.0, "")
    path = write("manifest.jsonl", f"{line}\n")
    bulk_manifest.add(path, [row])
    assert list(bulk_manifest.read(path)) == [row]


@pytest.mark.parametrize(
    "change",
    [{"output": 5}, {"input": 5}, {"error": 1.5}, {"milliseconds": 10**400}, {"input": "\ud800"}, {"output": "a\0"}],
    ids=lambda change: next(iter(change)),
)
def test_lines_of_a_manifest_with_values_that_no_run_writes_are_as_if_not_there(write, change):
    row = Row("/in/a.png", "a.png", "m:0", "0", 1.0, "")
    path = write("manifest.jsonl", json.dumps(asdict(row) | change) + "\n")
    assert bulk_manifest.settle(path) == 0
