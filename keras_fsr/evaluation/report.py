"""What `keras-fsr evaluate` reads besides models, and what it prints and writes."""

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from keras_fsr.data.folders import list_images, pair_images
from keras_fsr.errors import DataError, OutputError
from keras_fsr.evaluation import page, protocol, sheet, strips
from keras_fsr.evaluation.measures import BASIC, Measure
from keras_fsr.evaluation.summary import Setting, digest_of, make_summary, write_summary
from keras_fsr.files import make_folder, whole_file
from keras_fsr.quiet import import_matplotlib


def read_results(named: Sequence[tuple[str, Path]], data: Path) -> dict[str, dict[Path, Path]]:
    """Folders of images that others have enlarged: name -> HR file -> their file.

    Raises:
        DataError: a name is given twice, or a folder does not fit the HR images.
    """
    results = {name: {pair.hr: pair.lr for pair in pair_images(data, folder)} for name, folder in named}
    if len(results) < len(named):
        raise DataError("two --results of one name; name them differently")
    return results


def read_lr(folder: Path, data: Path) -> protocol.MakeLR:
    """The LR images of a folder, under the names of the HR images: what `protocol.evaluate` takes as `make_lr`.

    Raises:
        DataError: a file has no partner.
    """
    files = {pair.hr: pair.lr for pair in pair_images(data, folder)}
    return lambda file, hr: protocol.load_rgb(files[file])


class Shown(NamedTuple):
    """Images whose strips are drawn instead of the measured ones, and what others made of them."""

    files: Sequence[Path]
    results: Mapping[str, Mapping[Path, Path]]


def read_shown(folder: Path | None, named: Sequence[tuple[str, Path]], lr: Path | None) -> Shown | None:
    """The images of a folder, if one is given.

    Raises:
        DataError: as `read_results`, or it does not go with the other options.
    """
    if folder is None:
        if named:
            raise DataError("--show-results are of the images of --show; give that folder, too")
        return None
    if lr:
        raise DataError("--show draws images that are reduced, not those of --lr-data; leave out one of the two")
    return Shown(list_images(folder), read_results(named, folder))


def prepare(folder: Path) -> None:
    """Makes the folder of a report and imports what it needs: before the work, not after it.

    Raises:
        OutputError: no such folder can be.
        ModuleNotFoundError: the extra `report` is missing.
    """
    import jinja2  # noqa: F401

    import_matplotlib()
    if not os.access(make_folder(folder), os.W_OK):
        raise OutputError(f"{folder}: cannot be written; check its permissions")


def describe(
    data: Path,
    files: Sequence[Path],
    scale: int,
    lr: Path | None,
    models: Mapping[str, str],
    left_out: Iterable[str],
) -> Setting:
    """What is measured, for those who read the report. Folders are told by their last two names."""
    made = "reduced by Pillow's antialiased bicubic to 8 bits"
    if lr:
        digest = digest_of(pair.lr for pair in pair_images(data, lr))
        made = f"the images in {lr.name}, SHA-256 of names and contents {digest}"
    name = "/".join(data.absolute().parts[-2:])
    return Setting(name, scale, made, lr.name if lr else "", digest_of(files), dict(models), list(left_out))


def table(
    rows: Sequence[protocol.Row],
    scale: int,
    measures: Sequence[Measure],
    originals: Mapping[str, float],
    left_out: Mapping[str, str],
) -> str:
    """What is printed."""
    images = len({row.file for row in rows})
    lines = [f"{images} images, x{scale}, {scale} pixels cut from each side"]
    lines.append(protocol.format_table(protocol.summarize(rows, measures), measures))
    if "grid" in originals:  # it is not where all images are too small to look for a grid
        lines.append(
            f"grid: 1 is none, the originals have {originals['grid']:.2f}; colour: largest drift, in levels of 255"
        )
    lines += [f"{key}: the originals have {value:.3f}" for key, value in originals.items() if key != "grid"]
    lines += [f"not measured: {name}: {reason}" for name, reason in left_out.items()]
    return "\n".join(lines)


@dataclass(frozen=True)
class Material:
    """What a report is made of: measured rows, and what is needed to draw images."""

    rows: Sequence[protocol.Row]
    measures: Sequence[Measure]
    originals: Mapping[str, float]
    models: Mapping[str, protocol.Upscaler]
    results: Mapping[str, Mapping[Path, Path]]
    make_lr: protocol.MakeLR | None = None
    shown: Shown | None = None


def write_report(
    folder: Path, setting: Setting, groups: Mapping[str, Mapping[Path, str]], material: Material
) -> list[Path]:
    """Writes figures.csv, summary.json, sheet.png, report.html, report.md and strips/ into an existing folder.

    The sheet is of measured images; without a model, and where others are shown instead, there is none.

    Args:
        folder: of `prepare`.
        setting, groups: as of `summary.make_summary`.
        material: what was measured.

    Returns:
        The files.

    Raises:
        OutputError: the folder cannot be written.
    """
    rows, measures, models = material.rows, material.measures, material.models
    summary = make_summary(rows, measures, setting, material.originals, groups)
    written = [folder / "figures.csv", folder / "summary.json"]
    write_csv(rows, written[0], measures)
    write_summary(summary, written[1])
    (folder / "sheet.png").unlink(missing_ok=True)  # of an earlier report: it may show what must not be seen
    if not material.shown and any(name not in protocol.METHODS for name in models):
        written.append(folder / "sheet.png")
        sheet.evaluation_sheet(rows, models, setting.scale, written[-1], material.make_lr)
    order = next((m for m in measures if m.key == "lpips"), BASIC[0])
    worst, best = strips.worst_and_best(rows, summary["first"], order)
    extremes = page.Extremes(order, [file.stem for file in worst], [file.stem for file in best])
    pictures = draw_shown(material, setting.scale) if material.shown else []
    if not material.shown:
        for kind, chosen in (("Worst", worst), ("Best", best)):
            pictures += draw_measured(material, setting.scale, kind, chosen, order)
    return [*written, *page.write_page(summary, rows, measures, extremes, pictures, folder)]


def draw_shown(material: Material, scale: int) -> list[page.Strip]:
    """Strips of the images that are shown instead of measured ones."""
    shown = material.shown
    return [
        page.Strip(file.stem, strips.draw_strip(file, material.models, shown.results, scale)) for file in shown.files
    ]


def draw_measured(
    material: Material, scale: int, kind: str, files: Sequence[Path], measure: Measure
) -> list[page.Strip]:
    """Strips of measured images, with their figures."""
    drawn = []
    for file in files:
        captions = captions_of(material.rows, file, measure)
        image = strips.draw_strip(file, material.models, material.results, scale, material.make_lr, captions)
        drawn.append(page.Strip(f"{kind}: {file.stem}", image))
    return drawn


def captions_of(rows: Sequence[protocol.Row], file: Path, measure: Measure) -> dict[str, str]:
    """Model -> its figure on one image."""
    return {row.model: f"{measure.heading} {row.figure(measure):{measure.form}}" for row in rows if row.file == file}


def write_csv(rows: Sequence[protocol.Row], path: Path, measures: Sequence[Measure] = BASIC) -> None:
    """Write one line per image and model, files named relative to the folder they share.

    A column for each measure that means something for a single image and that any row has.

    Raises:
        DataError: there are no rows.
        OutputError: the file cannot be written.
    """
    if not rows:
        raise DataError(f"{path}: no rows to write; measure at least one image")
    folder = os.path.commonpath([row.file.absolute().parent for row in rows])
    table = [cells_of(row, measures) for row in rows]
    keys = [key for key in table[0] if not all(math.isnan(figures[key]) for figures in table)]

    with (
        whole_file(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "model", *keys])
        for row, figures in zip(rows, table, strict=True):
            name = row.file.absolute().relative_to(folder).as_posix()
            cells = ["" if math.isnan(figures[key]) else round(figures[key], 6) for key in keys]
            writer.writerow([name, row.model, *cells])


def cells_of(row: protocol.Row, measures: Sequence[Measure]) -> dict[str, float]:
    """The cells of a row in the CSV."""
    cells: dict[str, Any] = {}
    for measure in measures:
        if measure.columns:
            vector = row.vector(measure)
            cells |= dict(zip(measure.columns, vector if len(vector) > 1 else [math.nan] * 3, strict=True))
        elif measure.one:
            cells[measure.key] = row.figure(measure)
    return cells
