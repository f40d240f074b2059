"""The grid: how far a super-resolved image carries the pixel pattern of its own up-sampling.

Transposed and sub-pixel convolutions give each of the `scale` x `scale` output positions weights of its own. Where
those do not agree, a pattern of period `scale` (or of 2, from a stage of x2) lies over the picture, faint enough to
escape PSNR and plain to the eye on skin. In the spectrum it stands alone, on exactly known frequencies:

1. BT.601 luma, then the Laplacian (4, and -1 for the four neighbours), which levels the steep spectrum of a
   natural image so that its low frequencies do not hide what is looked for;
2. the largest centred crop whose sides are multiples of `scale` and of 2, so that these periods are whole bins, under
   a Hann window, without which the jump between opposite edges would cover them (it widens a line by one bin);
3. the power spectrum; its mean over all column frequencies is the row profile, over all row frequencies the column
   profile;
4. each bin k / scale up to one half, and one half itself, over the median of its neighbours at a distance of
   2 to 8 bins: the peaks of the image.

The grid of a set is the mean of the images' peaks and then the largest: a systematic pattern stays, what one image
happens to show at one frequency goes. About 1 is no grid (originals: 1.02 on 73 faces of 256 pixels, with a
standard error of 0.02). Peaks grow with the image side, so compare figures of the same images only; the 8x8
blocks of strong JPEG compression share these periods, so look at the originals' own figure too.

It finds patterns that are added to the picture. It does not find the steps of nearest-neighbour enlargement: a block
of `scale` pixels has zeros at exactly these frequencies, which gives figures below 1.
"""

import math
from collections.abc import Iterable

import numpy as np

from keras_fsr.errors import DataError
from keras_fsr.metrics.fidelity import rgb_to_y

_NEAREST, _FARTHEST = 2, 8  # bins that make a neighbourhood: beyond the window's leakage, near enough to be alike
_FLOOR = 1e-6  # squared levels; rounding to 8 bits leaves about 0.5 here, so this only keeps 0 / 0 away


def grid(images: Iterable[np.ndarray], scale: int) -> float:
    """The grid figure of a set of images: about 1 without a pattern, and upwards.

    Args:
        images: ``(H, W, 3)`` RGB, uint8 or float in [0, 255]; of any sizes, each counting alike.
        scale: the super-resolution factor they were made by.

    Raises:
        DataError: no images, one that is not RGB, or one smaller than `smallest_side`.
    """
    peaks = []
    for image in images:
        peaks.append(grid_peaks(image, scale))
        if np.isnan(peaks[-1]).any():
            raise DataError(
                f"an image of {image.shape[1]}x{image.shape[0]} is too small to look for a grid of x{scale}; "
                f"give at least {smallest_side(scale)} pixels a side"
            )
    if not peaks:
        raise DataError("no images to look for a grid in; give at least one")
    return grid_of_peaks(peaks)


def grid_of_peaks(peaks: Iterable[np.ndarray]) -> float:
    """The same from what `grid_peaks` gave for each image; images too small are passed over, NaN if all are."""
    known = [peak for peak in peaks if not np.isnan(peak).any()]
    return float(np.mean(known, axis=0).max()) if known else math.nan


def grid_peaks(image: np.ndarray, scale: int) -> np.ndarray:
    """How far each frequency of the grid stands out in one image.

    Args:
        image: ``(H, W, 3)`` RGB, uint8 or float in [0, 255].
        scale: the super-resolution factor it was made by.

    Returns:
        Power over that of the neighbouring frequencies, of the row profile and then of the column profile, for
        each of `periods`; all NaN if the image is smaller than `smallest_side`.

    Raises:
        DataError: the image is not RGB or the scale is below 1.
    """
    frequencies = [1 / period for period in periods(scale)]
    if min(image.shape[:2]) < smallest_side(scale):
        return np.full(2 * len(frequencies), math.nan)
    return np.array([_peak(profile, f) for profile in power_profiles(image, scale) for f in frequencies])


def power_profiles(image: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column profile of the power spectrum of an image's high-passed luma.

    Args:
        image: ``(H, W, 3)`` RGB, uint8 or float in [0, 255].
        scale: whose periods become whole bins.

    Returns:
        Power in squared levels for each row frequency and for each column frequency, in the order of
        `numpy.fft.fftfreq`; white noise of variance v before the Laplacian has a mean of 20 v.

    Raises:
        DataError: the image is not RGB or has no room for one period.
    """
    luma = rgb_to_y(image)
    middle = luma[1:-1, 1:-1]
    detail = 4 * middle - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    height, width = (side // _multiple(scale) * _multiple(scale) for side in detail.shape)
    if min(height, width) == 0:
        raise DataError(f"an image of {image.shape[1]}x{image.shape[0]} has no room for a period of {scale} pixels")
    top, left = (detail.shape[0] - height) // 2, (detail.shape[1] - width) // 2
    window = _hann(height)[:, None] * _hann(width)[None, :]
    power = np.abs(np.fft.fft2(detail[top : top + height, left : left + width] * window)) ** 2 / np.sum(window**2)
    return power.mean(axis=1), power.mean(axis=0)


def periods(scale: int) -> list[float]:
    """Periods in pixels that are looked at: `scale` and its harmonics, down to 2.

    Raises:
        DataError: the scale is below 1.
    """
    if scale < 1:
        raise DataError(f"scale {scale} is not possible; give 1 or more")
    return sorted({scale / k for k in range(1, scale // 2 + 1)} | {2.0}, reverse=True)


def smallest_side(scale: int) -> int:
    """Pixels that an image needs a side: room for a neighbourhood between a period of `scale` and none at all."""
    return (_FARTHEST + 1) * _multiple(scale) + 2


def _multiple(scale: int) -> int:
    return math.lcm(scale, 2)


def _hann(length: int) -> np.ndarray:
    """The periodic Hann window, whose transform has three bins and no more."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _peak(profile: np.ndarray, frequency: float) -> float:
    """Power at a frequency over the median power of its neighbourhood; beyond one half the spectrum is mirrored."""
    centre = round(frequency * len(profile))
    distances = np.arange(_NEAREST, _FARTHEST + 1)
    around = np.concatenate([centre - distances, centre + distances]) % len(profile)
    return float((profile[centre] + _FLOOR) / (np.median(profile[around]) + _FLOOR))
