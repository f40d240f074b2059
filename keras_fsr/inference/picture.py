"""A picture in memory, and how it is enlarged: colour by a network, alpha beside it, gray staying gray."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True, eq=False)
class Picture:
    """An image, upright, with what its file said about it.

    pixels: (H, W, 3) RGB, uint8 in [0, 255] or uint16 in [0, 65535]; three equal channels where `gray`.
    alpha: (H, W) of the same dtype, not multiplied into the pixels; None where the file has no alpha channel.
    exif: an EXIF block, its orientation 1. icc: a colour profile.
    tag: what made it, for its file to say; "" says nothing.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    gray: bool = False
    exif: bytes | None = None
    icc: bytes | None = None
    tag: str = ""

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def max_value(self) -> int:
        """White and opaque: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)

    @property
    def transparent(self) -> bool:
        """Whether any pixel is less than opaque; an alpha channel alone does not make a picture so."""
        return self.alpha is not None and bool(self.alpha.min() < self.max_value)

    def to_8bit(self) -> "Picture":
        """The picture in uint8, rounded; itself if it is so already."""
        if self.pixels.dtype == np.uint8:
            return self
        alpha = None if self.alpha is None else _to_8bit(self.alpha)
        return replace(self, pixels=_to_8bit(self.pixels), alpha=alpha)


def _to_8bit(levels: np.ndarray) -> np.ndarray:
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def upscale_picture(picture: Picture, upscale: Callable[[np.ndarray], np.ndarray], scale: int) -> Picture:
    """Enlarge a picture `scale` times; its metadata stays as it is.

    upscale: takes (H, W, 3) uint8 or uint16 and returns (H * scale, W * scale, 3) of the same dtype.
    Gray stays gray: the mean of the three channels that come back. An alpha channel is enlarged by bicubic
    interpolation; the colours hidden under full transparency are first replaced by those of the visible
    pixels around, so that they never bleed into an edge. Opaque pictures get the colours they get without
    an alpha channel, to the bit.
    """
    if not picture.transparent:
        pixels = upscale(picture.pixels)
        alpha = picture.alpha
        if alpha is not None:
            alpha = np.full(pixels.shape[:2], picture.max_value, pixels.dtype)
    else:
        pixels = upscale(_cover_hidden(picture.pixels, picture.alpha))
        # cv2 rounds, and clips the overshoot of the interpolation to the dtype.
        alpha = cv2.resize(picture.alpha, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return replace(picture, pixels=_mean_gray(pixels) if picture.gray else pixels, alpha=alpha)


def _mean_gray(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) whose channels are all the mean of the three given, rounded."""
    total = pixels[..., 0].astype(np.uint32)
    total += pixels[..., 1]
    total += pixels[..., 2]
    total += 1  # the division then rounds: a third down, two thirds up
    total //= 3
    return np.repeat(total.astype(pixels.dtype)[..., None], 3, axis=-1)


def _cover_hidden(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The (H, W, 3) pixels, those with alpha 0 recoloured from the visible ones around them.

    The usual premultiplied colours would fade to black at every edge instead. A network sharpens that fade
    unlike bicubic interpolation the alpha, and their quotient then has dark and bright rims.
    """
    weight = alpha.astype(np.float32) / np.float32(np.iinfo(alpha.dtype).max)
    smooth = _spread(pixels * weight[..., None], weight)
    return np.where(alpha[..., None] > 0, pixels, np.rint(smooth).astype(pixels.dtype))


def _spread(weighted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted colours (H, W, 3) over their weight (H, W), both float32; where that is 0, the colour nearby.

    Nearby means the half-size picture, which has fewer gaps, and so on down to a single pixel.
    """
    colours = weighted / np.maximum(weight, np.finfo(np.float32).tiny)[..., None]
    height, width = weight.shape
    if weight.all() or max(height, width) == 1:
        return colours
    half = ((width + 1) // 2, (height + 1) // 2)
    coarse = _spread(
        cv2.resize(weighted, half, interpolation=cv2.INTER_AREA),
        cv2.resize(weight, half, interpolation=cv2.INTER_AREA),
    )
    around = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(weight[..., None] > 0, colours, around)
