"""PNG and TIFF with 16 bits a channel, which Pillow reads at 8 bits and cannot write in colour.

OpenCV decodes them but keeps no metadata, so the encoders here write the few bytes of both formats themselves.
"""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

_EXIF_PREFIX = b"Exif\0\0"
_PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_TIFF_RGB, _TIFF_GRAY, _TIFF_DEFLATE, _TIFF_DIFFERENCES, _TIFF_STRAIGHT_ALPHA = 2, 1, 8, 2, 2
_TIFF_SUB_FOLDERS = (0x8769, 0x8825)  # EXIF and GPS


def decode(data: bytes, gray_key: int | None) -> np.ndarray | None:
    """The first image in the bytes of a PNG or TIFF file, or None where OpenCV cannot make it out.

    gray_key: the gray level that a gray PNG declares transparent, which OpenCV overlooks (in RGB it does not).
    Returns (H, W, 1 to 4) uint16: gray, gray and alpha, RGB or RGBA.
    """
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if array is None or array.dtype != np.uint16:
        return None
    if array.ndim == 3:
        return array[..., [2, 1, 0, 3][: array.shape[2]]]
    if gray_key is None:
        return array[..., None]
    return np.stack([array, np.where(array == gray_key, 0, 65535).astype(np.uint16)], axis=-1)


def encode_png(array: np.ndarray, exif: bytes | None, icc: bytes | None) -> bytes:
    """A PNG file of (H, W, 1 to 4) uint16: gray, gray and alpha, RGB or RGBA."""
    height, width, channels = array.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR_TYPES[channels], 0, 0, 0)
    chunks = [b"\x89PNG\r\n\x1a\n", _png_chunk(b"IHDR", header)]
    if icc:
        chunks.append(_png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if exif:
        chunks.append(_png_chunk(b"eXIf", exif.removeprefix(_EXIF_PREFIX)))
    chunks += [_png_chunk(b"IDAT", zlib.compress(_png_rows(array))), _png_chunk(b"IEND", b"")]
    return b"".join(chunks)


def _png_rows(array: np.ndarray) -> bytes:
    """The rows as PNG wants them compressed: each byte less that of the pixel on its left (filter type 1)."""
    height, _, channels = array.shape
    raw = np.ascontiguousarray(array, ">u2").view(np.uint8).reshape(height, -1)
    rows = np.empty((height, 1 + raw.shape[1]), np.uint8)
    rows[:, 0] = 1
    rows[:, 1:] = raw
    rows[:, 1 + 2 * channels :] -= raw[:, : -2 * channels]
    return rows.tobytes()


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode_tiff(array: np.ndarray, exif: bytes | None, icc: bytes | None) -> bytes:
    """A TIFF file of (H, W, 1, 3 or 4) uint16: gray, RGB or RGBA; one deflated strip of differences."""
    height, width, channels = array.shape
    differences = array.astype("<u2")
    differences[:, 1:] -= array[:, :-1]
    data = zlib.compress(differences.tobytes())
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    _copy_exif(tags, exif)
    tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH] = width, height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (16,) * channels
    tags[TiffImagePlugin.COMPRESSION] = _TIFF_DEFLATE
    tags[TiffImagePlugin.PREDICTOR] = _TIFF_DIFFERENCES
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = _TIFF_GRAY if channels == 1 else _TIFF_RGB
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    if channels == 4:
        tags[TiffImagePlugin.EXTRASAMPLES] = _TIFF_STRAIGHT_ALPHA
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    tags[TiffImagePlugin.STRIPOFFSETS] = 0  # Pillow counts it from the end of the tags
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = len(data)
    if icc:
        tags.tagtype[TiffImagePlugin.ICCPROFILE] = 7
        tags[TiffImagePlugin.ICCPROFILE] = icc
    file = io.BytesIO()
    tags.save(file)
    return file.getvalue() + data


def _copy_exif(tags: TiffImagePlugin.ImageFileDirectory_v2, exif: bytes | None) -> None:
    """EXIF is itself a TIFF folder: its tags go beside those of the pixels."""
    source = Image.Exif()
    source.load(exif)
    for tag, value in source.items():
        tags[tag] = source.get_ifd(tag) if tag in _TIFF_SUB_FOLDERS else value
