"""What a bulk worker does with a chunk: files, shards and Parquet rows, bad ones among them."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr import pretrained
from keras_fsr.errors import ModelError
from keras_fsr.inference.bulk_sources import FILES, SHARD, Chunk, Item, find_source
from keras_fsr.inference.bulk_worker import Settings, load, upscale_chunk
from keras_fsr.inference.predictor import Predictor

DIGEST = pretrained.digest(pretrained.find("face_x4"))
SETTINGS = Settings(sha256=DIGEST)


def encoded(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return path


def read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as shard:
        return {member.name: shard.extractfile(member).read() for member in shard}


def result(seed: int, tmp_path: Path) -> bytes:
    """What `keras-fsr upscale` writes for an image."""
    path = tmp_path / "single.png"
    path.write_bytes(encoded(seed))
    return Predictor(threads=1).predict(path, tmp_path / "single_x4.png").read_bytes()


def test_files_are_enlarged_and_bad_ones_told(tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encoded(0))
    bad.write_bytes(b"bad")
    chunk = Chunk(FILES, (Item(str(bad), "x/bad.png"), Item(str(good), "x/good.png")))
    failed, done = upscale_chunk(SETTINGS, chunk, str(tmp_path / "out"))
    written = (tmp_path / "out" / "x" / "good.png").read_bytes()
    assert written == result(0, tmp_path)
    assert (done.input, done.output, done.error) == (str(good), "x/good.png", "")
    assert (done.sha256, done.model) == (hashlib.sha256(written).hexdigest(), f"face_x4:{DIGEST[:12]}")
    assert done.milliseconds > 0
    assert (failed.input, failed.output, failed.sha256) == (str(bad), "", "")
    assert failed.error.startswith(f"{bad}: is not an image")
    assert not (tmp_path / "out" / "x" / "bad.png").exists()


def test_an_error_nobody_foresaw_fails_one_image(tmp_path, monkeypatch):
    def predict(self, image, out):
        raise KeyError("what")

    monkeypatch.setattr(Predictor, "predict", predict)
    (row,) = upscale_chunk(SETTINGS, Chunk(FILES, (Item("/in/a.png", "a.png"),)), str(tmp_path))
    assert row.error == "/in/a.png: KeyError: 'what'"


def test_a_shard_keeps_what_belongs_to_its_images(tmp_path):
    members = {"a.png": encoded(0), "a.json": b"{}", "sub/b.x.png": b"bad", "sub/b.cls": b"1", "c.txt": b"c"}
    shard = write_tar(tmp_path / "in.tar", members)
    chunk = Chunk(SHARD, container=str(shard), shard="in.tar")
    done, failed = upscale_chunk(SETTINGS, chunk, str(tmp_path / "out"))
    assert read_tar(tmp_path / "out" / "in.tar") == {
        "a.png": result(0, tmp_path),
        "a.json": b"{}",
        "c.txt": b"c",
    }
    assert (done.input, done.output) == (f"{shard}/a.png", "in.tar/a.png")
    assert (failed.input, failed.output) == (f"{shard}/sub/b.x.png", "")
    assert failed.error.startswith(f"{shard}/sub/b.x.png: is not an image")


@pytest.mark.parametrize("size", [0, 700, 1024, 1536])
def test_a_shard_that_ends_early_writes_nothing(tmp_path, size):
    # Golden: encoded(0) fits in one block of 512 bytes, so that the second member begins at 1024.
    shard = write_tar(tmp_path / "in.tar", {"a.png": encoded(0), "b.png": encoded(1)})
    shard.write_bytes(shard.read_bytes()[:size])
    (row,) = upscale_chunk(SETTINGS, Chunk(SHARD, container=str(shard), shard="in.tar"), str(tmp_path / "out"))
    assert (row.input, row.output) == (str(shard), "")
    assert row.error.startswith(f"{shard}: is a damaged shard")
    assert list((tmp_path / "out").iterdir()) == []


def test_files_become_a_shard_equal_each_time(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(0))
    items = (Item(str(tmp_path / "a.png"), "sub/a.png"), Item(str(tmp_path / "no.png"), "no.png"))
    chunk = Chunk(FILES, items, shard="000003.tar")
    for out in ("first", "second"):
        done, failed = upscale_chunk(SETTINGS, chunk, str(tmp_path / out))
    assert done.output == "000003.tar/sub/a.png"
    assert "does not exist" in failed.error
    assert read_tar(tmp_path / "first" / "000003.tar") == {"sub/a.png": result(0, tmp_path)}
    first, second = (tmp_path / out / "000003.tar" for out in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("as_record", [False, True])
def test_rows_of_a_parquet_file(tmp_path, as_record):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = [encoded(0), None, encoded(2), encoded(3)]
    cells = [{"bytes": cell, "path": "x"} for cell in cells] if as_record else cells
    pq.write_table(pa.table({"image": cells}), tmp_path / "f.parquet", row_group_size=2)
    first, second = find_source(tmp_path / "f.parquet", tmp_path / "out").chunks()
    out = tmp_path / "out"
    done, failed = upscale_chunk(SETTINGS, first, str(out))
    assert failed.error == f"{tmp_path}/f.parquet/1: is empty (0 bytes); get a complete copy"
    assert (out / done.output).read_bytes() == result(0, tmp_path)
    (row,) = upscale_chunk(SETTINGS, Chunk(**{**vars(second), "items": second.items[1:]}), str(out))
    assert row.output == "f/00000003.png"
    assert (out / row.output).read_bytes() == result(3, tmp_path)


def test_another_file_of_the_models_name_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is another file on a worker"):
        upscale_chunk(Settings(sha256="0" * 64), Chunk(FILES), str(tmp_path))
    with pytest.raises(ModelError, match="does not exist on a worker"):
        upscale_chunk(Settings(model="/no/model.tflite"), Chunk(FILES), str(tmp_path))


def test_a_worker_has_one_engine():
    assert load(SETTINGS) is load(Settings(sha256=DIGEST))


def test_labels_tell_pixels_apart():
    plain = Settings(sha256="0123456789abcdef")
    assert plain.label == "face_x4:0123456789ab"
    other = Settings("/m/gan.tflite", "0123456789abcdef", ensemble=True, strength=0.5, fidelity="/m/f.tflite")
    assert other.label == "gan.tflite@0.5+f.tflite+ensemble:0123456789ab"
