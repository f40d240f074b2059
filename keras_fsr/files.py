"""Files and folders that are written: whole or not at all, and one clear line where that fails."""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_fsr.errors import OutputError

WEIGHTS_VARIABLE = "KERAS_FSR_WEIGHTS"
"""Environment variable that names the folder of weights which are not the project's to ship."""

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
