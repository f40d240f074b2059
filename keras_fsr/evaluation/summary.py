"""What a report says in numbers: the models' figures with their intervals, for all images and for groups of them."""

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import keras_fsr
from keras_fsr.evaluation.measures import Measure
from keras_fsr.evaluation.protocol import Row
from keras_fsr.evaluation.statistics import Interval, bootstrap
from keras_fsr.files import whole_file

PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "numpy", "opencv-python-headless", "pillow", "dlib-bin")


@dataclass(frozen=True)
class Setting:
    """What was measured on what, in words and digests."""

    data: str  # name of the folder
    scale: int
    lr: str  # how the LR images were made
    lr_folder: str  # name of their folder, or "" if they were reduced here
    sha256: str  # of the HR images, by `digest_of`
    models: Mapping[str, str] = field(default_factory=dict)  # name -> SHA-256 of its file
    left_out: Sequence[str] = ()  # metrics that this machine lacks something for


def make_summary(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    setting: Setting,
    originals: Mapping[str, float],
    groups: Mapping[str, Mapping[Path, str]],
) -> dict[str, Any]:
    """All numbers of a report, ready for JSON: a figure that is not finite is None.

    Args:
        rows: of `protocol.evaluate`; differences are to the first model in them.
        measures: that they were measured by.
        setting: goes along as it is.
        originals: of `protocol.originals`.
        groups: column of a manifest -> file -> the group that it belongs to.
    """
    subgroups: dict[str, Any] = {}
    for column, members in groups.items():
        subgroups[column] = {}
        for group in sorted({members[row.file] for row in rows}):
            subgroups[column][group] = of_images([row for row in rows if members[row.file] == group], measures)
    return {
        "data": {"folder": setting.data, "sha256": setting.sha256, "lr": setting.lr, "lr_folder": setting.lr_folder},
        "scale": setting.scale,
        "border": setting.scale,
        **of_images(rows, measures),
        "originals": {key: rounded(value) for key, value in originals.items()},
        "subgroups": subgroups,
        "left_out": list(setting.left_out),
        "sha256": dict(setting.models),
        "versions": versions(),
    }


def of_images(rows: Sequence[Row], measures: Sequence[Measure]) -> dict[str, Any]:
    """Number of images, and model -> key -> figure with interval and difference to the first model."""
    models: dict[str, dict[Path, Row]] = {}
    for row in rows:
        models.setdefault(row.model, {})[row.file] = row
    first = next(iter(models))
    return {
        "images": len(models[first]),
        "first": first,
        "models": {
            name: figures_of(own, models[first] if name != first else None, measures) for name, own in models.items()
        },
    }


def figures_of(own: Mapping[Path, Row], first: Mapping[Path, Row] | None, measures: Sequence[Measure]) -> dict:
    figures = {}
    for measure in measures:
        files = [file for file in own if has(own[file], measure)]
        if not files:
            continue
        figure = plain(bootstrap(measure.whole, stacked(own, files, measure)))
        if figure["mean"] is None:
            continue
        figure["images"] = len(files)
        shared = [file for file in files if first and has(first[file], measure)]
        if shared:
            pair = (stacked(own, shared, measure), stacked(first, shared, measure))
            figure["difference"] = plain(bootstrap(lambda a, b, whole=measure.whole: whole(a) - whole(b), *pair))
        figures[measure.key] = figure
    return figures


def has(row: Row, measure: Measure) -> bool:
    return not np.isnan(row.vector(measure)).any()


def stacked(rows: Mapping[Path, Row], files: Iterable[Path], measure: Measure) -> np.ndarray:
    return np.stack([rows[file].vector(measure) for file in files])


def plain(interval: Interval) -> dict[str, float | None]:
    return {"mean": rounded(interval.value), "low": rounded(interval.low), "high": rounded(interval.high)}


def rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def versions() -> dict[str, str]:
    """Of Python, this package and what a figure may depend on, as far as it is installed."""
    found = {"python": platform.python_version(), "keras_fsr": keras_fsr.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of files."""
    total = hashlib.sha256()
    for file in files:
        total.update(os.fsencode(file.name) + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Writes it as JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
