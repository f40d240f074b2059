"""From image files to the LR and HR pixels of pairs."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from keras_fsr.data.folders import Pair, image_size, opened
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.errors import DataError

MAX_CACHE_BYTES = 4 * 2**30  # decoded; putting all into one tensor takes about three times as much for a moment


def load_pairs(
    pairs: Sequence[Pair], scale: int, degrade: Degrader | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Decodes all pairs, (LR, HR) uint8 each; LR is made of HR where no file is given, as by `load_pair`.

    Raises:
        DataError: an image is damaged, or all together are too large for the memory.
    """
    needed = sum(3 * math.prod(image_size(pair.hr)) for pair in pairs) * (1 + 1 / scale**2)
    if needed > MAX_CACHE_BYTES:
        raise DataError(
            f"{len(pairs)} images need more than {MAX_CACHE_BYTES / 2**30:.0f} GiB decoded ({needed / 2**30:.1f}); "
            f"train on fewer or smaller ones"
        )
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda i: load_pair(pairs[i], scale, degrade, i), range(len(pairs))))


def load_pair(
    pair: Pair, scale: int, degrade: Degrader | None = None, index: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(LR, HR) uint8 arrays of one pair; HR is cut to a multiple of the scale.

    LR is its file, or else `degrade` of the index, or else Pillow's bicubic reduction.
    """
    hr = cut_to_multiple(decode(pair.hr), scale)
    return (reduce(hr, scale, degrade, index) if pair.lr is None else decode(pair.lr)), hr


def cut_to_multiple(hr: np.ndarray, scale: int) -> np.ndarray:
    """An (H, W, 3) image without the last rows and columns that exceed a multiple of the scale."""
    height, width = (side // scale * scale for side in hr.shape[:2])
    return np.ascontiguousarray(hr[:height, :width])


def reduce(hr: np.ndarray, scale: int, degrade: Degrader | None = None, index: int = 0) -> np.ndarray:
    """LR of an (H, W, 3) uint8 image whose sides are multiples of the scale: degraded, or by Pillow's bicubic."""
    if degrade:
        return degrade(hr, index, 0)
    size = (hr.shape[1] // scale, hr.shape[0] // scale)
    return np.asarray(Image.fromarray(hr).resize(size, Image.Resampling.BICUBIC))


def shrink(hr: np.ndarray, factor: float) -> np.ndarray:
    """An (H, W, 3) uint8 image with its sides times the factor, by Lanczos: sharp, as originals are."""
    height, width = (max(round(side * factor), 1) for side in hr.shape[:2])
    return np.asarray(Image.fromarray(hr).resize((width, height), Image.Resampling.LANCZOS))


def decode(path) -> np.ndarray:
    """(H, W, 3) uint8 RGB pixels of a file; gray ones of 16 bits are rounded.

    Raises:
        DataError: the file is damaged, or has pixels of 32 bits, whose range nobody knows.
    """
    with opened(path) as image:
        if image.mode in ("I", "F"):
            raise DataError(f"{path}: has 32-bit pixels of the kind {image.mode}; save it with 8 or 16 bits")
        turned = ImageOps.exif_transpose(image)
        if turned.mode.startswith("I;16"):  # which Pillow would cut at 255
            levels = np.rint(np.asarray(turned, np.float32) / 257).astype(np.uint8)
            turned = Image.fromarray(levels)
        return np.asarray(turned.convert("RGB"))
