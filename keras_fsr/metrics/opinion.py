"""Opinion scores of ITU-R BT.500: MOS, DMOS with its confidence interval, and which observers are left out.

By the double-stimulus continuous quality-scale method (DSCQS; BT.500-13, annex 1, section 5) every observer rates the
original and the processed image of every presentation from 0, bad, to 100, excellent, not knowing which is which.
The difference score is that of the original less that of the processed image: 0 is no loss, larger is worse.
"""

import math
from dataclasses import dataclass

import numpy as np

from keras_fsr.errors import DataError

FEWEST_SCREENED = 6
"""Observers that `screen` needs: one of N lies at most (N - 1) / sqrt(N) standard deviations from the mean of all."""

_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 97.5 %, 1 to 10 degrees
_NORMAL = 1.959964


@dataclass(frozen=True)
class Opinion:
    """What the observers thought of one model."""

    mos: float  # mean score of its images, 0 to 100
    dmos: float  # mean difference score, -100 to 100, larger is worse
    interval: float  # half of the 95 % confidence interval of the DMOS; NaN with a single observer
    observers: int
    ratings: int  # difference scores


@dataclass(frozen=True)
class Screening:
    """How often each observer is far from the others, ``(observers,)`` each."""

    above: np.ndarray  # P of BT.500
    below: np.ndarray  # Q of BT.500
    rejected: np.ndarray  # bool


def opinion(original: np.ndarray, processed: np.ndarray) -> Opinion:
    """Opinion of one model.

    Args:
        original: scores of the originals, ``(observers, presentations)`` in [0, 100].
        processed: of what the model made of them, likewise.

    Raises:
        DataError: the shapes differ or are empty, or a score is out of range.
    """
    for scores in (original, processed):
        if scores.ndim != 2 or not scores.size or scores.shape != original.shape:
            raise DataError(
                f"scores of {original.shape} and {processed.shape}; give (observers, presentations) of both"
            )
        if not ((scores >= 0) & (scores <= 100)).all():
            raise DataError("a score is no number from 0 to 100; give the scores as they were rated")
    differences = original - processed
    return Opinion(
        mos=float(processed.mean()),
        dmos=float(differences.mean()),
        interval=confidence(differences.mean(axis=1)),
        observers=len(differences),
        ratings=differences.size,
    )


def confidence(scores: np.ndarray) -> float:
    """Half of the 95 % confidence interval of the mean of one score an observer, ``(observers,)``: t * S / sqrt(N).

    BT.500-14 (A1-2.2; BT.500-13, annex 2, section 2.2) has 1.96 for t. Student's t, here, tends to that and keeps
    the 95 % with few observers: 2.14 with 15, 2.78 with 5. For a model the scores are the observers' means over the
    images: it is the observers who are a sample, the images are those of the study.

    Returns:
        NaN for a single observer.
    """
    if len(scores) < 2:
        return math.nan
    return student(len(scores) - 1) * float(scores.std(ddof=1)) / math.sqrt(len(scores))


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t with so many degrees of freedom, 1 at least; from a table up to 10, then by
    the expansion of Abramowitz and Stegun, 26.7.5, to 0.0002.
    """
    if degrees <= len(_STUDENT):
        return _STUDENT[degrees - 1]
    x = _NORMAL
    first, second = (x**3 + x) / 4, (5 * x**5 + 16 * x**3 + 3 * x) / 96
    third = (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384
    return x + first / degrees + second / degrees**2 + third / degrees**3


def screen(differences: np.ndarray) -> Screening:
    """Which observers to leave out, by BT.500-14, A1-2.3.1 (BT.500-13, annex 2, section 2.3.1), applied once.

    A score is far where it is 2 standard deviations or more from the mean of its presentation, sqrt(20) where these
    scores are not normal by their kurtosis (outside 2 to 4). Left out is who is far in more than 5 % of the
    presentations and about as often above as below: |P - Q| / (P + Q) < 0.3. That is somebody who answers at random;
    one who is always stricter than the others stays.

    Two things that the text leaves open: where all agree nobody is far, and where all would be left out nobody is.

    Args:
        differences: difference scores, ``(observers, presentations)``.
    """
    deviations = differences - differences.mean(axis=0)
    second, fourth = (deviations**2).mean(axis=0), (deviations**4).mean(axis=0)
    normal = (2 * second**2 <= fourth) & (fourth <= 4 * second**2)
    spread = np.sqrt(second * len(differences) / max(len(differences) - 1, 1))
    far = np.where(spread > 0, np.where(normal, 2, math.sqrt(20)) * spread, np.inf)
    above, below = (deviations >= far).sum(axis=1), (deviations <= -far).sum(axis=1)
    outside = above + below
    rejected = (20 * outside > differences.shape[1]) & (10 * abs(above - below) < 3 * outside)
    return Screening(above, below, rejected & ~rejected.all())
