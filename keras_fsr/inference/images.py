"""Reading, writing and enlarging image files: PNG, JPEG, WebP, TIFF and BMP, 8 or 16 bits a channel."""

import os
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_fsr.errors import ImageError
from keras_fsr.inference import sixteen_bit

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
EXTENSIONS = frozenset(_FORMATS)
_NAMES = "PNG, JPEG, WebP, TIFF or BMP"
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"BM")
_SIDE_LIMITS = {"JPEG": 65500, "WEBP": 16383}
_OPAQUE_FORMATS = ("JPEG", "BMP")

_MODES = {  # Pillow's modes by bits a channel
    8: {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"},
    16: {"I;16", "I;16B", "I;16L", "LA", "RGB", "RGBA", "RGBX"},
}
_ORIENTATION, _EXIF_FOLDER, _TIFF_BITS, _TIFF_SAMPLE_FORMAT = 0x0112, 0x8769, 0x0102, 0x0153
_STALE_EXIF = (0xA002, 0xA003)  # the size in pixels, wrong as soon as the picture is turned or enlarged
# A TIFF file mixes these with tags on how its pixels are stored, which are wrong in any other file.
_DESCRIPTIVE_TAGS = {0x010E, 0x010F, 0x0110, 0x0112, 0x0131, 0x0132, 0x013B, 0x8298, _EXIF_FOLDER, 0x8825}

_pillow_limit = threading.Lock()


@dataclass(frozen=True, eq=False)
class Picture:
    """An image upright in memory, with what its file said about it.

    pixels: (H, W, 3) RGB, uint8 in [0, 255] or uint16 in [0, 65535]; three equal channels where `gray`.
    alpha: (H, W) of the same dtype, not multiplied into the pixels; None where the file has no alpha channel.
    exif: a block starting with "Exif", whose orientation is 1. icc: the colour profile.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    gray: bool = False
    exif: bytes | None = None
    icc: bytes | None = None

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def max_value(self) -> int:
        """White: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)

    @property
    def transparent(self) -> bool:
        """Whether any pixel is less than opaque; an alpha channel alone does not make a picture so."""
        return self.alpha is not None and bool(self.alpha.min() < self.max_value)

    def to_8bit(self) -> "Picture":
        """The picture in uint8, rounded; itself if it is so already."""
        if self.pixels.dtype == np.uint8:
            return self
        return replace(self, pixels=_to_8bit(self.pixels), alpha=None if self.alpha is None else _to_8bit(self.alpha))


def _to_8bit(levels: np.ndarray) -> np.ndarray:
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def find_images(folder: str | Path) -> list[Path]:
    """The image files in a folder and its subfolders by extension, sorted; hidden ones are left out.

    Raises ImageError where there is no such folder; a folder without images gives an empty list.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: is not a folder; check the path")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_image(path: str | Path, max_pixels: int = 64_000_000) -> Picture:
    """Read the first image of a file, upright, as 8 or 16 bits a channel.

    CMYK becomes RGB and loses its profile, which no longer fits. Raises ImageError where the file is missing,
    empty, damaged, of another format or pixel type, or larger than max_pixels, which its header tells before
    any memory is spent on it.
    """
    path = Path(path)
    data = _read_bytes(path)
    with _open(path, data) as image:
        ...
