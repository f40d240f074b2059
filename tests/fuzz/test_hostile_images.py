"""Images that a damaged disk or a hostile person made: each is done, or refused in one clear line."""

import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import corpus
import numpy as np
import pytest
from corpus import png_chunk
from PIL import Image
from targets import feed_folder, feed_image, feed_other_format, stand_in, whole_image

from keras_fsr.data.folders import image_size
from keras_fsr.data.loading import decode
from keras_fsr.errors import DataError, FSRError, ImageError
from keras_fsr.evaluation.protocol import load_rgb
from keras_fsr.inference.folder_runs import upscale_folder
from keras_fsr.inference.images import Picture, write_image

NOT_SUPPORTED = {
    "palette.gif": "is a GIF image",
    "animated.gif": "is a GIF image",
    "lab.tif": "of the kind LAB",
    "float.tif": "32-bit pixels of the kind F",
}
SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = png_chunk(b"IEND", b"")


@pytest.fixture
def save(tmp_path):
    """Writes bytes to a file of its own folder and returns its path."""

    def write(name: str, content: bytes) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def refusal(path: Path, out: Path, kind: type = ImageError) -> str:
    """What is said of a file that is refused, in one line that names it; nothing is written."""
    with pytest.raises(kind) as caught:
        stand_in().predict(path, out / "result.png")
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()
    assert not os.listdir(out)
    return str(caught.value)


def png(width: int, height: int, *chunks: bytes, bits: int = 8, kind: int = 2) -> bytes:
    """A PNG file of these chunks after its header."""
    return (
        SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)) + b"".join(chunks)
    )


def pixels(width: int, height: int) -> bytes:
    """The chunk of a gray picture that is black."""
    return png_chunk(b"IDAT", zlib.compress(bytes(height * (width + 1))))


@pytest.mark.parametrize("name", corpus.images())
def test_every_kind_of_image_is_enlarged_or_refused(save, out, name):
    # CMYK, 1 bit, animated files and wrong extensions are done; Lab and float are not.
    path = save(name, corpus.images()[name])
    if name in NOT_SUPPORTED:
        assert NOT_SUPPORTED[name] in refusal(path, out)
        return
    feed_image(path, out)
    feed_other_format(path, out)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
def test_truncated_at_every_kilobyte(save, out, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 70, 3), np.uint8)
    path = save(f"a.{suffix}", b"")
    write_image(path, Picture(noise))
    whole = path.read_bytes()
    assert len(whole) > 5 * 1024
    for size in range(0, len(whole) - 64, 1024):
        path.write_bytes(whole[:size])
        assert "is truncated" in refusal(path, out) or not size


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_bomb_in_a_png_takes_no_memory(save, out, kind):
    bomb = zlib.compress(bytes(60_000_000))
    data = {b"iCCP": b"a\0\0" + bomb, b"zTXt": b"a\0\0" + bomb, b"iTXt": b"a\0\1\0\0\0" + bomb}[kind]
    path = save("a.png", png(8, 8, png_chunk(kind, data), pixels(8, 8), END, kind=0))
    tracemalloc.start()
    with suppress(ImageError):  # Pillow leaves a profile out and refuses texts
        feed_image(path, out)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (65535, 65535), (1, 2**31 - 1), (0, 5)])
def test_huge_headers_are_refused_before_a_pixel_is_read(save, out, size):
    path = save("a.png", png(*size, pixels(8, 8), END))
    tracemalloc.start()
    refusal(path, out)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(65535, 4), (4, 65535)])
def test_sides_of_65535_pixels_are_done_or_refused_by_the_format(save, out, size):
    path = save("a.png", png(*size, pixels(*size), END, kind=0))
    stand_in().predict(path, out / "a.png")
    assert whole_image(out / "a.png") == (2 * size[0], 2 * size[1])
    with pytest.raises(ImageError, match="JPEG holds at most 65500 a side; write .png"):
        stand_in().predict(path, out / "a.jpg")
    assert os.listdir(out) == ["a.png"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1e308])
def test_exif_that_is_no_number_is_kept_or_dropped(save, out, suffix, number):
    # XResolution as a double, for a fraction has no NaN.
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x1a\0\x0c\0\0\0\x01\0\0\0\x1a\0\0\0\0" + struct.pack(">d", number)
    path = save(f"a.{suffix}", b"")
    Image.fromarray(corpus.portrait()).save(path, exif=exif)
    feed_other_format(path, out)
    stand_in().predict(path, out / "tagged.tif")
    whole_image(out / "tagged.tif")


@pytest.mark.parametrize("profile", [b"", b"broken", b"\xff" * 3000, corpus.icc_profile()[:200]])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_broken_colour_profile_is_no_reason_to_refuse(save, out, profile, suffix):
    path = save(f"a.{suffix}", b"")
    Image.fromarray(corpus.portrait()).save(path, icc_profile=profile)
    feed_image(path, out)


def test_a_palette_that_is_too_short_or_missing(save, out):
    # Pillow notices either when it converts the pixels, beyond its decoders.
    too_many = png_chunk(b"PLTE", bytes(3)) + png_chunk(b"tRNS", bytes(300))
    for chunks in (b"", too_many):
        path = save("a.png", png(8, 8, chunks, pixels(8, 8), END, kind=3))
        assert "is truncated or damaged" in refusal(path, out)


def test_a_bigtiff_keeps_what_its_exif_says(save, out):
    # Its EXIF block has its form, which Pillow writes and does not read.
    path = save("a.tif", corpus.tiff(corpus.drawn(), bigtiff=True, description="told", metadata=None))
    for name in ("a.tif", "a.png", "a.jpg"):
        stand_in().predict(path, out / name)
        with Image.open(out / name) as image:
            assert image.getexif()[0x010E] == "told"


def test_the_size_of_turned_files_is_that_of_their_pixels(save):
    # Told by EXIF in all, but Pillow's size of a TIFF is upright already, and PNG may tell it before its pixels.
    for name in ("rgb.tif", "rgb.png", "rgb.jpg", "lossy.webp"):
        path = save(name, corpus.images()[name])
        assert image_size(path) == decode(path).shape[1::-1] == corpus.SIDES


@pytest.mark.parametrize("read", [image_size, decode, load_rgb])
def test_what_pillow_would_start_a_program_for_is_no_image(save, read):
    # With Ghostscript installed, Pillow has it draw EPS files whatever they are called.
    path = save("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(/tmp/x) (w) file\n")
    with pytest.raises(DataError, match=r"a\.png: is damaged or cannot be read as an image") as caught:
        read(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("read", [image_size, decode, load_rgb])
def test_what_pillow_raises_of_damage_becomes_one_line(save, read):
    # An iCCP chunk without its method is an IndexError of Pillow's.
    path = save("a.png", png(8, 8, png_chunk(b"iCCP", b"name"), pixels(8, 8), END, kind=0))
    with pytest.raises(DataError, match=r"a\.png: is damaged"):
        read(path)


# --- names, links, pipes


def test_a_folder_of_links_pipes_and_odd_names(save, out):
    feed_folder(save("rgb.png", corpus.images()["rgb.png"]), out)


def test_links_and_pipes_by_their_names(tmp_path, out):
    os.mkfifo(tmp_path / "pipe.png")
    for name, target in (("loop", "loop.png"), ("gone", "none"), ("to_pipe", "pipe.png"), ("zero", "/dev/zero")):
        (tmp_path / f"{name}.png").symlink_to(target)
    (tmp_path / "x.png").mkdir()
    for name, message in [
        ("pipe", "is a pipe or a device"),
        ("to_pipe", "is a pipe or a device"),
        ("zero", "is a pipe or a device"),
        ("loop", "cannot be read (Too many levels of symbolic links)"),
        ("gone", "does not exist"),
    ]:
        assert message in refusal(tmp_path / f"{name}.png", out)
    with pytest.raises(DataError, match=r"x\.png: holds no image"):
        stand_in().predict(tmp_path / "x.png", out)


def test_a_result_may_lie_where_a_loop_of_links_is(save, out):
    (out / "a.png").symlink_to("a.png")
    stand_in().predict(save("a.png", corpus.images()["gray.png"]), out / "a.png")
    assert not (out / "a.png").is_symlink()


def test_a_link_in_the_output_is_replaced_not_followed(save, tmp_path, out):
    (tmp_path / "precious").write_bytes(b"precious")
    (out / "a.png").symlink_to(tmp_path / "precious")
    feed_image(save("a.png", corpus.images()["gray.png"]), out)
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["é" * 125 + ".png", "\u202egnp.exe.png", "a\nb\r.png", "-rf.png", "%s{0}$(x).png"])
def test_odd_names_are_written_as_they_are_and_told_in_one_line(save, out, name):
    feed_image(save(name, corpus.images()["gray.png"]), out)
    assert os.listdir(out) == [name]
    save(name, b"bad")
    report = upscale_folder(stand_in(), save(name, b"bad").parent, out)
    ((_, reason),) = report.failed
    assert reason.isprintable()


def test_a_name_that_is_too_long_with_what_is_added(save, tmp_path):
    path = save("a" * 251 + ".png", corpus.images()["gray.png"])
    out = tmp_path / "out"
    (tmp_path / "new").mkdir()
    report = upscale_folder(stand_in(), path.parent, out)
    assert report.summary() == "1 written, 0 failed"
    with pytest.raises((FSRError, OSError), match="too long"):
        stand_in().predict(path, tmp_path / "new" / ("b" * 260 + ".png"))
    assert not os.listdir(tmp_path / "new")


def test_the_command_on_a_hostile_folder(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "x.png").mkdir(parents=True)
    contents = {"bad.png": b"bad", "a\nb.png": b"bad", os.fsdecode(b"\xff.png"): corpus.images()["gray.png"]}
    contents |= {os.fsdecode(b"bad\xff.png"): b"bad", "x.png/a.png": corpus.images()["cmyk.jpg"]}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    inputs = [
        os.fsencode(folder),
        *(os.fsencode(path) for path in sorted(folder.iterdir()) if path.name != "pipe.png"),
    ]
    command = [sys.executable, "-m", "keras_fsr.cli", "upscale", *inputs, "-o", str(out), "--model", "face_x4_edge"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=100, check=False, cwd=tmp_path)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1, lines
    assert len(lines) == 8, lines  # four bad files, once in their folder and once by their names
    assert all(line.startswith("keras-fsr: failed: ") and line.isprintable() for line in lines), lines
    results = [path for path in out.rglob("*") if path.is_file()]
    assert len(results) == 4
    for result in results:
        whole_image(result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_commands_take_names_that_are_no_text(save, tmp_path):
    path = save("a.png", corpus.images()["rgb.png"])
    path.rename(path.with_name(os.fsdecode(b"b\xff.png")))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for command in (
        ["degrade", "in", "-o", "lr", "--model", "bicubic"],
        ["evaluate", "--data", "in", "--lr-data", "lr", "--model", "face_x4_edge", "--report", "report"],
        ["bulk", "in", "bulk", "--model", "face_x4_edge", "--workers", "1"],
    ):
        command = [sys.executable, "-m", "keras_fsr.cli", *command]
        done = subprocess.run(command, capture_output=True, env=environment, timeout=100, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        assert b"Traceback" not in done.stderr
    assert b"b\xff.png" in (tmp_path / "report" / "figures.csv").read_bytes()
    assert (tmp_path / "report" / "report.html").stat().st_size
    assert os.listdir(tmp_path / "lr")
    assert os.fsdecode(b"b\xff.png") in os.listdir(tmp_path / "bulk")
