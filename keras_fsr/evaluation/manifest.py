"""Groups of images: columns of a CSV that tell, for each file, its source or whatever the user wants apart."""

from collections.abc import Sequence
from pathlib import Path

from keras_fsr.errors import DataError
from keras_fsr.files import read_csv, real

FILE = "file"
PERSON = "identity"  # a column of this name tells who is on the image


def read_manifest(path: Path | None, files: Sequence[Path], columns: Sequence[str]) -> dict[str, dict[Path, str]]:
    """Column -> image -> value.

    Args:
        path: a CSV with a column `file`: paths from its own folder, or the images' names; None is an empty one.
        files: the images that are measured.
        columns: those to read; besides them `identity`, where there is one.

    Raises:
        DataError: not such a CSV, a column is missing, or an image is not in it.
    """
    if path is None:
        if columns:
            raise DataError(f"groups by {columns[0]} need a manifest that tells them; give --manifest")
        return {}
    try:
        table, known = read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a CSV ({error}); give a manifest with a column {FILE}") from error
    for column in (FILE, *columns):
        if column not in known:
            raise DataError(f"{path}: has no column {column}; it has {', '.join(map(str, known)) or 'nothing'}")
    by_path = {real(path.parent / row[FILE]): row for row in table if row[FILE]}
    by_name = {row[FILE]: row for row in table}
    rows = {}
    for file in files:
        rows[file] = by_path.get(real(file)) or by_name.get(file.name)
        if rows[file] is None:
            raise DataError(f"{path}: has no row for {file}; add it, or leave --manifest out")
    wanted = dict.fromkeys((*columns, *([PERSON] if PERSON in known else [])))
    return {column: {file: row[column] or unknown(column, file) for file, row in rows.items()} for column in wanted}


def unknown(column: str, file: Path) -> str:
    """What stands for an empty cell: a group of its own; of persons, somebody else on each image."""
    return str(file) if column == PERSON else "(none)"
