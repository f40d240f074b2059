"""The page of a study of opinion: one HTML file, which needs nothing else.

On it an observer rates pairs of an original and what a model made of it, in random order and on random sides (DSCQS
of ITU-R BT.500, see `metrics.opinion`), and saves a JSON file, which `ratings` reads. docs/opinion.md tells how a
study is run.
"""

import base64
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_fsr.errors import DataError
from keras_fsr.evaluation.protocol import MakeLR, Upscaler, load_pair, load_result, upscale_checked
from keras_fsr.evaluation.ratings import VERSION, is_line
from keras_fsr.files import whole_file

TEMPLATE = Path(__file__).with_name("opinion.html")
LARGEST_PAGE = 100_000_000  # bytes


@dataclass(frozen=True)
class Design:
    """How a study is laid out.

    Raises:
        DataError: an impossible number.
    """

    images: int | None = None  # take so many of the files, evenly spread; None: all
    zoom: int = 2  # show a pixel as so many, fewer where the observer's window is too small
    controls: int = 8  # one control for every so many pairs; 0: none
    practice: int = 5  # pairs that come first and do not count; about five in BT.500-13, annex 1, section 2.7

    def __post_init__(self):
        for name, least in {"images": 1, "zoom": 1, "controls": 0, "practice": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise DataError(f"{name} {value} is not possible in a study; give {least} or more")


def make_page(
    models: Mapping[str, Upscaler],
    files: Sequence[Path],
    scale: int,
    path: Path,
    design: Design | None = None,
    progress: Callable[[int, int], None] | None = None,
    results: Mapping[str, Mapping[Path, Path]] | None = None,
    make_lr: MakeLR | None = None,
) -> str:
    """Writes the page of a study: every model on every image.

    Args:
        models: name -> upscaler, interpolations included.
        files: the HR images.
        scale: the super-resolution factor.
        path: of the page.
        design: `Design()` if None.
        progress: called with (images done, images in all).
        results, make_lr: as of `protocol.evaluate`.

    Returns:
        A line that says what was written.

    Raises:
        DataError: nothing to rate, an image that cannot be used, or a page over `LARGEST_PAGE`.
        ModelError: a model whose output is not uint8 of the right size.
        OutputError: the page cannot be written.
    """
    design, results = design or Design(), results or {}
    names = [*models, *results]
    if not files or not names or len(set(names)) < len(names):
        raise DataError(f"{len(files)} images and the models {names}: give images, and models of different names")
    files = spread([Path(file) for file in files], design.images)
    images, size = [], 0
    for name, file in zip(names_of(files, names), files, strict=True):
        hr, lr = load_pair(file, scale, make_lr)
        enlarged = {model: upscale_checked(model, models[model], lr, scale) for model in models}
        enlarged |= {model: load_result(model, results[model], file, hr) for model in results}
        pictures = {model: data_uri(picture) for model, picture in enlarged.items()}
        images.append({"name": name, "original": data_uri(hr), "processed": pictures})
        size += len(images[-1]["original"]) + sum(map(len, pictures.values()))
        if size > LARGEST_PAGE:
            raise DataError(
                f"{path}: over {LARGEST_PAGE // 10**6} MB with {len(images)} of {len(files)} images, too much for "
                "a browser; take fewer or smaller images, or fewer models"
            )
        if progress:
            progress(len(images), len(files))
    study = make_study(images, len(names), design)
    page = TEMPLATE.read_text(encoding="utf-8").replace("{study}", script_json(study))
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return (
        f"{path}: study {study['id']}, {len(images)} images x {len(names)} models, "
        f"{len(study['controls'])} controls, {study['practice']} pairs for practice; {len(page) / 1e6:.1f} MB"
    )


def make_study(images: Sequence[Mapping[str, Any]], models: int, design: Design) -> dict[str, Any]:
    """What the page needs to know. The id hangs on all of it, so that a page made again goes on with a study."""
    pairs = len(images) * models
    study = {
        "version": VERSION,
        "zoom": design.zoom,
        "practice": min(design.practice, pairs),
        "controls": spread(range(len(images)), math.ceil(pairs / design.controls) if design.controls else 0),
        "images": images,
    }
    return {"id": hashlib.sha256(json.dumps(study).encode()).hexdigest()[:16], **study}


def spread(items: Sequence, count: int | None) -> list:
    """So many of the items, evenly spread; all where they are fewer, or without a count."""
    count = len(items) if count is None else min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def names_of(files: Sequence[Path], models: Sequence[str]) -> list[str]:
    """The files' paths below the folder they share.

    Raises:
        DataError: one of them, or the name of a model, could not be printed in a line.
    """
    folder = os.path.commonpath([file.absolute().parent for file in files])
    names = [file.absolute().relative_to(folder).as_posix() for file in files]
    for name in (*names, *models):
        if not is_line(name):
            raise DataError(f"{name!a:.99}: is no name for a study, as it does not print in a line; rename it")
    return names


def data_uri(picture: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def script_json(study: Mapping[str, Any]) -> str:
    """JSON for a script element, which a "</script>" in a name would end."""
    return json.dumps(study).replace("<", "\\u003c")
