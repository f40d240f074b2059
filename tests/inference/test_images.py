"""Image files: every format and kind of pixel there and back, and metadata."""

import os
import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from keras_fsr.inference.images import (
    Picture,
    read_image,
    write_image,
)

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
HOLDS_METADATA = [".png", ".jpg", ".webp", ".tif"]


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 12345
    return exif.tobytes()


def noise(*shape: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(height: int, width: int) -> np.ndarray:
    """An RGB image that JPEG keeps well."""
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + 4 * x, 60 + 3 * y, 200 - 2 * x - y], axis=-1).clip(0, 255).astype(np.uint8)


def make_picture(dtype, gray: bool, alpha: bool, **metadata) -> Picture:
    pixels = noise(13, 18, 1 if gray else 3, dtype=dtype)
    pixels = pixels.repeat(3, axis=2) if gray else pixels
    return Picture(pixels, noise(13, 18, dtype=dtype) if alpha else None, gray, **metadata)


def assert_same(a: Picture, b: Picture) -> None:
    assert a.pixels.dtype == b.pixels.dtype
    assert np.array_equal(a.pixels, b.pixels)
    assert (a.alpha is None) == (b.alpha is None)
    assert a.alpha is None or np.array_equal(a.alpha, b.alpha)


def png_bytes(levels: np.ndarray, color_type: int, extra: tuple[bytes, bytes]) -> bytes:
    """A PNG file of (H, W, C) levels with one more chunk."""
    height, width, _ = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * levels.itemsize, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in levels)
    chunks = [(b"IHDR", header), extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


# --- there and back


@pytest.mark.parametrize(
    ("extension", "alpha"),
    [(".bmp", False), *((e, a) for e in (".png", ".webp", ".tif", ".tiff", ".PNG") for a in (True, False))],
)
@pytest.mark.parametrize("gray", [True, False])
def test_8bit_lossless_round_trip(tmp_path, extension, gray, alpha):
    picture = make_picture(np.uint8, gray, alpha)
    write_image(tmp_path / f"a{extension}", picture)
    back = read_image(tmp_path / f"a{extension}")
    assert_same(back, picture)
    assert back.gray == (gray and extension != ".webp")
    assert os.listdir(tmp_path) == [f"a{extension}"]


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("metadata", [{}, {"exif": exif_block(), "icc": ICC}])
def test_16bit_round_trip(tmp_path, extension, gray, alpha, metadata):
    picture = make_picture(np.uint16, gray, alpha, **metadata)
    write_image(tmp_path / f"a{extension}", picture)
    back = read_image(tmp_path / f"a{extension}")
    assert_same(back, picture)
    assert back.gray == (gray and not alpha)
    assert (back.exif is None) == (back.icc is None) == (not metadata)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16bit_files_of_opencv(tmp_path, extension, channels):
    levels = noise(13, 18, channels, dtype=np.uint16)
    stored = levels[..., [2, 1, 0, 3][:channels]] if channels > 1 else levels
    cv2.imwrite(str(tmp_path / f"a{extension}"), stored)
    back = read_image(tmp_path / f"a{extension}")
    assert np.array_equal(back.pixels, np.broadcast_to(levels[..., :3], (13, 18, 3)))
    assert back.gray == (channels == 1)
    assert (back.alpha is not None) == (channels == 4)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("gray", [True, False])
def test_16bit_files_are_sound_to_other_readers(tmp_path, extension, gray):
    picture = make_picture(np.uint16, gray, False, exif=exif_block(), icc=ICC)
    write_image(tmp_path / f"a{extension}", picture)
    levels = cv2.imread(str(tmp_path / f"a{extension}"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(levels if gray else levels[..., ::-1], picture.pixels[..., 0] if gray else picture.pixels)
    with Image.open(tmp_path / f"a{extension}") as image:
        image.load()
        assert image.info["icc_profile"] == ICC


@pytest.mark.parametrize("gray", [True, False])
def test_jpeg_is_close_and_16_bits_are_rounded(tmp_path, gray):
    pixels = smooth(24, 30)
    pixels = pixels[..., :1].repeat(3, axis=2) if gray else pixels
    write_image(tmp_path / "a.jpg", Picture(pixels.astype(np.uint16) * 257, gray=gray))
    back = read_image(tmp_path / "a.jpg")
    assert back.gray == gray
    assert np.abs(back.pixels.astype(int) - pixels).max() <= 6
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.mode == ("L" if gray else "RGB")


def test_quality_reaches_the_jpeg_encoder(tmp_path):
    picture = Picture(noise(40, 40, 3))
    for quality in (30, 95):
        write_image(tmp_path / f"{quality}.jpg", picture, quality)
    assert (tmp_path / "30.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size


# --- kinds of pixels


@pytest.mark.parametrize("extension", [".png", ".tif", ".bmp"])
def test_1bit(tmp_path, extension):
    bits = noise(9, 21) > 127
    Image.fromarray(bits).save(tmp_path / f"a{extension}")
    back = read_image(tmp_path / f"a{extension}")
    assert back.gray
    assert np.array_equal(back.pixels[..., 1], bits * 255)


@pytest.mark.parametrize("extension", [".png", ".tif", ".bmp"])
def test_palette(tmp_path, extension):
    image = Image.fromarray(smooth(20, 20)).quantize(16)
    image.save(tmp_path / f"a{extension}")
    back = read_image(tmp_path / f"a{extension}")
    assert not back.gray
    assert back.alpha is None
    assert np.array_equal(back.pixels, image.convert("RGB"))


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 160, 10))])
def test_palette_with_transparency(tmp_path, transparency):
    image = Image.fromarray(smooth(20, 20)).quantize(16)
    image.save(tmp_path / "a.png", transparency=transparency)
    back = read_image(tmp_path / "a.png")
    table = [0 if k == 3 else 255 for k in range(16)] if transparency == 3 else transparency
    assert np.array_equal(back.alpha, np.frombuffer(bytes(table), np.uint8)[np.asarray(image)])
    assert np.array_equal(back.pixels, image.convert("RGB"))


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparent_colour_of_gray_and_rgb_png(tmp_path, color_type, channels, dtype):
    levels = noise(6, 7, channels, dtype=dtype)
    key = (b"tRNS", levels[2, 3].astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(png_bytes(levels, color_type, key))
    back = read_image(tmp_path / "a.png")
    hidden = (levels == levels[2, 3]).all(axis=2)
    assert np.array_equal(back.alpha, np.where(hidden, 0, back.max_value))
    assert np.array_equal(back.pixels, np.broadcast_to(levels, (6, 7, 3)))
    assert back.gray == (channels == 1)


def test_16bit_tiff_with_white_at_zero(tmp_path):
    picture = make_picture(np.uint16, True, False)
    write_image(tmp_path / "a.tif", picture)
    data = (tmp_path / "a.tif").read_bytes()
    photometric = struct.pack("<HHLH", 262, 3, 1, 1)
    assert data.count(photometric) == 1
    (tmp_path / "a.tif").write_bytes(data.replace(photometric, struct.pack("<HHLH", 262, 3, 1, 0)))
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, 65535 - picture.pixels)


@pytest.mark.parametrize("extension", [".jpg", ".tif"])
def test_cmyk_becomes_rgb_without_its_profile(tmp_path, extension):
    image = Image.fromarray(smooth(16, 16)).convert("CMYK")
    image.save(tmp_path / f"a{extension}", icc_profile=ICC)
    back = read_image(tmp_path / f"a{extension}")
    assert np.abs(back.pixels.astype(int) - smooth(16, 16)).max() <= 40
    assert back.icc is None


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 99, 200)]
    for extension in (".png", ".webp", ".tif"):
        options = {"lossless": True} if extension == ".webp" else {}
        frames[0].save(tmp_path / f"a{extension}", save_all=True, append_images=frames[1:], **options)
        assert (read_image(tmp_path / f"a{extension}").pixels == 10).all()


# --- metadata


@pytest.mark.parametrize("extension", HOLDS_METADATA)
@pytest.mark.parametrize("gray", [True, False])
def test_exif_and_profile_survive(tmp_path, extension, gray):
    write_image(tmp_path / f"a{extension}", make_picture(np.uint8, gray, False, exif=exif_block(), icc=ICC))
    picture = read_image(tmp_path / f"a{extension}")
    for other in HOLDS_METADATA:
        write_image(tmp_path / f"b{other}", picture)
        back = read_image(tmp_path / f"b{other}")
        exif = Image.Exif()
        exif.load(back.exif)
        assert exif[ExifTags.Base.Make] == "Maker"
        assert exif[ExifTags.Base.Orientation] == 1
        assert dict(exif.get_ifd(ExifTags.IFD.Exif)) == {ExifTags.Base.ISOSpeedRatings: 400}
        assert set(exif) == {ExifTags.Base.Make, ExifTags.Base.Orientation, ExifTags.IFD.Exif}
        assert back.icc == ICC


def test_bmp_drops_metadata_quietly(tmp_path):
    write_image(tmp_path / "a.bmp", make_picture(np.uint8, False, False, exif=exif_block(), icc=ICC))
    back = read_image(tmp_path / "a.bmp")
    assert (back.exif, back.icc) == (None, None)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", [".png", ".webp", ".tif"])
def test_orientation_is_applied(tmp_path, extension, orientation):
    image = Image.fromarray(noise(5, 9, 3))
    options = {"lossless": True} if extension == ".webp" else {}
    image.save(tmp_path / f"a{extension}", exif=exif_block(orientation), **options)
    assert_upright(read_image(tmp_path / f"a{extension}"), image, orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_jpeg(tmp_path, orientation):
    image = Image.fromarray(smooth(16, 24))
    image.save(tmp_path / "a.jpg", exif=exif_block(orientation), quality=100, subsampling=0)
    assert_upright(read_image(tmp_path / "a.jpg"), image, orientation, allowed=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_orientation_is_applied_to_16_bits(tmp_path, extension, orientation):
    levels = noise(5, 9, 3)
    turned = Picture(levels.astype(np.uint16) * 257, exif=exif_block(orientation))
    write_image(tmp_path / f"a{extension}", turned)
    picture = read_image(tmp_path / f"a{extension}")
    assert picture.max_value == 65535
    assert_upright(picture.to_8bit(), Image.fromarray(levels), orientation)


@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize(
    ("extension", "dtype"), [(".png", "u1"), (".png", "u2"), (".tif", "u1"), (".tif", "u2"), (".webp", "u1")]
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_alpha_depth_and_gray_together(tmp_path, orientation, extension, dtype, alpha, gray):
    stored = make_picture(np.dtype(dtype), gray, alpha)
    # Written as it lies, with a word in its EXIF on how it is to be turned.
    write_image(tmp_path / f"a{extension}", replace(stored, exif=exif_block(orientation)))
    picture = read_image(tmp_path / f"a{extension}")
    turned = upright(stored.alpha, orientation) if alpha else None
    assert_same(picture, Picture(upright(stored.pixels, orientation), turned))
    for name in ("again.png", "again.tif"):
        write_image(tmp_path / name, picture)
        assert_same(read_image(tmp_path / name), picture)


def upright(levels: np.ndarray, orientation: int) -> np.ndarray:
    """What EXIF 2.3, table 6, says of each orientation: where the stored first row and column belong."""
    turned = {
        1: levels,
        2: levels[:, ::-1],
        3: levels[::-1, ::-1],
        4: levels[::-1],
        5: levels.swapaxes(0, 1),
        6: np.rot90(levels, -1),
        7: np.rot90(levels, 2).swapaxes(0, 1),
        8: np.rot90(levels),
    }
    return np.ascontiguousarray(turned[orientation])


def assert_upright(picture: Picture, stored: Image.Image, orientation: int, allowed: int = 0) -> None:
    stored.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored), int)
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels - expected).max() <= allowed
    assert picture.pixels.flags.c_contiguous
    exif = Image.Exif()
    exif.load(picture.exif)
    assert exif[ExifTags.Base.Orientation] == 1
    assert exif[ExifTags.Base.Make] == "Maker"


def test_damaged_exif_does_not_stand_in_the_way(tmp_path):
    Image.fromarray(smooth(8, 8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert read_image(tmp_path / "a.jpg").pixels.shape == (8, 8, 3)


# --- finding
