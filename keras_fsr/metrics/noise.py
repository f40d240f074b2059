"""What noise an image has: the spectrum of its residual, and how far two images are apart in it."""

import cv2
import numpy as np

BANDS = 12  # rings of spatial frequency from 0 to half a cycle a pixel
ROUNDING = 1 / 12  # variance of rounding to whole levels: less than that says nothing


def residual_spectrum(image: np.ndarray) -> np.ndarray:
    """Power of an image's noise residual by spatial frequency, in dB: (3, BANDS), for brightness, blue and red.

    The residual is what a median of 3x3 pixels takes away. Power is the mean of the squared amplitudes in each ring,
    in squared levels of 255, after a Hann window.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, sides of 16 at least.

    Raises:
        ValueError: another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 16:
        raise ValueError(f"residual of {image.dtype} {image.shape}: give (H, W, 3) uint8, sides of 16 at least")
    residual = image.astype(np.float64) - cv2.medianBlur(image, 3)
    luma = residual @ [0.299, 0.587, 0.114]
    planes = np.stack([luma, (residual[..., 2] - luma) * 0.564, (residual[..., 0] - luma) * 0.713])
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in image.shape[:2]))
    power = np.abs(np.fft.fft2(planes * window)) ** 2 / np.square(window).sum()
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None, :])
    ring = np.minimum((frequency * 2 * BANDS).astype(int), BANDS)  # the corners, beyond half a cycle, are left out
    rings = np.stack([power[:, ring == band].mean(axis=1) for band in range(BANDS)], axis=1)
    return 10 * np.log10(rings + ROUNDING)


def residual_distance(image: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference in dB of two images' residual spectra, of equal sizes or not; 0 is none."""
    return float(np.abs(residual_spectrum(image) - residual_spectrum(other)).mean())
