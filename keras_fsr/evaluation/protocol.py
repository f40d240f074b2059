"""One protocol for every number the project prints.

The original (HR) is cut to a multiple of the scale and reduced by Pillow's antialiased bicubic to 8 bits
(LR). Each method enlarges the LR to an 8-bit image (SR), which is measured against the HR (`measures`) image by
image; the mean over the images comes last. Images that others have enlarged are measured in the same run, by the
same code. Light install only: NumPy, Pillow, OpenCV.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from keras_fsr.data.folders import opened
from keras_fsr.errors import DataError, ModelError
from keras_fsr.evaluation.measures import BASIC, Measure, Sample

Upscaler = Callable[[np.ndarray], np.ndarray]
"""LR ``(h, w, 3)`` uint8 -> SR ``(h * scale, w * scale, 3)`` uint8."""

METHODS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
"""The interpolations every table is compared with; `baselines` makes upscalers of them."""

MakeLR = Callable[[Path, np.ndarray], np.ndarray]
"""HR file and its pixels, cut to a multiple of the scale -> its LR, ``(H / scale, W / scale, 3)`` uint8."""


@dataclass(frozen=True)
class Row:
    """What one model reached on one image: the vectors of the measures, by their keys."""

    file: Path  # the HR image
    model: str
    vectors: Mapping[str, np.ndarray]

    def vector(self, measure: Measure) -> np.ndarray:
        """What was measured; a NaN stands in it, and in what was not measured."""
        return self.vectors.get(measure.source or measure.key, np.array([math.nan]))

    def figure(self, measure: Measure) -> float:
        """The figure of this image alone; NaN if it has none."""
        vector = self.vector(measure)
        return math.nan if measure.one is None or np.isnan(vector).any() else measure.one(vector)


class Pair(NamedTuple):
    """An HR image, cut to a multiple of the scale, and its LR image."""

    hr: np.ndarray
    lr: np.ndarray


def load_rgb(path: Path) -> np.ndarray:
    """Read an 8-bit RGB or gray image, turned upright by its EXIF orientation.

    Transparency and deeper colour are refused rather than converted: the conversion would be measured too.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        DataError: the file is missing, damaged, or not plain 8-bit RGB or gray.
    """
    with opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode not in ("RGB", "L"):
            raise DataError(f"{path}: colour mode {upright.mode}; convert it to plain 8-bit RGB to measure")
        return np.asarray(upright.convert("RGB"))


def crop_to_multiple(image: np.ndarray, scale: int) -> np.ndarray:
    """Cut ``(H, W, ...)`` at the right and bottom so that both sides are multiples of ``scale``.

    Raises:
        DataError: the scale is below 1 or an image side is shorter than it.
    """
    if scale < 1:
        raise DataError(f"scale {scale} is not possible; give 1 or more")
    height, width = image.shape[0] // scale * scale, image.shape[1] // scale * scale
    if min(height, width) == 0:
        raise DataError(f"an image of {image.shape[1]}x{image.shape[0]} is too small for scale {scale}")
    return image[:height, :width]


def reduce_image(hr: np.ndarray, scale: int) -> np.ndarray:
    """Make the LR of the protocol: Pillow's antialiased bicubic, rounded to 8 bits.

    Args:
        hr: ``(H, W, 3)`` uint8; cut by `crop_to_multiple` first.
        scale: how many times smaller.

    Returns:
        ``(H // scale, W // scale, 3)`` uint8.

    Raises:
        DataError: not an 8-bit RGB image, or too small for the scale.
    """
    if hr.dtype != np.uint8 or hr.ndim != 3 or hr.shape[2] != 3:
        raise DataError(f"cannot reduce {hr.dtype} of shape {hr.shape}; give (H, W, 3) uint8")
    hr = crop_to_multiple(hr, scale)
    return _resize(hr, hr.shape[1] // scale, hr.shape[0] // scale, Image.Resampling.BICUBIC)


def baselines(scale: int) -> dict[str, Upscaler]:
    """The interpolations of `METHODS` as upscalers of this scale, ready for `evaluate`."""

    def upscaler(resampling: Image.Resampling) -> Upscaler:
        return lambda lr: _resize(lr, lr.shape[1] * scale, lr.shape[0] * scale, resampling)

    return {name: upscaler(resampling) for name, resampling in METHODS.items()}


def load_pair(file: Path, scale: int, make_lr: MakeLR | None = None) -> Pair:
    """Read an HR image and make its LR, by `reduce_image` or as told.

    Raises:
        DataError: the file cannot be measured, or the LR is not exactly ``scale`` times smaller.
    """
    hr = load_rgb(file)
    try:
        hr = crop_to_multiple(hr, scale)
        lr = make_lr(file, hr) if make_lr else reduce_image(hr, scale)
        check_lr(lr, hr, scale)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    return Pair(hr, lr)


def check_lr(lr: np.ndarray, hr: np.ndarray, scale: int) -> None:
    if (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
        raise DataError(
            f"its LR has {lr.shape[1]}x{lr.shape[0]} pixels, {hr.shape[1]}x{hr.shape[0]} by {scale} are wanted; "
            "give LR images of exactly that size"
        )


def upscale_checked(name: str, model: Upscaler, lr: np.ndarray, scale: int) -> np.ndarray:
    """Run one model on an LR and check that its SR is uint8 and ``scale`` times as large.

    Raises:
        ModelError: it is not; the usual cause is a model of another scale.
    """
    sr = model(lr)
    expected = (lr.shape[0] * scale, lr.shape[1] * scale, 3)
    if sr.shape != expected or sr.dtype != np.uint8:
        raise ModelError(
            f"model {name} gave {sr.dtype} {sr.shape} where scale {scale} wants uint8 {expected}; "
            "measure it at its own scale, rounded to 8 bits"
        )
    return sr


def evaluate(
    models: Mapping[str, Upscaler],
    files: Sequence[Path],
    scale: int,
    progress: Callable[[int, int], None] | None = None,
    results: Mapping[str, Mapping[Path, Path]] | None = None,
    measures: Sequence[Measure] = BASIC,
    make_lr: MakeLR | None = None,
) -> list[Row]:
    """Measure models on image files.

    Args:
        models: name -> upscaler; ``{**baselines(scale), "mine": predict}`` measures both.
        files: the HR images.
        scale: the super-resolution factor.
        progress: called with (images done, images in all) after each image.
        results: name -> HR file -> the file that someone's model made of its LR.
        measures: what to measure, of `measures.choose`.
        make_lr: the LR of an HR file and its pixels, cut to a multiple of the scale, where it is not `reduce_image`;
            a table must say how it was made.

    Returns:
        One row per image and model, image by image, models in their order and results after them.

    Raises:
        DataError: no files or models, or a file that cannot be read, is too small, or is no result for its HR.
        ModelError: a model whose output is not uint8 of the right size.
    """
    results = results or {}
    if not files or not (models or results):
        raise DataError(
            f"nothing to measure: {len(files)} images, {len(models)} models, {len(results)} folders of results; "
            "give images and something that enlarges them"
        )
    if twice := models.keys() & results.keys():
        raise DataError(f"{min(twice)} is both a model and a folder of results; name the results otherwise")
    rows = []
    for done, file in enumerate(map(Path, files), start=1):
        for name, sr, hr in _enlarge(models, results, file, scale, make_lr):
            rows.append(Row(file, name, take(measures, Sample(file, hr, sr, scale))))
        if progress:
            progress(done, len(files))
    return rows


def take(measures: Sequence[Measure], sample: Sample) -> dict[str, np.ndarray]:
    """What the measures give for one image.

    Raises:
        DataError: the image is too small, named.
    """
    try:
        return {m.key: np.asarray(m.each(sample), np.float64) for m in measures if m.each}
    except DataError as error:
        raise DataError(f"{sample.file}: {error}") from error


def originals(files: Sequence[Path], scale: int, measures: Sequence[Measure] = BASIC) -> dict[str, float]:
    """Figures of the HR images themselves, of the measures that need no original, beside which others are read."""
    blind = [measure for measure in measures if measure.blind]
    rows = []
    for file in files:
        hr = crop_to_multiple(load_rgb(file), scale)
        rows.append(Row(file, "originals", take(blind, Sample(file, hr, hr, scale))))
    return summarize(rows, blind)["originals"]


def vectors_of(rows: Sequence[Row], measure: Measure) -> np.ndarray:
    """(N, K) vectors of the rows that have them whole; (0, 1) if none has."""
    whole = [vector for vector in (row.vector(measure) for row in rows) if not np.isnan(vector).any()]
    return np.stack(whole) if whole else np.empty((0, 1))


def summarize(rows: Sequence[Row], measures: Sequence[Measure] = BASIC) -> dict[str, dict[str, float]]:
    """Model -> key of a measure -> its figure for the set of images; without the figures that no image has.

    A perfect image, of infinite PSNR, makes its mean infinite.
    """
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    return {model: _summary(group, measures) for model, group in by_model.items()}


def _summary(rows: Sequence[Row], measures: Sequence[Measure]) -> dict[str, float]:
    vectors = {measure.key: vectors_of(rows, measure) for measure in measures}
    figures = {m.key: m.whole(vectors[m.key]) for m in measures if len(vectors[m.key])}
    return {key: value for key, value in figures.items() if not math.isnan(value)}


def format_table(summary: Mapping[str, Mapping[str, float]], measures: Sequence[Measure] = BASIC) -> str:
    """The figures of `summarize` as plain text: a line a model, columns aligned, no newline at the end."""
    shown = [m for m in measures if any(m.key in figures for figures in summary.values())]
    lines = [("model", *(measure.heading for measure in shown))]
    for model, figures in summary.items():
        lines.append((model, *(format(figures[m.key], m.form) if m.key in figures else "-" for m in shown)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))])
        for name, *numbers in lines
    )


def _enlarge(
    models: Mapping[str, Upscaler],
    results: Mapping[str, Mapping[Path, Path]],
    file: Path,
    scale: int,
    make_lr: MakeLR | None,
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, SR and HR of every model and every folder of results."""
    hr, lr = load_pair(file, scale, make_lr)
    for name, model in models.items():
        yield name, upscale_checked(name, model, lr, scale), hr
    for name, paths in results.items():
        yield name, load_result(name, paths, file, hr), hr


def load_result(name: str, paths: Mapping[Path, Path], file: Path, hr: np.ndarray) -> np.ndarray:
    """What someone's model made of the LR of an HR file.

    Raises:
        DataError: there is nothing, or nothing of the size of the HR.
    """
    if file not in paths:
        raise DataError(f"{file}: {name} has no result for it; add the image")
    sr = load_rgb(paths[file])
    if sr.shape != hr.shape:
        raise DataError(
            f"{file}: {paths[file]} has {sr.shape[1]}x{sr.shape[0]} pixels where {hr.shape[1]}x{hr.shape[0]} are "
            "wanted; enlarge the LR of the protocol"
        )
    return sr


def _resize(image: np.ndarray, width: int, height: int, resampling: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), resampling))
