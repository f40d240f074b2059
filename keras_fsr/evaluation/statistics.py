"""How far a figure of a set of images can be trusted: bootstrap intervals over the images. NumPy only.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: the percentile interval.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A figure and the bounds between which it lies with a confidence of `LEVEL`; NaN where there are none."""

    value: float
    low: float
    high: float


def bootstrap(figure: Callable[..., float], *sets: np.ndarray) -> Interval:
    """The interval of a figure of one set of images, or of several that hold the same images in the same order.

    The images are drawn with replacement, the same ones of every set, by a fixed seed: two figures of the same
    images are judged by the same draws.

    Args:
        figure: of arrays like those of `sets`.
        sets: (N, ...) arrays, N at least 1; a single image has no interval.
    """
    value = figure(*sets)
    count = len(sets[0])
    if count < 2 or not math.isfinite(value):
        return Interval(value, math.nan, math.nan)
    drawn = np.array([figure(*(vectors[draw] for vectors in sets)) for draw in draws(count)])
    drawn = drawn[~np.isnan(drawn)]  # a draw may lack what the figure needs, e.g. two persons
    if not len(drawn):
        return Interval(value, math.nan, math.nan)
    outside = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [outside, 1 - outside])
    return Interval(value, float(low), float(high))


@functools.lru_cache(maxsize=8)
def draws(count: int) -> np.ndarray:
    """(RESAMPLES, count) indices of images."""
    return np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
