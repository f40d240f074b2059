"""NIQE: how far the statistics of one image are from those of pristine photographs, without its original.

Source: Mittal, Soundararajan and Bovik, "Making a 'Completely Blind' Image Quality Analyzer", IEEE SPL 2013. Lower is
better; about 3 for good photographs. NumPy and OpenCV only, all in float64:

1. BT.601 luma, rounded to whole levels and cut to whole blocks of 96x96;
2. local normalisation: each pixel less the mean around it, over the deviation around it plus 1 (equation 1);
3. asymmetric generalised Gaussians fitted to each block, and to its products with itself shifted by a pixel in four
   directions: 18 features, and as many of the luma at half its size (section II-C);
4. the distance of the blocks' mean and covariance from those of the prior (equation 10).

It equals BasicSR 1.4.2, whose authors checked theirs against the MATLAB release, but for what that loses in float32
(0.006 at most in 73 faces of 256 pixels). The release's prior, of 125 photographs, is not part of the package
(`niqe_prior`). `fit_niqe` makes others; figures by different priors do not compare.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from keras_fsr.errors import DataError
from keras_fsr.metrics.fidelity import rgb_to_y
from keras_fsr.metrics.niqe_prior import FEATURES, Prior, load_prior

BLOCK = 96  # pixels a side

SMALLEST = 2 * BLOCK
"""Pixels a side within the border; a smaller image is refused.

Measured on centred crops of 21 portraits of 1024 pixels: of 96x192 pixels NIQE has nothing to do with that of the
whole (r = 0.1) and moves by 0.85 with the place of the crop; of 192x192 r = 0.5 and it moves by 0.45, but every
original is still far from its bicubic x4 (means of 4.6 and 8.9). Figures of small images are too high, by 1.5 at
192, 0.3 at 384 and 0.0 at 512: compare those of one size, as means of a set.
"""

FEWEST_BLOCKS = 100
"""Blocks that a prior needs. A covariance of 36 features has no inverse if it is of 36 blocks or fewer, and a poor
one if of few more: against 519 blocks of 80 portraits, 40 of them make figures a third higher, 100 a tenth.
"""

_WINDOW, _SIGMA = 7, 7 / 6  # of the local mean and deviation
_ROUNDING = 1e-11  # of 74 images, flat areas are left with at most 1e-13 and everything else with 1e-9
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows, columns

# The shapes to choose from, the gamma function of 1, 2 and 3 over each, and the ratio of moments that goes with it.
_SHAPES = np.arange(200, 10001) / 1000
_GAMMA1, _GAMMA2, _GAMMA3 = (np.array([math.gamma(k / shape) for shape in _SHAPES]) for k in (1, 2, 3))
_RATIOS = _GAMMA2**2 / (_GAMMA1 * _GAMMA3)
_BETWEEN = (_RATIOS[1:] + _RATIOS[:-1]) / 2


class NIQE:
    """NIQE of single images.

    Args:
        prior: a `Prior`, an `.npz` or `.mat` file of one, or a folder that holds the published one. None takes the
            folder named by the environment variable KERAS_FSR_WEIGHTS or, where that is not set, downloads it.

    Raises:
        ModelError: no such file, no parameters of NIQE in it, or no connection.
        ModuleNotFoundError: a `.mat` file and no SciPy.
    """

    def __init__(self, prior: Prior | Path | str | None = None):
        self.prior = prior if isinstance(prior, Prior) else load_prior(prior)

    def __call__(self, image: np.ndarray, border: int = 0) -> float:
        """The distance, 0 or more.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            border: pixels cut from every side before measuring; the scale by custom.

        Raises:
            DataError: the image is not RGB of 8 bits, too small (`SMALLEST`), or flat in all blocks but one.
        """
        luma = rounded_luma(image)
        height, width = (side - 2 * border for side in luma.shape)
        if border < 0 or min(height, width) < SMALLEST:
            raise DataError(
                f"an image of {image.shape[1]}x{image.shape[0]} with a border of {border} is too small for NIQE to "
                f"mean anything; give at least {SMALLEST} pixels a side within the border"
            )
        features, _ = block_features(luma[border : border + height, border : border + width])
        return distance(self.prior, features)


def fit_niqe(images: Iterable[np.ndarray], sharpness: float = 0.75) -> Prior:
    """The prior of other photographs, fitted to their sharp blocks (sections II-B and II-D).

    Args:
        images: ``(H, W, 3)`` uint8 RGB, as pristine as can be had.
        sharpness: the part of the image's largest mean local deviation that a block's must exceed.

    Raises:
        DataError: an image is not RGB of 8 bits, fewer than `FEWEST_BLOCKS` blocks are left, or they are too alike.
    """
    chosen = [np.empty((0, FEATURES))]
    for image in images:
        features, deviations = block_features(rounded_luma(image))
        sharp = deviations > sharpness * deviations.max(initial=0)
        chosen.append(features[sharp & has_texture(features)])
    blocks = np.concatenate(chosen)
    found = f"{len(chosen) - 1} images have {len(blocks)} sharp blocks of {BLOCK}x{BLOCK}"
    if len(blocks) < FEWEST_BLOCKS:
        raise DataError(f"{found}, and a prior of NIQE needs {FEWEST_BLOCKS}; give more or larger images")
    try:
        return Prior(blocks.mean(axis=0), np.cov(blocks, rowvar=False))
    except ValueError:
        raise DataError(f"{found} that are too alike for a prior of NIQE; give images that differ") from None


def rounded_luma(image: np.ndarray) -> np.ndarray:
    """``(H, W)`` float64 in whole levels, as MATLAB's `rgb2ycbcr` of 8 bits.

    Raises:
        DataError: the image is not RGB of 8 bits.
    """
    if image.dtype != np.uint8:
        raise DataError(f"NIQE is of images of 8 bits, not of {image.dtype}; round to uint8 first")
    return np.rint(rgb_to_y(image))


def block_features(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features of each whole block, 18 of the luma and 18 at half its size, and its sharpness.

    Args:
        luma: ``(H, W)`` float64 in [0, 255].

    Returns:
        (N, 36), with NaN where a block is flat, and (N,): the mean local deviation in levels.
    """
    rows, columns = (side // BLOCK for side in luma.shape)
    if rows * columns == 0:
        return np.empty((0, FEATURES)), np.empty(0)
    luma = luma[: rows * BLOCK, : columns * BLOCK]
    whole, deviation = normalize(luma)
    half, _ = normalize(half_size(luma))
    features = [scale_features(as_blocks(whole, BLOCK)), scale_features(as_blocks(half, BLOCK // 2))]
    return np.concatenate(features, axis=1), as_blocks(deviation, BLOCK).mean(axis=(1, 2))


def normalize(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Locally normalised luma (equation 1), and the local deviation in levels; both ``(H, W)``."""
    mean, square = (
        cv2.GaussianBlur(x, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REPLICATE) for x in (luma, luma * luma)
    )
    deviation = np.sqrt(np.abs(square - mean * mean))
    normal = (luma - mean) / (deviation + 1)
    normal[np.abs(normal) < _ROUNDING] = 0  # its sign would be chance, and signs are counted
    return normal, deviation


def half_size(luma: np.ndarray) -> np.ndarray:
    """MATLAB's `imresize(luma, 0.5)`: the bicubic kernel (a = -0.5) made twice as wide, edges mirrored."""
    x = np.array([0.25, 0.75, 1.25, 1.75])
    side = np.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2) / 2
    kernel = np.concatenate([side[::-1], side])
    # Anchored at the fourth of its eight taps, it reaches from 3 pixels before each even one to 4 after.
    return cv2.sepFilter2D(luma, -1, kernel, kernel, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)[::2, ::2]


def as_blocks(image: np.ndarray, side: int) -> np.ndarray:
    """(N, side, side) of an image of whole blocks, row by row."""
    rows, columns = (length // side for length in image.shape)
    return image.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def scale_features(blocks: np.ndarray) -> np.ndarray:
    """(N, 18) of (N, side, side): shape and scale of the pixels; shape, mean and both scales of each product."""
    shape, left, right, _ = fit_aggd(blocks)
    features = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right, mean = fit_aggd(blocks * np.roll(blocks, shift, axis=(1, 2)))
        features += [shape, mean, left, right]
    return np.stack(features, axis=1)


def fit_aggd(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shape, left and right scale, and mean of each block's asymmetric generalised Gaussian, by its moments.

    Source: Lasmar, Stitou and Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009.

    Args:
        blocks: (N, side, side).

    Returns:
        Four of (N,). Of a block without values on one side that scale and the mean are NaN, and the shape is the
        smallest there is, as in the authors' code: the least of distances that are all NaN is the first.
    """
    values = blocks.reshape(len(blocks), -1)
    below, above = np.minimum(values, 0), np.maximum(values, 0)
    with np.errstate(invalid="ignore"):
        left, right = (np.sqrt(np.sum(x * x, axis=1) / np.count_nonzero(x, axis=1)) for x in (below, above))
        ratio = np.mean(np.abs(values), axis=1) ** 2 / np.mean(values * values, axis=1)
    skew = left / right
    ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    nearest = np.searchsorted(_BETWEEN, np.nan_to_num(ratio))
    scale = np.sqrt(_GAMMA1[nearest] / _GAMMA3[nearest])
    left, right = left * scale, right * scale
    return _SHAPES[nearest], left, right, (right - left) * _GAMMA2[nearest] / _GAMMA1[nearest]


def has_texture(features: np.ndarray) -> np.ndarray:
    """(N,) of (N, 36): whether a block has all its features."""
    return ~np.isnan(features).any(axis=1)


def distance(prior: Prior, features: np.ndarray) -> float:
    """Of the (N, 36) features of an image's blocks from a prior (equation 10).

    Raises:
        DataError: fewer than two blocks have all features.
    """
    known = features[has_texture(features)]
    if len(known) < 2:
        flat = len(features) - len(known)
        raise DataError(
            f"NIQE needs two blocks with texture and {flat} of {len(features)} are flat; give a photograph"
        )
    difference = prior.mean - np.nanmean(features, axis=0)
    covariance = (prior.covariance + np.cov(known, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(covariance) @ difference))
