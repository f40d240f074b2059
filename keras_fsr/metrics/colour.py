"""Colour drift: by how many levels a method shifts each channel, whatever it does to detail. NumPy only.

GANs drift: their losses see edges and texture and hardly the mean (Real-ESRGAN's issue 745 is one report of many).
"""

from collections.abc import Iterable

import numpy as np

from keras_fsr.errors import DataError


def colour_drift(sr: np.ndarray, hr: np.ndarray, border: int = 0) -> np.ndarray:
    """Mean of SR - HR for each channel of one image.

    Args:
        sr, hr: the super-resolved image and its original, both ``(H, W, 3)`` RGB in [0, 255].
        border: pixels cut from every side before measuring.

    Returns:
        (3,) red, green and blue in levels of 255; positive where SR has more of the colour.

    Raises:
        DataError: the images are not RGB, differ in shape, or nothing is left inside the border.
    """
    if sr.shape != hr.shape or sr.ndim != 3 or sr.shape[2] != 3:
        raise DataError(
            f"cannot compare colours of shapes {sr.shape} and {hr.shape}; give two RGB images of one size"
        )
    if border < 0 or min(sr.shape[:2]) <= 2 * border:
        raise DataError(f"cannot cut a border of {border} pixels from an image of {sr.shape[1]}x{sr.shape[0]}")
    inside = np.s_[border : sr.shape[0] - border, border : sr.shape[1] - border]
    return (sr[inside].astype(np.float64) - hr[inside].astype(np.float64)).mean(axis=(0, 1))


def largest_drift(drifts: Iterable[np.ndarray]) -> float:
    """The drift of a set: the mean over its images, of the channel that it shifts most; unsigned.

    What one image gains and another loses cancels: only a drift that all share is the method's own.
    """
    return float(np.abs(np.mean(list(drifts), axis=0)).max())
