"""PSNR and SSIM: how close a super-resolved image is to its original, pixel by pixel.

NumPy and OpenCV only, so that the light install can measure. Images are uint8 or float in [0, 255], gray
``(H, W)`` or RGB ``(H, W, 3)``; all sums are in float64. The numbers equal those of scikit-image (a test
compares them), with the settings of Wang et al., "Image Quality Assessment: From Error Visibility to
Structural Similarity", IEEE TIP 2004: an 11x11 Gaussian window of sigma 1.5.
"""

import math

import cv2
import numpy as np

from keras_fsr.errors import DataError

METRICS = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")

_PEAK = 255.0
_LUMA = np.array([65.481, 128.553, 24.966]) / _PEAK  # ITU-R BT.601, studio range: Y runs from 16 to 235
_WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2


def rgb_to_y(image: np.ndarray) -> np.ndarray:
    """Luma of an RGB image by ITU-R BT.601 in studio range, not rounded.

    Args:
        image: ``(H, W, 3)``, uint8 or float in [0, 255].

    Returns:
        ``(H, W)`` float64 in [16, 235].

    Raises:
        DataError: the image does not have this shape.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"luma needs an (H, W, 3) RGB image, got shape {image.shape}; convert it to RGB first")
    return image.astype(np.float64) @ _LUMA + 16.0


def psnr(a: np.ndarray, b: np.ndarray, border: int = 0) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 255; infinite for equal images.

    Args:
        a, b: two images of one shape, ``(H, W)`` or ``(H, W, 3)``, in [0, 255].
        border: pixels cut from every side before measuring.

    Raises:
        DataError: the shapes differ, are not those of images, or nothing is left inside the border.
    """
    a, b = _pair(a, b, border, smallest=1)
    error = np.mean((a - b) ** 2)
    return math.inf if error == 0 else float(10.0 * np.log10(_PEAK**2 / error))


def ssim(a: np.ndarray, b: np.ndarray, border: int = 0) -> float:
    """Structural similarity: at most 1, and 1 for equal images; for RGB the mean of the three channels.

    Gaussian window 11x11, sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance, averaged over the
    positions where the whole window lies inside the image.

    Args:
        a, b: two images of one shape, ``(H, W)`` or ``(H, W, 3)``, in [0, 255].
        border: pixels cut from every side before measuring.

    Raises:
        DataError: the shapes differ, are not those of images, or less than 11x11 is left inside the border.
    """
    a, b = _pair(a, b, border, smallest=_WINDOW)
    mean_a, mean_b = _local_mean(a), _local_mean(b)
    variance_a = _local_mean(a * a) - mean_a**2
    variance_b = _local_mean(b * b) - mean_b**2
    covariance = _local_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return float(np.mean(luminance * structure))


def fidelity(sr: np.ndarray, hr: np.ndarray, scale: int) -> dict[str, float]:
    """PSNR and SSIM on luma and on RGB, with ``scale`` pixels cut from every side.

    The cut is customary in super-resolution: at the edges a network sees less than its full surroundings.

    Args:
        sr, hr: the super-resolved image and its original, both ``(H, W, 3)`` in [0, 255].
        scale: the super-resolution factor.

    Returns:
        ``psnr_y``, ``ssim_y``, ``psnr_rgb`` and ``ssim_rgb`` (`METRICS`).

    Raises:
        DataError: the images are not RGB, differ in shape, or are too small.
    """
    luma_sr, luma_hr = rgb_to_y(sr), rgb_to_y(hr)
    return {
        "psnr_y": psnr(luma_sr, luma_hr, border=scale),
        "ssim_y": ssim(luma_sr, luma_hr, border=scale),
        "psnr_rgb": psnr(sr, hr, border=scale),
        "ssim_rgb": ssim(sr, hr, border=scale),
    }


def _pair(a: np.ndarray, b: np.ndarray, border: int, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """Both images in float64 without their border, once they are known to be comparable."""
    if a.shape != b.shape:
        raise DataError(f"cannot compare images of shapes {a.shape} and {b.shape}; bring them to one size")
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] != 3):
        raise DataError(f"cannot compare images of shape {a.shape}; give gray (H, W) or RGB (H, W, 3)")
    if border < 0:
        raise DataError(f"cannot cut a border of {border} pixels; give 0 or more")
    height, width = a.shape[0] - 2 * border, a.shape[1] - 2 * border
    if min(height, width) < smallest:
        raise DataError(
            f"an image of {a.shape[1]}x{a.shape[0]} is too small to measure with a border of {border}; "
            f"give at least {smallest + 2 * border} pixels a side"
        )
    inside = np.s_[border : border + height, border : border + width]
    return a[inside].astype(np.float64), b[inside].astype(np.float64)


def _local_mean(image: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean around each position whose window fits; OpenCV filters channel by channel."""
    margin = _WINDOW // 2
    blurred = cv2.GaussianBlur(image, (_WINDOW, _WINDOW), sigmaX=_SIGMA, sigmaY=_SIGMA)
    return blurred[margin:-margin, margin:-margin]
