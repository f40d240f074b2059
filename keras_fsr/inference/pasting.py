"""An enlarged face into an enlarged picture, so that no seam shows.

The mask is 1 on the face's box and a margin around it, and from there falls smoothly to 0 across the feather; both
are shares of the face's size. Before pasting the face is given the low frequencies of what it replaces, so that
neither its brightness nor its colour differs from the surroundings.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from keras_fsr.inference.detection import Face

COLOUR = 0.125  # standard deviation of the blur that parts colour from detail, as a share of the face's size


class Region(NamedTuple):
    """A part of a picture: rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def empty(self) -> bool:
        return self.top >= self.bottom or self.left >= self.right

    def scaled(self, scale: int) -> "Region":
        """The same part of a picture `scale` times as large."""
        return Region(*(value * scale for value in self))

    def grown(self, border: int, shape: tuple[int, ...]) -> "Region":
        """With a border around it, as far as a picture (H, W, ...) reaches."""
        top, left = max(self.top - border, 0), max(self.left - border, 0)
        return Region(top, min(self.bottom + border, shape[0]), left, min(self.right + border, shape[1]))

    def within(self, outer: "Region") -> "Region":
        """Its place in another part, which holds it."""
        return Region(*(self[k] - outer[k // 2 * 2] for k in range(4)))


def region_of(face: Face, reach: float, shape: tuple[int, ...]) -> Region:
    """The whole pixels of a picture (H, W, ...) that lie no further than `reach` sizes of the face from its box."""
    border = reach * face.side
    return Region(
        max(math.floor(face.top - border), 0),
        min(math.ceil(face.top + face.height + border), shape[0]),
        max(math.floor(face.left - border), 0),
        min(math.ceil(face.left + face.width + border), shape[1]),
    )


def mask_of(face: Face, region: Region, scale: int, margin: float, feather: float) -> np.ndarray:
    """(rows * scale, columns * scale) float32 weights of the face in its region of a picture enlarged `scale` times.

    face, region: of the picture before it is enlarged.
    margin, feather: how far from the box, in sizes of the face, the weight stays 1, and across how much more it then
        falls to 0 (a cubic, level at both ends). The corners are round.
    """

    def beyond(begin: int, end: int, low: float, size: float) -> np.ndarray:
        centres = begin + (np.arange((end - begin) * scale, dtype=np.float32) + np.float32(0.5)) / scale
        return np.maximum(np.abs(centres - (low + size / 2)) - (size / 2 + margin * face.side), 0)

    rows = beyond(region.top, region.bottom, face.top, face.height)
    columns = beyond(region.left, region.right, face.left, face.width)
    rest = 1 - np.hypot(rows[:, None], columns[None]) / (feather * face.side)
    rest = np.clip(rest, 0, 1)
    return (rest * rest * (3 - 2 * rest)).astype(np.float32)


def paste(enlarged: np.ndarray, part: np.ndarray, region: Region, mask: np.ndarray, sigma: float) -> None:
    """Mixes an enlarged face into its region of an enlarged picture, in place.

    enlarged: (H, W, 3) uint8 or uint16. part: (h, w, 3) of the same dtype, the size of the region.
    region: in the enlarged picture. mask: (h, w) weights of the part; where it is 0 nothing changes.
    sigma: of `match_colour`.
    """
    place = enlarged[region.slices]
    below = place.astype(np.float32)
    above = match_colour(part.astype(np.float32), below, sigma)
    below += mask[..., None] * (above - below)
    np.rint(below, out=below)
    np.clip(below, 0, np.iinfo(enlarged.dtype).max, out=below)
    place[...] = below


def match_colour(part: np.ndarray, target: np.ndarray, sigma: float) -> np.ndarray:
    """A part (h, w, 3) float32 with the low frequencies of the target, likewise.

    The low frequencies are what a Gaussian blur of `sigma` pixels leaves. It is taken of a reduced difference, where
    the blur is large.
    """
    difference = target - part
    height, width = difference.shape[:2]
    step = max(1, int(sigma / 4))
    if step > 1:
        small = (max(1, width // step), max(1, height // step))
        difference = cv2.resize(difference, small, interpolation=cv2.INTER_AREA)
    low = cv2.GaussianBlur(difference, (0, 0), max(sigma / step, 0.1), borderType=cv2.BORDER_REPLICATE)
    return part + (cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC) if step > 1 else low)
