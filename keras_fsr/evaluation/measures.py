"""What can be measured of an enlarged image: each figure, how it is taken of one image and of a set of them.

`BASIC` needs the light install only; `choosing` makes the others by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_fsr.metrics.colour import colour_drift, largest_drift
from keras_fsr.metrics.fidelity import psnr, rgb_to_y, ssim
from keras_fsr.metrics.grid import grid_of_peaks, grid_peaks


class Sample(NamedTuple):
    """What is measured: an enlarged image beside its original."""

    file: Path  # of the original
    hr: np.ndarray  # (H, W, 3) uint8
    sr: np.ndarray  # the same
    scale: int  # also the pixels cut from every side


def mean(vectors: np.ndarray) -> float:
    """The mean of the first numbers: what most measures are of a set."""
    return float(vectors[:, 0].mean())


def first(vector: np.ndarray) -> float:
    return float(vector[0])


@dataclass(frozen=True)
class Measure:
    """One figure.

    `each` gives a vector for an image, NaN where it cannot be measured; `whole` makes one number of the vectors
    (N, K) of a set, in which no NaN is left.
    """

    key: str  # in files, e.g. "psnr_y"
    heading: str  # in tables
    form: str  # of a figure, as of `format`
    each: Callable[[Sample], Sequence[float]] | None  # None: of the vectors of the measure `source`
    whole: Callable[[np.ndarray], float] = mean
    one: Callable[[np.ndarray], float] | None = first  # the figure of a single image; None if that means nothing
    columns: tuple[str, ...] = ()  # in the CSV, of the whole vector; without them `one` stands under `key`
    higher_is_better: bool = False
    ranked: bool = True  # of two figures one is the better; else there is only enough
    blind: bool = False  # looks at the enlarged image alone, so that the originals have a figure, too
    means: str = ""  # what it is, in a few words
    source: str = ""  # key of the measure whose vectors it is made of


def luma_of(measure: Callable, sample: Sample) -> tuple[float]:
    return (measure(rgb_to_y(sample.sr), rgb_to_y(sample.hr), sample.scale),)


BASIC = (
    Measure(
        "psnr_y",
        "PSNR-Y",
        ".2f",
        lambda s: luma_of(psnr, s),
        higher_is_better=True,
        means="peak signal-to-noise ratio of the BT.601 luma, dB",
    ),
    Measure(
        "ssim_y",
        "SSIM-Y",
        ".4f",
        lambda s: luma_of(ssim, s),
        higher_is_better=True,
        means="structural similarity of the luma, 11x11 Gaussian window",
    ),
    Measure(
        "psnr_rgb",
        "PSNR-RGB",
        ".2f",
        lambda s: (psnr(s.sr, s.hr, s.scale),),
        higher_is_better=True,
        means="peak signal-to-noise ratio of RGB, dB",
    ),
    Measure(
        "ssim_rgb",
        "SSIM-RGB",
        ".4f",
        lambda s: (ssim(s.sr, s.hr, s.scale),),
        higher_is_better=True,
        means="structural similarity, mean of the channels",
    ),
    Measure(
        "grid",
        "grid",
        ".2f",
        lambda s: grid_peaks(s.sr, s.scale),
        whole=grid_of_peaks,
        one=lambda peaks: float(peaks.max()),
        ranked=False,
        blind=True,
        means="power at the periods of the up-sampling over that beside them; 1 is none",
    ),
    Measure(
        "colour",
        "colour",
        ".2f",
        lambda s: colour_drift(s.sr, s.hr, s.scale),
        whole=largest_drift,
        one=lambda drift: float(np.abs(drift).max()),
        columns=("drift_red", "drift_green", "drift_blue"),
        means="largest mean shift of a channel, levels of 255",
    ),
)
"""What is always measured."""
