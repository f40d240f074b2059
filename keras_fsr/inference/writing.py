"""Writing image files, whole or not at all."""

import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from keras_fsr.data.folders import FORMATS
from keras_fsr.errors import ImageError, OutputError
from keras_fsr.files import whole_file
from keras_fsr.inference import png_tiff
from keras_fsr.inference.picture import Picture

_SIDE_LIMITS = {"JPEG": 65500, "WEBP": 16383}
_WITHOUT_ALPHA = {"JPEG", "BMP"}


def check_output(path: str | Path, width: int, height: int, transparent: bool) -> None:
    """Raise ImageError where a picture like this cannot be written to path; cheap, to ask before the work.

    Covers the folder, the extension, transparency and the size, but not the space on the disk. A folder that is
    read-only raises OutputError.
    """
    path = Path(path)
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        raise ImageError(f"{path}: has no known image extension; use one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ImageError(f"{path}: cannot be written, for {path.parent} is not a folder; create it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: cannot be written, for {path.parent} is read-only; choose another output")
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; give the name of a file")
    if transparent and name in _WITHOUT_ALPHA:
        raise ImageError(f"{path}: has transparency, which {name} cannot hold; write .png or .webp")
    limit = _SIDE_LIMITS.get(name)
    if limit is not None and max(width, height) > limit:
        raise ImageError(
            f"{path}: has {width} x {height} pixels, but {name} holds at most {limit} a side; write .png"
        )


def write_image(path: str | Path, picture: Picture, quality: int = 95) -> None:
    """Write a picture in the format that the extension names; the file appears whole or not at all.

    PNG and TIFF keep 16 bits, the others get them rounded to 8. All but BMP keep EXIF and the colour profile.
    WebP is lossless; quality (1 to 100) is JPEG's, whose colours are not subsampled. An opaque alpha channel
    is left out of JPEG and BMP. Gray with alpha becomes RGBA in 16 bits. The picture's tag is added to EXIF's
    Software, and in PNG of 8 bits is a text of that name, too. Raises ImageError as check_output does, and
    OutputError where the file cannot be written.
    """
    path = Path(path)
    check_output(path, picture.width, picture.height, picture.transparent)
    name = FORMATS[path.suffix.lower()]
    try:
        with whole_file(path) as temporary, open(temporary, "x+b") as file:
            if name == "TIFF":
                file.write(png_tiff.encode_tiff(_channels(picture, name), _exif(picture), picture.icc))
            elif name == "PNG" and picture.max_value > 255:
                file.write(png_tiff.encode_png_16bit(_channels(picture, name), _exif(picture), picture.icc))
            else:
                _save_8bit(file, picture.to_8bit(), name, quality)
    except (ValueError, MemoryError) as error:  # of the encoders
        raise OutputError(f"{path}: cannot be encoded ({error or 'not enough memory'}); write .png") from error


def _exif(picture: Picture) -> bytes | None:
    """The EXIF block to write: the picture's with its tag, after the software that the block had."""
    if not picture.tag:
        return picture.exif
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    before = exif.get(ExifTags.Base.Software)
    exif[ExifTags.Base.Software] = f"{before}; {picture.tag}" if before else picture.tag
    return exif.tobytes()


def _channels(picture: Picture, name: str) -> np.ndarray:
    """(H, W, 1 to 4) as the format stores them: one channel for gray, alpha last."""
    pixels = picture.pixels[..., :1] if picture.gray else picture.pixels
    if picture.alpha is None or name in _WITHOUT_ALPHA:
        return pixels
    if picture.max_value > 255:
        pixels = picture.pixels  # OpenCV and readers of TIFF know no 16-bit gray with alpha
    return np.concatenate([pixels, picture.alpha[..., None]], axis=2)


def _save_8bit(file: BinaryIO, picture: Picture, name: str, quality: int) -> None:
    options = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"lossless": True, "exact": True},
        # A fifth of the time of zlib's own strategy, for photos that are two percent larger.
        "PNG": {"compress_type": zlib.Z_RLE},
    }.get(name, {})
    exif = _exif(picture)
    if exif is not None:
        options["exif"] = exif
    if picture.tag and name == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Software", picture.tag)
    if picture.icc is not None:
        options["icc_profile"] = picture.icc
    levels = _channels(picture, name)
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(file, name, **options)
