"""Image files: PNG, JPEG, WebP, TIFF and BMP, with 8 or 16 bits a channel.

Reading them is done here; writing and enlarging them are given on from their own modules.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from keras_fsr.data.folders import FORMATS
from keras_fsr.errors import ImageError
from keras_fsr.inference import png_tiff
from keras_fsr.inference.picture import Picture, upscale_picture
from keras_fsr.inference.writing import check_output, write_image

__all__ = [
    "Picture",
    "check_output",
    "read_image",
    "upscale_picture",
    "write_image",
]

MAX_PIXELS = 64_000_000  # larger images are refused unless asked for

_NAMES = "PNG, JPEG, WebP, TIFF or BMP"
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"BM")

_GRAY_MODES = {"1", "L", "LA"}
_MODES_8BIT = _GRAY_MODES | {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_MODES_16BIT = {"I;16", "I;16B", "I;16L", "LA", "RGB", "RGBA"}

_STALE_EXIF = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)  # wrong once turned or enlarged
# In a TIFF file these lie among tags on how its pixels are stored, which are wrong in any other file.
_DESCRIPTIVE_TAGS = {
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
    ExifTags.IFD.Exif,
    ExifTags.IFD.GPSInfo,
}

_pillow_settings = threading.Lock()


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read the first image of a file, upright, with 8 or 16 bits a channel.

    CMYK becomes RGB and loses its colour profile, which no longer fits. Raises ImageError where the file is
    missing, empty, damaged, of another format or kind of pixel, or larger than max_pixels; the size is taken
    from the header, before any memory is spent on the pixels.
    """
    path = Path(path)
    with _open_file(path) as file, _told(path):
        image = _open_image(path, file)
        if image.width * image.height > max_pixels:
            raise ImageError(
                f"{path}: has {image.width} x {image.height} pixels, more than the limit of {max_pixels}; "
                "make it smaller or raise the limit"
            )
        bits = _bits(image, file)
        _check_pixel_kind(path, image, bits)
        image.load()  # also ahead of OpenCV, which reads some truncated files without a word
        exif, orientation = _metadata(image)
        levels = _levels_16bit(path, image, file) if bits == 16 else _levels_8bit(image)
        icc = None if image.mode == "CMYK" else image.info.get("icc_profile")
    return _picture(_turn(levels, orientation), exif, icc)


def _open_file(path: Path) -> BinaryIO:
    if path.is_dir():
        raise ImageError(f"{path}: is a folder, not an image; name a file in it")
    if path.exists() and not path.is_file():  # which might never answer
        raise ImageError(f"{path}: is a pipe or a device, not an image; save the image to a file")
    try:
        file = open(path, "rb")  # noqa: SIM115 -- the caller closes it
    except FileNotFoundError:
        raise ImageError(f"{path}: does not exist; check the path") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not file.read(1):
        file.close()
        raise ImageError(f"{path}: is empty (0 bytes); get a complete copy")
    return file


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever Pillow raises of a damaged file, which is nearly anything, becomes an ImageError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: is truncated or damaged ({detail}); get a complete copy") from error


def _open_image(path: Path, file: BinaryIO) -> Image.Image:
    """The image by its header alone."""
    with _pillow_without_limit():
        try:
            return Image.open(file, formats=sorted(set(FORMATS.values())))
        except UnidentifiedImageError:
            raise ImageError(f"{path}: {_why_unidentified(file)}") from None


@contextmanager
def _pillow_without_limit() -> Iterator[None]:
    """Pillow's limit on the number of pixels is off, for ours takes its place, and so are its warnings."""
    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _why_unidentified(file: BinaryIO) -> str:
    file.seek(0)
    if file.read(4).startswith(_SIGNATURES):
        return "is truncated or damaged, or a rare kind of its format; get a complete copy or save it as PNG"
    try:
        name = Image.open(file).format
    except Exception:  # as above, from all of Pillow's formats
        return f"is not an image; give a {_NAMES} file"
    return f"is a {name} image, which is not supported; convert it to {_NAMES}"


def _bits(image: Image.Image, file: BinaryIO) -> int:
    """Bits a channel as stored in the file, which Pillow's mode does not tell."""
    if image.format == "PNG":
        file.seek(24)
        return file.read(1)[0]
    if image.format == "TIFF":
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    return 8


def _check_pixel_kind(path: Path, image: Image.Image, bits: int) -> None:
    modes = _MODES_16BIT if bits == 16 else _MODES_8BIT
    if image.mode not in modes:
        raise ImageError(
            f"{path}: holds {bits}-bit pixels of the kind {image.mode}, which is not supported; "
            "save it as gray or RGB with 8 or 16 bits a channel"
        )
    if bits == 16 and image.format == "TIFF":
        # OpenCV would read either without a word, and wrongly.
        premultiplied = image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES) == (1,)
        planar = image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
        if premultiplied or planar:
            kind = "premultiplied transparency" if premultiplied else "channels in separate planes"
            raise ImageError(f"{path}: has 16 bits and {kind}, which is not supported; save it as PNG")


def _metadata(image: Image.Image) -> tuple[bytes | None, int]:
    """The EXIF block to keep, its orientation 1, and the orientation (1 to 8) still to be applied.

    Pillow has turned a TIFF in loading it, and then says 1. Damaged EXIF, on which Pillow raises nearly
    anything, is no reason to refuse a picture: what cannot be read of it is dropped.
    """
    orientation = 1
    try:
        exif = image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        return _exif_block(exif, image.format), orientation
    except Exception:
        return None, orientation


def _exif_block(exif: Image.Exif, source_format: str) -> bytes | None:
    if source_format == "TIFF":
        for tag in set(exif) - _DESCRIPTIVE_TAGS:
            del exif[tag]
    if not exif:
        return None
    for tag in _STALE_EXIF:
        exif.get_ifd(ExifTags.IFD.Exif).pop(tag, None)
    exif[ExifTags.Base.Orientation] = 1
    exif.bigtiff = False  # as a BigTIFF's is, which no other format takes, and Pillow does not read again
    return exif.tobytes()


def _levels_8bit(image: Image.Image) -> np.ndarray:
    """(H, W, 1 to 4) uint8: gray, gray and alpha, RGB or RGBA."""
    mode = ("L" if image.mode in _GRAY_MODES else "RGB") + ("A" if image.has_transparency_data else "")
    levels = np.array(image.convert(mode))
    return levels[..., None] if levels.ndim == 2 else levels


def _levels_16bit(path: Path, image: Image.Image, file: BinaryIO) -> np.ndarray:
    """(H, W, 1 to 4) uint16: gray, gray and alpha, RGB or RGBA."""
    file.seek(0)
    gray_key = image.info.get("transparency") if image.mode.startswith("I") else None
    levels = png_tiff.decode_16bit(file.read(), gray_key)
    if levels is None or levels.shape[:2] != image.size[::-1]:
        raise ImageError(f"{path}: is a kind of 16-bit {image.format} that cannot be decoded; save it as PNG")
    if image.format == "TIFF" and image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        return 65535 - levels  # TIFF allows white to be 0, which OpenCV overlooks
    if levels.shape[2] == 4 and not image.has_transparency_data:
        return levels[..., :3]  # and a fourth channel that means nothing
    return levels


def _turn(levels: np.ndarray, orientation: int) -> np.ndarray:
    """Rows and columns upright, by EXIF's numbers: 5 to 8 lie on their side."""
    if orientation in (5, 6, 7, 8):
        levels = levels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    return levels


def _picture(levels: np.ndarray, exif: bytes | None, icc: bytes | None) -> Picture:
    channels = levels.shape[2]
    gray, alpha = channels <= 2, levels[..., -1] if channels in (2, 4) else None
    pixels = np.repeat(levels[..., :1], 3, axis=2) if gray else levels[..., :3]
    alpha = None if alpha is None else np.ascontiguousarray(alpha)
    return Picture(np.ascontiguousarray(pixels), alpha, gray, exif, icc)
