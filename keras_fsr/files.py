"""Files and folders that are written: whole or not at all, and one clear line where that fails."""

import csv
import io
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_fsr.errors import ModelError, OutputError

WEIGHTS_VARIABLE = "KERAS_FSR_WEIGHTS"
"""Environment variable that names the folder of weights which are not the project's to ship."""

LARGEST_TABLE = 100_000_000  # bytes

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.\w+)?")


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A temporary neighbour of the same extension that takes the place of `path` at the end, or leaves no trace.

    Raises:
        OutputError: the operating system refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder's permissions and free space"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def sweep(folder: Path | str, until: float) -> None:
    """Removes unfinished files that processes which were killed have left below a folder.

    Args:
        until: seconds since the epoch; what was written to later may be somebody's work.
    """
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if _TEMPORARY.fullmatch(name)):
            with suppress(OSError):
                if path.stat().st_mtime < until:
                    path.unlink()


def read_text(path: Path | str, most: int, encoding: str = "utf-8-sig") -> str:
    """The text of a file, without waiting for what may never come or end.

    Raises:
        OSError: the operating system refuses.
        ValueError: it is a folder, a pipe or a device, has more than `most` bytes, or is no text of that encoding.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError("it is a directory, pipe or device, not a file")
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has over {most / 10**6:.3g} MB")
    return content.decode(encoding)


def read_csv(path: Path | str) -> tuple[list[dict[str, str | None]], list[str]]:
    """The rows of a CSV, whose missing cells are None, and its heading.

    Raises:
        OSError, ValueError: as `read_text`, or it is no CSV.
    """
    text = read_text(path, LARGEST_TABLE)
    if "\0" in text:
        raise ValueError("it has a zero byte")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return list(reader), list(reader.fieldnames or ())
    except csv.Error as error:
        raise ValueError(error) from error


def cache_folder(remedy: str) -> Path:
    """The user's folder for what is downloaded.

    Raises:
        ModelError: the user has no home; with the remedy.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_fsr"
    except RuntimeError:
        raise ModelError(f"there is no folder for downloads, for this user has no home; {remedy}") from None


def real(path: Path | str) -> Path:
    """Where a path leads, as `Path.resolve`, which raises on a loop of links; here that leads to itself."""
    return Path(os.path.realpath(path))


def make_folder(folder: Path | str) -> Path:
    """Makes a folder and those above it, unless they are there.

    Raises:
        OutputError: the operating system refuses.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({error.strerror}); choose another output") from error
    return folder
