"""One protocol for every number the project prints.

The original (HR) is cut to a multiple of the scale and reduced by Pillow's antialiased bicubic to 8 bits
(LR). Each method enlarges the LR to an 8-bit image (SR), which is measured against the HR: PSNR and SSIM on
luma and on RGB and the colour drift, without ``scale`` pixels at every side; the grid of the SR and, where asked
for, LPIPS, on whole images. All of it image by image; the mean over the images comes last. Images that others
have enlarged are measured in the same run, by the same code.
Light install only, NumPy, Pillow, OpenCV: LPIPS comes in as a function.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from keras_fsr.errors import DataError, ModelError
from keras_fsr.metrics.colour import colour_drift, largest_drift
from keras_fsr.metrics.fidelity import METRICS, fidelity
from keras_fsr.metrics.grid import grid_of_peaks, grid_peaks

Upscaler = Callable[[np.ndarray], np.ndarray]
"""LR ``(h, w, 3)`` uint8 -> SR ``(h * scale, w * scale, 3)`` uint8."""

METHODS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
"""The interpolations every table is compared with; `baselines` makes upscalers of them."""

Distance = Callable[[np.ndarray, np.ndarray], float]
"""HR and SR, ``(H, W, 3)`` uint8 -> how unlike they look, e.g. by LPIPS."""

MakeLR = Callable[[Path, np.ndarray], np.ndarray]
"""HR file and its pixels, cut to a multiple of the scale -> its LR, ``(H / scale, W / scale, 3)`` uint8."""

COLUMNS = {  # key of a summary -> heading and format of its column
    "psnr_y": ("PSNR-Y", ".2f"),
    "ssim_y": ("SSIM-Y", ".4f"),
    "psnr_rgb": ("PSNR-RGB", ".2f"),
    "ssim_rgb": ("SSIM-RGB", ".4f"),
    "lpips": ("LPIPS", ".4f"),
    "grid": ("grid", ".2f"),
    "colour": ("colour", ".2f"),
}


@dataclass(frozen=True)
class Row:
    """What one model reached on one image; what was not measured, or cannot be on so small an image, is NaN."""

    file: Path
    model: str
    psnr_y: float  # dB
    ssim_y: float  # at most 1
    psnr_rgb: float
    ssim_rgb: float
    peaks: tuple[float, ...] = (math.nan,)  # of `metrics.grid.grid_peaks`
    drift: tuple[float, float, float] = (math.nan,) * 3  # red, green, blue in levels of 255
    lpips: float = math.nan

    @property
    def grid(self) -> float:
        """The image's own grid figure: of a single image, and so about 1.15 where there is none."""
        return max(self.peaks)


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


def check_lr(lr: np.ndarray, hr: np.ndarray, scale: int) -> None:
    """Refuses an LR image that is not exactly `scale` times smaller than its HR.

    Raises:
        DataError: it is not.
    """
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
    lpips: Distance | None = None,
    make_lr: MakeLR | None = None,
) -> list[Row]:
    """Measure models on image files.

    Args:
        models: name -> upscaler; ``{**baselines(scale), "mine": predict}`` measures both.
        files: the HR images.
        scale: the super-resolution factor.
        progress: called with (images done, images in all) after each image.
        results: name -> HR file -> the file that someone's model made of its LR.
        lpips: measures `Row.lpips`, which is NaN without it.
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
    for done, file in enumerate(files, start=1):
        rows += _measure(models, results, Path(file), scale, lpips, make_lr)
        if progress:
            progress(done, len(files))
    return rows


def originals_grid(files: Sequence[Path], scale: int) -> float:
    """The grid figure of the HR images themselves, beside which those of the models are read; NaN if too small."""
    return grid_of_peaks(grid_peaks(crop_to_multiple(load_rgb(file), scale), scale) for file in files)


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Model -> figure -> its value for the set of images; without the figures that no image has.

    Means of PSNR, SSIM and LPIPS (a perfect image, of infinite PSNR, makes its mean infinite); ``grid`` is
    `metrics.grid.grid_of_peaks`, ``colour`` is `metrics.colour.largest_drift`.
    """
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    return {model: _summary(group) for model, group in by_model.items()}


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    figures = {metric: float(np.mean([getattr(row, metric) for row in rows])) for metric in (*METRICS, "lpips")}
    figures["grid"] = grid_of_peaks(np.array(row.peaks) for row in rows)
    figures["colour"] = largest_drift(np.array(row.drift) for row in rows)
    return {key: value for key, value in figures.items() if not math.isnan(value)}


def format_table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """The figures of `summarize` as plain text: a line a model, columns aligned, no newline at the end."""
    keys = [key for key in COLUMNS if any(key in figures for figures in summary.values())]
    lines = [("model", *(COLUMNS[key][0] for key in keys))]
    for model, figures in summary.items():
        lines.append((model, *(format(figures[key], COLUMNS[key][1]) if key in figures else "-" for key in keys)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))])
        for name, *numbers in lines
    )


def _measure(
    models: Mapping[str, Upscaler],
    results: Mapping[str, Mapping[Path, Path]],
    file: Path,
    scale: int,
    lpips: Distance | None,
    make_lr: MakeLR | None,
) -> list[Row]:
    hr = load_rgb(file)
    try:
        hr = crop_to_multiple(hr, scale)
        lr = make_lr(file, hr) if make_lr else reduce_image(hr, scale)
        check_lr(lr, hr, scale)
        enlarged = {name: upscale_checked(name, model, lr, scale) for name, model in models.items()}
        enlarged |= {name: _load_result(name, paths, file, hr.shape) for name, paths in results.items()}
        return [
            Row(
                file,
                name,
                **fidelity(sr, hr, scale),
                peaks=tuple(grid_peaks(sr, scale).tolist()),
                drift=tuple(colour_drift(sr, hr, scale).tolist()),
                lpips=lpips(hr, sr) if lpips else math.nan,
            )
            for name, sr in enlarged.items()
        ]
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _load_result(name: str, paths: Mapping[Path, Path], file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """What someone's model made of the LR of an HR file."""
    if file not in paths:
        raise DataError(f"{name} has no result for it; add the image")
    sr = load_rgb(paths[file])
    if sr.shape != shape:
        raise DataError(
            f"{paths[file]} has {sr.shape[1]}x{sr.shape[0]} pixels where {shape[1]}x{shape[0]} are wanted; "
            "enlarge the LR of the protocol"
        )
    return sr


def _resize(image: np.ndarray, width: int, height: int, resampling: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), resampling))
