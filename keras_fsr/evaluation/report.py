"""What `keras-fsr evaluate` reads besides models, and what it prints and writes."""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_fsr.data.folders import pair_images
from keras_fsr.errors import DataError
from keras_fsr.evaluation import protocol, sheet
from keras_fsr.files import whole_file


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


def show(
    rows: Sequence[protocol.Row],
    files: Sequence[Path],
    models: Mapping[str, protocol.Upscaler],
    scale: int,
    folder: Path | None = None,
    make_lr: protocol.MakeLR | None = None,
) -> None:
    """Prints the table of rows, and writes figures.csv and sheet.png into a folder.

    Args:
        rows: what `protocol.evaluate` measured.
        files: on these HR images.
        models: name -> upscaler of what the sheet shows; without any there is none.
        scale: the super-resolution factor.
        folder: an existing folder; None writes nothing.
        make_lr: how the LR images were made, where not by reduction.

    Raises:
        OutputError: the folder cannot be written.
    """
    originals = protocol.originals_grid(files, scale)
    print(f"{len(files)} images, x{scale}, {scale} pixels cut from each side")
    print(protocol.format_table(protocol.summarize(rows)))
    if not math.isnan(originals):  # it is where all images are too small to look for a grid
        print(f"grid: 1 is none, the originals have {originals:.2f}; colour: largest drift, in levels of 255")
    if folder is None:
        return
    written = [folder / "figures.csv"]
    write_csv(rows, written[0])
    if models:
        written.append(folder / "sheet.png")
        sheet.evaluation_sheet(rows, models, scale, written[1], make_lr)
    print(f"written: {', '.join(map(str, written))}")


def write_csv(rows: Sequence[protocol.Row], path: Path) -> None:
    """Write one line per image and model, files named relative to the folder they share.

    Columns for LPIPS, the grid of the single image and the drift in red, green and blue, where any row has them.

    Raises:
        DataError: there are no rows.
        OutputError: the file cannot be written.
    """
    if not rows:
        raise DataError(f"{path}: no rows to write; measure at least one image")
    folder = os.path.commonpath([row.file.absolute().parent for row in rows])
    table = [_figures(row) for row in rows]
    keys = [key for key in table[0] if not all(math.isnan(figures[key]) for figures in table)]

    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "model", *keys])
        for row, figures in zip(rows, table, strict=True):
            name = row.file.absolute().relative_to(folder).as_posix()
            cells = ["" if math.isnan(figures[key]) else round(figures[key], 6) for key in keys]
            writer.writerow([name, row.model, *cells])


def _figures(row: protocol.Row) -> dict[str, float]:
    """The cells of a row in the CSV."""
    drift = dict(zip(("drift_red", "drift_green", "drift_blue"), row.drift, strict=True))
    return {key: getattr(row, key) for key in (*protocol.METRICS, "lpips", "grid")} | drift
