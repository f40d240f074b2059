"""Image files that cannot be read or written: one clear line each, and no half-written file."""

import errno
import os
import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import ImageError, OutputError
from keras_fsr.inference import images
from keras_fsr.inference.images import Picture, check_output, read_image, write_image


def noise(*shape: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def make_picture(alpha: bool = False) -> Picture:
    return Picture(noise(13, 18, 3), noise(13, 18) if alpha else None)


def huge_png(width: int, height: int, bits: int) -> bytes:
    """A PNG file that claims this size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def assert_refused(path, message: str, **options) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_huge_header_is_refused_at_once_and_for_free(tmp_path, recwarn):
    for bits in (8, 16):
        (tmp_path / "a.png").write_bytes(huge_png(30000, 30000, bits))
        tracemalloc.start()
        start = time.perf_counter()
        assert_refused(tmp_path / "a.png", "30000 x 30000 pixels, more than the limit of 64000000")
        assert time.perf_counter() - start < 1
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()
    assert not recwarn.list


def test_max_pixels_takes_the_place_of_pillows_limit(tmp_path, monkeypatch, recwarn):
    Image.fromarray(noise(20, 20, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(tmp_path / "a.png", max_pixels=400).height == 20
    assert_refused(tmp_path / "a.png", "limit of 399", max_pixels=399)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert not recwarn.list


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("kept", [0.05, 0.6, 0.97])
def test_truncated(tmp_path, extension, kept, recwarn, capfd):
    path = tmp_path / f"a{extension}"
    write_image(path, Picture(noise(60, 60, 3)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert_refused(path, "is truncated")
    assert not recwarn.list
    assert extension == ".tif" or capfd.readouterr().err == ""  # libtiff speaks up by itself


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("kept", [0.05, 0.6, 0.97])
def test_truncated_16bit(tmp_path, extension, kept, capfd):
    path = tmp_path / f"a{extension}"
    write_image(path, Picture(noise(60, 60, 3, dtype=np.uint16)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert_refused(path, "is truncated")
    assert extension == ".tif" or capfd.readouterr().err == ""


def test_not_an_image(tmp_path):
    (tmp_path / "a.png").write_text("just some text\n" * 20)
    assert_refused(tmp_path / "a.png", "is not an image")
    (tmp_path / "b.png").write_bytes(b"")
    assert_refused(tmp_path / "b.png", r"is empty \(0 bytes\)")
    (tmp_path / "c.png").mkdir()
    assert_refused(tmp_path / "c.png", "is a folder")
    assert_refused(tmp_path / "d.png", "does not exist")
    assert_refused(tmp_path / "a.png" / "e.png", "cannot be read")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind here")
def test_unreadable(tmp_path):
    (tmp_path / "a.png").write_bytes(b"data")
    (tmp_path / "a.png").chmod(0)
    assert_refused(tmp_path / "a.png", "cannot be read .*permissions")


def test_unreadable_as_told_by_the_system(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(images, "open", refuse, raising=False)
    assert_refused(tmp_path / "a.png", r"cannot be read \(Permission denied\)")


def test_unsupported_kinds(tmp_path):
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.png", "GIF")
    assert_refused(tmp_path / "a.png", "is a GIF image")
    Image.fromarray(noise(8, 8).astype(np.float32)).save(tmp_path / "gray.tif")
    assert_refused(tmp_path / "gray.tif", "32-bit pixels of the kind F")
    cv2.imwrite(str(tmp_path / "rgb.tif"), noise(8, 8, 3).astype(np.float32))
    assert_refused(tmp_path / "rgb.tif", "rare kind")
    Image.fromarray(noise(8, 8).astype(np.int32)).save(tmp_path / "int.tif")
    assert_refused(tmp_path / "int.tif", "32-bit pixels of the kind I")


@pytest.mark.parametrize(
    ("tag", "value", "message"), [(338, 1, "premultiplied transparency"), (284, 2, "separate planes")]
)
def test_16bit_tiff_that_opencv_would_misread(tmp_path, tag, value, message):
    levels = noise(5, 6, 4, dtype=np.uint16)
    write_image(tmp_path / "a.tif", Picture(levels[..., :3], levels[..., 3]))
    data = (tmp_path / "a.tif").read_bytes()
    replaced = 338 if tag == 338 else 278  # one strip needs no RowsPerStrip
    at = data.index(struct.pack("<HHL", replaced, 3 if tag == 338 else 4, 1))
    (tmp_path / "a.tif").write_bytes(data[:at] + struct.pack("<HHLHH", tag, 3, 1, value, 0) + data[at + 12 :])
    assert_refused(tmp_path / "a.tif", message)


# --- writing


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def save(self, file, *_, **__):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OutputError, match=r"a\.png: cannot be written \(No space left on device\)"):
        write_image(path, make_picture())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_interrupted_write_leaves_no_trace(tmp_path, monkeypatch):
    def save(self, file, *_, **__):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(KeyboardInterrupt):
        write_image(tmp_path / "a.png", make_picture())
    assert not os.listdir(tmp_path)


def test_write_replaces_and_follows_the_umask(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"old")
    picture = make_picture()
    write_image(tmp_path / "a.png", picture)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, picture.pixels)
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_bad_output_paths(tmp_path):
    picture = make_picture()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dir.png").mkdir()
    for name, message in [
        ("missing/a.png", "is not a folder; create it"),
        ("file/a.png", "is not a folder; create it"),
        ("dir.png", "is a folder"),
        ("a.gif", r"use one of \.png"),
        ("a", r"use one of \.png"),
    ]:
        with pytest.raises(ImageError, match=message):
            write_image(tmp_path / name, picture)
    assert sorted(os.listdir(tmp_path)) == ["dir.png", "file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind here")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=r"cannot be written .*permissions"):
        write_image(tmp_path / "a.png", make_picture())
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("extension", [".jpg", ".bmp"])
def test_transparency_is_refused_where_it_would_be_lost(tmp_path, extension):
    picture = make_picture(alpha=True)
    with pytest.raises(ImageError, match=r"has transparency, which .* cannot hold; write \.png or \.webp"):
        write_image(tmp_path / f"a{extension}", picture)
    opaque = Picture(picture.pixels, np.full_like(picture.alpha, 255))
    write_image(tmp_path / f"a{extension}", opaque)
    assert read_image(tmp_path / f"a{extension}").alpha is None


@pytest.mark.parametrize(("name", "limit"), [("a.webp", 16383), ("a.jpg", 65500)])
def test_sides_beyond_the_format_are_refused(tmp_path, name, limit):
    check_output(tmp_path / name, limit, 5, transparent=False)
    with pytest.raises(ImageError, match=f"at most {limit} a side; write .png"):
        write_image(tmp_path / name, Picture(np.zeros((1, limit + 1, 3), np.uint8)))
    write_image(tmp_path / name, Picture(np.zeros((1, limit, 3), np.uint8)))
    check_output(tmp_path / "a.png", limit + 1, 5, transparent=True)
