"""One protocol for every number the project prints.

The original (HR) is cut to a multiple of the scale and reduced by Pillow's antialiased bicubic to 8 bits
(LR). Each method enlarges the LR to an 8-bit image (SR), which is measured against the HR: PSNR and SSIM on
luma and on RGB, without ``scale`` pixels at every side, image by image; the mean over the images comes last.
Light install only: NumPy, Pillow, OpenCV.
"""

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from keras_fsr.errors import DataError, ModelError
from keras_fsr.files import whole_file
from keras_fsr.metrics.fidelity import METRICS, fidelity

Upscaler = Callable[[np.ndarray], np.ndarray]
"""LR ``(h, w, 3)`` uint8 -> SR ``(h * scale, w * scale, 3)`` uint8."""

METHODS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
"""The interpolations every table is compared with; `baselines` makes upscalers of them."""

_HEADINGS = ("PSNR-Y", "SSIM-Y", "PSNR-RGB", "SSIM-RGB")  # of METRICS, in their order


@dataclass(frozen=True)
class Row:
    """What one model reached on one image. PSNR in dB, SSIM at most 1."""

    file: Path
    model: str
    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float


def load_rgb(path: Path) -> np.ndarray:
    """Read an 8-bit RGB or gray image, turned upright by its EXIF orientation.

    Transparency and deeper colour are refused rather than converted: the conversion would be measured too.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        DataError: the file is missing, damaged, or not plain 8-bit RGB or gray.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode not in ("RGB", "L"):
                raise DataError(f"{path}: colour mode {upright.mode}; convert it to plain 8-bit RGB to measure")
            return np.asarray(upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); replace or remove it") from error


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
) -> list[Row]:
    """Measure models on image files.

    Args:
        models: name -> upscaler; ``{**baselines(scale), "mine": predict}`` measures both.
        files: the HR images.
        scale: the super-resolution factor.
        progress: called with (images done, images in all) after each image.

    Returns:
        One row per image and model, image by image, models in their order.

    Raises:
        DataError: no files or models, or a file that cannot be read or is too small.
        ModelError: a model whose output is not uint8 of the right size.
    """
    if not files or not models:
        raise DataError(f"nothing to measure: {len(files)} images, {len(models)} models; give at least one each")
    rows = []
    for done, file in enumerate(files, start=1):
        rows += _measure(models, Path(file), scale)
        if progress:
            progress(done, len(files))
    return rows


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Model -> metric -> mean over the images. A perfect image (infinite PSNR) makes its mean infinite."""
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    return {
        model: {metric: float(np.mean([getattr(row, metric) for row in group])) for metric in METRICS}
        for model, group in by_model.items()
    }


def format_table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """The means of `summarize` as plain text: a line a model, columns aligned, no newline at the end."""
    lines = [("model", *_HEADINGS)]
    for model, means in summary.items():
        lines.append((model, *(_cell(metric, means[metric]) for metric in METRICS)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))])
        for name, *numbers in lines
    )


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write one line per image and model, files named relative to the folder they share.

    Raises:
        DataError: there are no rows.
        OutputError: the file cannot be written.
    """
    if not rows:
        raise DataError(f"{path}: no rows to write; measure at least one image")
    folder = os.path.commonpath([row.file.absolute().parent for row in rows])

    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "model", *METRICS])
        for row in rows:
            name = row.file.absolute().relative_to(folder).as_posix()
            writer.writerow([name, row.model, *(round(getattr(row, metric), 6) for metric in METRICS)])


def _measure(models: Mapping[str, Upscaler], file: Path, scale: int) -> list[Row]:
    hr = load_rgb(file)
    try:
        hr = crop_to_multiple(hr, scale)
        lr = reduce_image(hr, scale)
        return [
            Row(file, name, **fidelity(upscale_checked(name, model, lr, scale), hr, scale))
            for name, model in models.items()
        ]
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _resize(image: np.ndarray, width: int, height: int, resampling: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), resampling))


def _cell(metric: str, value: float) -> str:
    return f"{value:.2f}" if metric.startswith("psnr") else f"{value:.4f}"
