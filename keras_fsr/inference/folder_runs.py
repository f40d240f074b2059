"""Folders of images and videos: every file into another folder, the tree kept, bad files reported."""

import os
import threading
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_fsr.data.folders import FORMATS
from keras_fsr.errors import DataError, FSRError, ImageError, OutputError, one_line
from keras_fsr.files import make_folder, real, sweep
from keras_fsr.inference.parallel import ahead
from keras_fsr.inference.video import VIDEOS, Progress, is_video, upscale_video

CONTINUABLE = (FSRError, OSError, MemoryError)  # what stops one file, but not the others of a run


class Enlarger(Protocol):
    """What a run enlarges with: a `Predictor`, or what predicts as it does.

    workers: how many threads call what `shared` gives; with one it is not asked for.
    """

    scale: int
    workers: int

    def shared(self) -> "Enlarger": ...

    def predict(self, image: np.ndarray | Path, out: Path | None = None, progress: Progress | None = None): ...


@dataclass
class FolderReport:
    """What a run did.

    written: results. skipped: inputs whose results were there already. failed: (input, reason).
    notes: lines on what was written otherwise than one may expect.
    """

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: "FolderReport") -> None:
        """Takes over what another run did."""
        self.written += other.written
        self.skipped += other.skipped
        self.failed += other.failed
        self.notes += other.notes

    def summary(self) -> str:
        """Counts, on one line."""
        skipped = f"{len(self.skipped)} skipped (done before), " if self.skipped else ""
        return f"{len(self.written)} written, {skipped}{len(self.failed)} failed"


def upscale_folder(
    predictor: Enlarger,
    folder: str | Path,
    out: str | Path,
    progress: Progress | None = None,
    resume: bool = False,
) -> FolderReport:
    """Enlarges the images and videos of a folder and its subfolders; results keep their names and places.

    Hidden files and folders are left out, links to folders are not followed, and an `out` inside the folder is not
    taken for input. A folder that cannot be listed is reported as failed.

    Args:
        predictor: what enlarges.
        folder: input.
        out: the folder to write into; made where it is missing.
        progress: called with (files done, files in all); a video counts by its frames.
        resume: leave out what is `is_done`.

    Raises:
        DataError: the folder holds no image and no video.
        ImageError: `out` is the folder itself.
        OutputError: `out` cannot be made.
    """
    folder, out = Path(folder), Path(out)
    if real(out) == real(folder):
        raise ImageError(f"{out}: is the input folder itself; choose another output")
    report, began = FolderReport(), time.time()
    files = _find(folder, real(make_folder(out)), report)
    targets = {path: out / path.relative_to(folder) for path in files}
    # On a disk that takes A.png for a.png, or through links, one name may be another file.
    taken = {_identity(path): path for path in files if path.exists()}
    bar = _Bar(progress, len(files))
    workers = predictor.workers
    enlarger = predictor.shared() if workers > 1 else predictor

    def enlarge(path: Path) -> FolderReport:
        target = targets[path]
        try:
            if target.exists() and (other := taken.get(_identity(target))):
                raise OutputError(f"{path}: would overwrite {other}; choose another output or rename one")
            if resume and is_done(path, target):
                found = FolderReport(skipped=[path])
            else:
                make_folder(target.parent)
                found = upscale_file(enlarger, path, target, bar.part(path))
            taken[_identity(target)] = target
        except CONTINUABLE as error:
            found = FolderReport(failed=[(path, describe(path, error))])
        bar.finish(path)
        return found

    for group, at_once in zip(_apart(targets), (workers, 1), strict=True):
        for found in ahead(enlarge, group, at_once):
            report.add(found)
    sweep(out, began)
    return report


def upscale_file(predictor: Enlarger, path: Path, out: Path, progress: Progress | None = None) -> FolderReport:
    """Enlarges an image or a video file into another.

    Raises:
        ImageError, OutputError: as `Predictor.predict` and `upscale_video`.
    """
    if not is_video(path):
        return FolderReport(written=[predictor.predict(path, out, progress)])
    return FolderReport(written=[out], notes=upscale_video(path, out, predictor, progress))


def is_done(path: Path, out: Path) -> bool:
    """Whether a result is there and not older than its input; one that is there is whole.

    Not compared: the model and the options with which it was made.
    """
    return out.is_file() and out.stat().st_mtime >= path.stat().st_mtime


def describe(path: Path, error: Exception) -> str:
    """One line on an error of `CONTINUABLE` that names the file."""
    if isinstance(error, FSRError):
        return str(error)
    if isinstance(error, MemoryError):
        return one_line(f"{path}: does not fit in memory; use a smaller tile or image")
    return one_line(f"{path}: {error.strerror or error}; check the disk and permissions")


def _find(folder: Path, out: Path, report: FolderReport) -> list[Path]:
    """Images and videos below a folder but not below `out`, sorted; folders that cannot be listed are reported."""

    def refused(error: OSError) -> None:
        reason = f"{error.filename}: cannot be listed ({error.strerror}); check its permissions"
        report.failed.append((Path(error.filename), reason))

    found = []
    for parent, folders, names in os.walk(folder, onerror=refused):
        folders[:] = [name for name in folders if name[0] != "." and real(Path(parent, name)) != out]
        paths = [Path(parent, name) for name in names if name[0] != "."]
        # A link that leads nowhere is somebody's lost image; a pipe or a device is none.
        found += [path for path in paths if _is_ours(path) and (path.is_file() or path.is_symlink())]
    if not found and not report.failed:
        raise DataError(f"{folder}: holds no image or video ({', '.join((*FORMATS, *VIDEOS))})")
    return sorted(found)


def _is_ours(path: Path) -> bool:
    return path.suffix.lower() in FORMATS or is_video(path)


def _identity(path: Path) -> tuple[int, int]:
    """Numbers that tell files apart, whatever names lead to them."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _apart(targets: Mapping[Path, Path]) -> tuple[list[Path], list[Path]]:
    """Files whose results cannot be one file, and the others, which must wait for them."""
    first, rest, names = [], [], set()
    for path, target in targets.items():
        name = unicodedata.normalize("NFC", str(real(target))).casefold()
        (rest if name in names else first).append(path)
        names.add(name)
    return first, rest


class _Bar:
    """Progress of files that are worked on side by side: the sum of their parts."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._total, self._lock = progress, total, threading.Lock()
        self._finished, self._parts = 0, {}

    def part(self, path: Path) -> Progress | None:
        """What progress on a file is told to."""
        if self._progress is None:
            return None
        return lambda done, total: self._show({path: done / total}) if total else None

    def finish(self, path: Path) -> None:
        self._show({}, path)

    def _show(self, parts: Mapping[Path, float], finished: Path | None = None) -> None:
        with self._lock:
            self._parts.update(parts)
            if finished:
                self._parts.pop(finished, None)
                self._finished += 1
            if self._progress:
                self._progress(self._finished + sum(self._parts.values()), self._total)
