"""What Pillow lacks of PNG and TIFF: colour of 16 bits a channel, and compressed TIFF with EXIF.

OpenCV does the first, but writes no metadata to TIFF files; the encoder here lays out their bytes itself.
"""

import io
import zlib

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

_LEVEL = 4  # of zlib: up to three times as fast as its default of 6, for files a few percent larger
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GRAY_AND_ALPHA = 4
_TIFF_GRAY, _TIFF_RGB, _TIFF_DEFLATE, _TIFF_DIFFERENCES, _TIFF_STRAIGHT_ALPHA = 1, 2, 8, 2, 2


def decode_16bit(data: bytes, gray_key: int | None) -> np.ndarray | None:
    """The first image in the bytes of a PNG or TIFF file, or None where OpenCV cannot make it out.

    gray_key: the level that a gray PNG declares transparent, which OpenCV overlooks (in RGB it does not).
    Returns (H, W, 1 to 4) uint16: gray, gray and alpha, RGB or RGBA.
    """
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if array is None or array.dtype != np.uint16:
        return None
    if array.ndim == 2:
        channels = [array] if gray_key is None else [array, np.where(array == gray_key, 0, 65535)]
        return np.stack(channels, axis=-1).astype(np.uint16)
    if data.startswith(_PNG_SIGNATURE) and data[25] == _PNG_GRAY_AND_ALPHA:
        return array[..., [0, 3]]
    return array[..., [2, 1, 0, 3][: array.shape[2]]]


def encode_png_16bit(array: np.ndarray, exif: bytes | None, icc: bytes | None) -> bytes:
    """A PNG file of (H, W, C) uint16: gray, RGB or RGBA."""
    metadata = {cv2.IMAGE_METADATA_EXIF: exif and exif.removeprefix(b"Exif\0\0"), cv2.IMAGE_METADATA_ICCP: icc}
    metadata = {kind: np.frombuffer(data, np.uint8) for kind, data in metadata.items() if data}
    bgr = array[..., [2, 1, 0, 3][: array.shape[2]]] if array.shape[2] > 1 else array
    _, data = cv2.imencodeWithMetadata(".png", bgr, list(metadata), list(metadata.values()))
    return data.tobytes()


def encode_tiff(array: np.ndarray, exif: bytes | None, icc: bytes | None) -> bytes:
    """A TIFF file of (H, W, 1 to 4) uint8 or uint16: gray, gray and alpha, RGB or RGBA; deflated."""
    height, width, channels = array.shape
    differences = array.astype(array.dtype.newbyteorder("<"))
    differences[:, 1:] -= array[:, :-1]
    data = zlib.compress(differences, _LEVEL)
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if exif:
        _copy_exif(tags, exif)
    tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH] = width, height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * array.itemsize,) * channels
    tags[TiffImagePlugin.COMPRESSION] = _TIFF_DEFLATE
    tags[TiffImagePlugin.PREDICTOR] = _TIFF_DIFFERENCES
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = _TIFF_GRAY if channels <= 2 else _TIFF_RGB
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    if channels in (2, 4):
        tags[TiffImagePlugin.EXTRASAMPLES] = _TIFF_STRAIGHT_ALPHA
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    tags[TiffImagePlugin.STRIPOFFSETS] = 0  # Pillow adds the end of the tags, where the strip goes
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = len(data)
    if icc:
        tags[TiffImagePlugin.ICCPROFILE] = icc
    file = io.BytesIO()
    tags.save(file)
    return file.getvalue() + data


def _copy_exif(tags: TiffImagePlugin.ImageFileDirectory_v2, exif: bytes) -> None:
    """EXIF is a TIFF folder itself: its tags go in among those of the pixels."""
    source = Image.Exif()
    source.load(exif)
    for tag, value in source.items():
        tags[tag] = source.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else value
