"""The manifest of a bulk run: a line for every image, in CSV or JSON lines.

During a run lines are added as chunks are done, and the last line on an image counts; `settle` leaves one each.
A line that a crash has cut off is as if it were not there.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path

from keras_fsr.errors import DataError, OutputError
from keras_fsr.files import whole_file
from keras_fsr.inference.bulk_worker import Row

NAMES = tuple(field.name for field in fields(Row))
ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names may be bytes that are no UTF-8


def read(path: Path) -> Iterator[Row]:
    """The lines of a manifest in their order.

    Raises:
        DataError: the file is not a manifest.
    """
    if not path.exists():
        return
    with open(path, newline="", **ENCODING) as file:
        try:
            for record in csv.DictReader(file) if path.suffix == ".csv" else map(_parsed, file):
                if not record or None in record.values():
                    continue  # cut off
                if set(record) != set(NAMES):
                    raise DataError(f"{path}: is not a manifest of keras-fsr bulk; move it away")
                try:
                    texts = (record[name] for name in NAMES if name != "milliseconds")
                    "".join(texts).encode(**ENCODING)  # raises for what is no text, or could not be written again
                    if "\0" in record["output"]:  # which is a file
                        continue
                    yield Row(**{**record, "milliseconds": float(record["milliseconds"])})
                except (OverflowError, TypeError, ValueError):
                    continue
        except csv.Error as error:
            raise DataError(f"{path}: is not a manifest of keras-fsr bulk ({error}); move it away") from None


def _parsed(line: str) -> dict | None:
    """What a line says, None where it is no record of texts and numbers."""
    try:
        record = json.loads(line)
    except (RecursionError, ValueError):
        return None
    texts = isinstance(record, dict) and all(isinstance(value, str | float | int) for value in record.values())
    return record if texts else None


def add(path: Path, rows: Iterable[Row]) -> None:
    """Adds lines, with the heading where the file is new.

    Raises:
        OutputError: the operating system refuses.
    """
    try:
        new = not path.exists() or not path.stat().st_size
        with open(path, "a", newline="", **ENCODING) as file:
            _write(file, rows, path.suffix == ".csv", new)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); check permissions and space") from error


def settle(path: Path, stale: Callable[[int, Row], bool] = lambda number, row: False) -> int:
    """Leaves the last line on each image, whole, and of these no `stale` (line number from 0, row).

    Returns:
        Lines that are left.

    Raises:
        DataError, OutputError: as `read` and `add`.
    """
    last = {row.input: number for number, row in enumerate(read(path)) if not stale(number, row)}
    rows = (row for number, row in enumerate(read(path)) if last.get(row.input) == number)
    with whole_file(path) as temporary, open(temporary, "w", newline="", **ENCODING) as file:
        _write(file, rows, path.suffix == ".csv", heading=True)
    return len(last)


def _write(file, rows: Iterable[Row], as_csv: bool, heading: bool) -> None:
    if as_csv:
        writer = csv.DictWriter(file, NAMES, lineterminator="\n")
        if heading:
            writer.writeheader()
        writer.writerows(map(asdict, rows))
    else:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
