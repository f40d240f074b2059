"""Blur kernels: odd squares of float64 whose weights sum to 1.

Source: Wang et al., "Real-ESRGAN" (2021), sections 3.1 and 3.3, with the definitions of the authors' code; the
generalised Gaussian and the plateau after Liu, Gu and Huang (2020).
"""

import math

import numpy as np

GAUSSIAN, GENERALIZED, PLATEAU = "", "generalized_", "plateau_"
KINDS = tuple(shape + axes for shape in (GAUSSIAN, GENERALIZED, PLATEAU) for axes in ("iso", "aniso"))
"""Shape and axes of a blur kernel: "iso", "aniso", "generalized_iso" ... "plateau_aniso"."""


def blur_kernel(
    kind: str, size: int, sigma_x: float, sigma_y: float | None = None, rotation: float = 0.0, beta: float = 1.0
) -> np.ndarray:
    """A kernel of `KINDS`, (size, size).

    With d the squared distance from the centre in units of the (rotated) standard deviations: exp(-d / 2) for the
    Gaussian, exp(-d**beta / 2) for the generalised one, 1 / (1 + d**beta) for the plateau.

    Args:
        size: side in pixels, odd.
        sigma_x, sigma_y: standard deviations in pixels along the axes; an "iso" kernel has but the first.
        rotation: of the x axis, in radians, from x (columns) to y (rows).
        beta: exponent; 1 for a Gaussian.

    Raises:
        ValueError: an unknown kind, an even size, or a standard deviation that is not above 0.
    """
    if kind not in KINDS:
        raise ValueError(f"blur kernel {kind!r} is none of {', '.join(KINDS)}")
    sigma_y = sigma_x if kind.endswith("_iso") or kind == "iso" else sigma_y
    if size < 1 or size % 2 == 0 or min(sigma_x, sigma_y or 0) <= 0:
        raise ValueError(f"blur of size {size}, sigmas {sigma_x} and {sigma_y}: give an odd size, sigmas above 0")
    y, x = grid(size)
    along = (x * math.cos(rotation) + y * math.sin(rotation)) / sigma_x
    across = (y * math.cos(rotation) - x * math.sin(rotation)) / sigma_y
    distance = along**2 + across**2
    if kind.startswith(PLATEAU):
        kernel = 1 / (1 + distance**beta)
    else:
        kernel = np.exp(-0.5 * distance ** (beta if kind.startswith(GENERALIZED) else 1))
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """The circular low-pass of a cutoff in radians a pixel, (size, size): it rings, as over-sharpened images do.

    cutoff * J1(cutoff * r) / (2 pi r), with J1 the Bessel function of first kind and order (Real-ESRGAN, equation 6).

    Raises:
        ValueError: an even size, or a cutoff that is not in (0, pi].
    """
    from scipy.special import j1

    if size < 1 or size % 2 == 0 or not 0 < cutoff <= math.pi:
        raise ValueError(f"a sinc kernel of size {size} and cutoff {cutoff}: give an odd size, a cutoff in (0, pi]")
    radius = np.hypot(*grid(size))
    centre = size // 2
    radius[centre, centre] = 1.0  # any value: replaced by the limit below
    kernel = cutoff * j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[centre, centre] = cutoff**2 / (4 * math.pi)
    return kernel / kernel.sum()


def shifted_gaussian(size: int, sigma: float, shift: float) -> np.ndarray:
    """A Gaussian, (size, size), whose centre lies `shift` pixels to the lower right.

    With shift = (n - 1) / 2 it centres each n x n block, so that taking its first pixel moves the image by nothing
    (Zhang et al., "BSRGAN", 2021, section 3.2).
    """
    y, x = grid(size)
    kernel = np.exp(-0.5 * ((x - shift) ** 2 + (y - shift) ** 2) / sigma**2)
    return kernel / kernel.sum()


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (y, x) from the centre, float64."""
    offsets = np.arange(size, dtype=np.float64) - size // 2
    return offsets[:, None] + 0 * offsets, offsets[None, :] + 0 * offsets[:, None]
