"""Measures beyond the basic ones, by name: each imports what it needs when it is made, and that may be missing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_fsr.errors import DataError, FSRError, first_line
from keras_fsr.evaluation.measures import BASIC, Measure, Sample
from keras_fsr.quiet import import_tensorflow
from keras_fsr.settings import nearest

BUILDERS = ("lpips", "lpips-vgg", "lpips-alex", "pieapp", "niqe", "pi", "identity")
"""Names of what `choose` adds to `BASIC`; besides them there is "all"."""


@dataclass(frozen=True)
class Sources:
    """Where the measures beyond `BASIC` find what they need."""

    weights: Path | None = None  # folder; None: the environment's, or a download
    niqe_prior: Path | None = None
    persons: Mapping[Path, str] | None = None


def choose(names: Sequence[str], sources: Sources) -> tuple[list[Measure], dict[str, str]]:
    """`BASIC` and the measures of these names; and, of "all", what is left out and why.

    Raises:
        DataError: an unknown name.
        FSRError, ModuleNotFoundError: a measure that was named lacks weights or an extra.
    """
    known = [*BUILDERS, "all"]
    if unknown := [name for name in names if name not in known]:
        raise DataError(f"no metric is called {unknown[0]}{nearest(unknown[0], known)}")
    measures, left_out = list(BASIC), {}
    for name in BUILDERS if "all" in names else dict.fromkeys(names):
        try:
            measures += build(name, sources)
        except (FSRError, ModuleNotFoundError) as error:
            if name in names:
                raise
            left_out[name] = first_line(error)
    return measures, left_out


def build(name: str, sources: Sources) -> list[Measure]:
    metric, _, backbone = name.partition("-")
    match metric:
        case "lpips":
            return lpips(sources.weights, backbone or "squeeze")
        case "pieapp":
            return pieapp(sources.weights)
        case "niqe":
            return niqe(sources.weights, sources.niqe_prior)
        case "pi":
            return perceptual_index(sources.weights, sources.niqe_prior)
        case _:
            return identity(sources.persons)


def make_lpips(weights: Path | None, backbone: str = "squeeze") -> Callable[[np.ndarray, np.ndarray], float]:
    """LPIPS of two (H, W, 3) uint8 images."""
    import_tensorflow()
    from keras_fsr.metrics.lpips import LPIPS

    distance = LPIPS(weights, backbone)
    return lambda hr, sr: float(distance(hr[None] / 255.0, sr[None] / 255.0)[0])


def lpips(weights: Path | None, backbone: str = "squeeze") -> list[Measure]:
    distance = make_lpips(weights, backbone)
    network = {"squeeze": "SqueezeNet", "vgg": "VGG16", "alex": "AlexNet"}[backbone]
    key, heading = ("lpips", "LPIPS") if backbone == "squeeze" else (f"lpips_{backbone}", f"LPIPS-{backbone}")
    return [
        Measure(
            key,
            heading,
            ".4f",
            lambda s: (distance(s.hr, s.sr),),
            means=f"distance in the features of {network}, weighted to match people (v0.1)",
        )
    ]


def pieapp(weights: Path | None) -> list[Measure]:
    import_tensorflow()
    from keras_fsr.losses.pieapp import PieAPP

    score = PieAPP(weights_file=weights).score
    return [
        Measure(
            "pieapp",
            "PieAPP",
            ".3f",
            lambda s: (float(score(s.hr[None] / 255.0, s.sr[None] / 255.0, rows_at_once=4)[0]),),
            means="error that people would see by a network learned from pairwise choices (v0.1, stride 27)",
        )
    ]


def niqe(weights: Path | None, prior: Path | None = None) -> list[Measure]:
    from keras_fsr.metrics.niqe import NIQE

    score = NIQE(prior or weights)
    return [
        Measure(
            "niqe",
            "NIQE",
            ".3f",
            lambda s: (or_nan(score, s),),
            blind=True,
            means="distance from the statistics of pristine photographs, without looking at the original",
        )
    ]


def perceptual_index(weights: Path | None, prior: Path | None = None) -> list[Measure]:
    from keras_fsr.metrics.niqe import NIQE
    from keras_fsr.metrics.perceptual_index import PerceptualIndex

    score = PerceptualIndex(NIQE(prior or weights))
    return [
        Measure(
            "pi",
            "PI",
            ".3f",
            lambda s: (or_nan(score, s),),
            blind=True,
            means="perceptual index: half of NIQE plus 10 minus Ma's score",
        )
    ]


def or_nan(score: Callable[..., float], sample: Sample) -> float:
    """A blind score without the border, NaN where the image is too small for it."""
    try:
        return score(sample.sr, border=sample.scale)
    except DataError:
        return math.nan


def identity(persons: Mapping[Path, str] | None = None) -> list[Measure]:
    """Distance of face descriptors, and what it decides.

    Args:
        persons: who is on each original; without it every image shows another person.
    """
    from keras_fsr.metrics.identity import (
        FAR,
        Identity,
        impostor_distances,
        tar_at_far,
        verification_accuracy,
        worst_mean,
    )

    judge = Identity()
    codes: dict[str, int] = {}

    def describe(sample: Sample) -> np.ndarray:
        """Distance, a number for the person, descriptor of the original and of the enlarged image."""
        pair = judge.describe(sample.hr, sample.sr)
        if pair is None:
            return np.array([math.nan])
        person = str(sample.file) if persons is None else persons[sample.file]
        code = codes.setdefault(person, len(codes))
        return np.concatenate([[np.linalg.norm(pair[0] - pair[1]), code], *pair])

    def tar(vectors: np.ndarray) -> float:
        originals, enlarged = np.split(vectors[:, 2:], 2, axis=1)
        try:
            return tar_at_far(vectors[:, 0], impostor_distances(originals, enlarged, vectors[:, 1]), far=FAR)
        except DataError:  # too few pairs of two persons for such a rate
            return math.nan

    def verified(vectors: np.ndarray) -> float:
        return verification_accuracy(vectors[:, 0], judge.threshold)

    return [
        Measure("identity", "identity", ".3f", describe, means="distance of dlib's face descriptors"),
        Measure(
            "identity_worst",
            "identity, worst 5 %",
            ".3f",
            None,
            whole=lambda v: worst_mean(v[:, 0]),
            one=None,
            means="the same, mean of the largest twentieth",
            source="identity",
        ),
        Measure(
            "verified",
            "verified",
            ".3f",
            None,
            whole=verified,
            one=lambda v: float(v[0] < judge.threshold),
            higher_is_better=True,
            means=f"share recognised as the same person at the descriptor's threshold of {judge.threshold:g}",
            source="identity",
        ),
        Measure(
            "tar",
            f"TAR@FAR {FAR:g}",
            ".3f",
            None,
            whole=tar,
            one=None,
            higher_is_better=True,
            means=f"share recognised where at most {FAR:.0%} of other persons pass",
            source="identity",
        ),
    ]
