"""What `keras-fsr evaluate` reads besides models, and what it prints and writes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_fsr.data.folders import pair_images
from keras_fsr.errors import DataError
from keras_fsr.evaluation import protocol, sheet


def read_results(named: Sequence[tuple[str, Path]], data: Path) -> dict[str, dict[Path, Path]]:
    """Folders of images that others have enlarged: name -> HR file -> their file.

    Raises:
        DataError: a name is given twice, or a folder does not fit the HR images.
    """
    results = {name: {pair.hr: pair.lr for pair in pair_images(data, folder)} for name, folder in named}
    if len(results) < len(named):
        raise DataError("two --results of one name; name them differently")
    return results


def show(
    rows: Sequence[protocol.Row],
    files: Sequence[Path],
    models: Mapping[str, protocol.Upscaler],
    scale: int,
    folder: Path | None = None,
) -> None:
    """Prints the table of rows, and writes figures.csv and sheet.png into a folder.

    Args:
        rows: what `protocol.evaluate` measured.
        files: on these HR images.
        models: name -> upscaler of what the sheet shows; without any there is none.
        scale: the super-resolution factor.
        folder: an existing folder; None writes nothing.

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
    protocol.write_csv(rows, written[0])
    if models:
        written.append(folder / "sheet.png")
        sheet.evaluation_sheet(rows, models, scale, written[1])
    print(f"written: {', '.join(map(str, written))}")
