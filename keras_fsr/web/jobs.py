"""What the page has done: networks that several jobs share, and jobs that can be cancelled."""

import re
import shutil
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_fsr.inference.detection import Detector, Face
from keras_fsr.inference.faces import FacePredictor
from keras_fsr.inference.folder_runs import describe
from keras_fsr.inference.images import read_image, write_image
from keras_fsr.inference.predictor import Predictor, Progress

KEPT = 4  # networks in memory
KEEP = 3600  # seconds that photos and results are kept
SWEEP = 60  # seconds from one look for what is left of them to the next


class CancelledError(Exception):
    """The user has cancelled the job, or is gone."""


class Order(NamedTuple):
    """What to make of a photo: `model` and `strength` as of `Predictor`; `faces`: with the model its faces alone."""

    model: str
    strength: float | None = None
    faces: bool = False


class Result(NamedTuple):
    """Two PNG files, the photo upright and enlarged, and what was done in words."""

    before: Path
    after: Path
    facts: str


class OneAtATime:
    """A detector that several threads may call."""

    def __init__(self, detector: Detector):
        self._detector, self._lock = detector, threading.Lock()

    def __call__(self, pixels: np.ndarray) -> list[Face]:
        with self._lock:
            return self._detector(pixels)


class Predictors:
    """Predictors by order, each loaded once; of more than `KEPT` the one longest unused is dropped.

    Args:
        max_pixels: as of `Predictor`.
    """

    def __init__(self, max_pixels: int):
        self._max_pixels, self._lock = max_pixels, threading.Lock()
        self._loaded: OrderedDict[Order, Predictor] = OrderedDict()

    def get(self, order: Order) -> Predictor:
        """A Predictor of one's own, a `FacePredictor` for faces, whose networks it shares with others.

        Raises:
            FSRError, ModelError: as `Predictor`.
        """
        with self._lock:
            if order not in self._loaded:
                self._loaded[order] = self._load(order)
            self._loaded.move_to_end(order)
            while len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)
            return copy(self._loaded[order])

    def _load(self, order: Order) -> Predictor:
        kind = FacePredictor if order.faces else Predictor
        predictor = kind(order.model, max_pixels=self._max_pixels, strength=order.strength).shared()
        if order.faces:
            predictor.detector = OneAtATime(predictor.detector)
        return predictor


class Jobs:
    """Enlarges photos, each for a session, into folders of their own.

    Args:
        folder: where the results go.
        predictors: what enlarges.
    """

    def __init__(self, folder: Path, predictors: Predictors):
        self._folder, self._predictors = folder, predictors
        self._running: list[tuple[str, threading.Event, Path]] = []
        self._next_sweep = 0.0

    def enlarge(self, photo: Path, order: Order, session: str, progress: Progress) -> Result:
        """Enlarges a photo to NAME_xSCALE.png, the very file that `Predictor.predict` writes.

        Args:
            photo: the file.
            order: what to make of it.
            session: whose `cancel` ends the job at its next tile.
            progress: called with (tiles done, tiles in all).

        Raises:
            CancelledError: by `cancel`.
            FSRError, OSError, MemoryError: as `Predictor.predict`.
        """
        folder = self._folder / uuid.uuid4().hex
        job = (session, threading.Event(), folder)

        def at_tile(done: int, total: int) -> None:
            if job[1].is_set():
                raise CancelledError
            progress(done, total)

        if time.monotonic() > self._next_sweep:  # not each time: of thousands of photos an hour it is slow
            self._next_sweep = time.monotonic() + SWEEP
            remove_empty(self._folder, [busy for _, _, busy in list(self._running)])
        self._running.append(job)
        try:
            folder.mkdir()
            return self._enlarge(photo, order, folder, at_tile)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._running.remove(job)

    def _enlarge(self, photo: Path, order: Order, folder: Path, at_tile: Progress) -> Result:
        began, found = time.monotonic(), []
        predictor = self._predictors.get(order)
        predictor.watch = lambda sighting: found.append(of_faces(len(sighting.faces)))  # of a FacePredictor
        before, after = folder / "before.png", folder / f"{photo.stem}_x{predictor.scale}.png"
        predictor.predict(photo, after, at_tile)
        picture = read_image(photo, predictor.max_pixels)
        write_image(before, picture)
        old, new = (f"{picture.width * n} × {picture.height * n}" for n in (1, predictor.scale))
        facts = f"{photo.name}: {old} became {new} pixels in {time.monotonic() - began:.1f} s."
        return Result(before, after, " ".join([facts, *found]))

    def reason(self, photo: Path, error: Exception) -> str:
        """One line on an error of `CONTINUABLE`, which names files but not where they lie."""
        return re.sub(rf"{re.escape(str(self._folder))}[/\\][^/\\]+[/\\]", "", describe(photo, error))

    def cancel(self, session: str) -> bool:
        """Ends the jobs of a session at their next tile; False where there are none."""
        return self._end([cancelled for whose, cancelled, _ in list(self._running) if whose == session])

    def cancel_all(self) -> None:
        """Ends all jobs at their next tile."""
        self._end([cancelled for _, cancelled, _ in list(self._running)])

    def _end(self, jobs: list[threading.Event]) -> bool:
        for cancelled in jobs:
            cancelled.set()
        return bool(jobs)


def of_faces(count: int) -> str:
    """What a `FacePredictor` did."""
    if not count:
        return "No face was found: the model has enlarged all of it."
    return f"{count} face{'s' * (count > 1)} found; the rest is bicubic interpolation."


def remove_empty(folder: Path, busy: Collection[Path] = ()) -> None:
    """Removes what is old and nobody's: empty folders, but not those of jobs, and uploads that were broken off."""
    for inner in folder.iterdir():
        with suppress(OSError):
            if inner not in busy and inner.stat().st_mtime < time.time() - KEEP:
                inner.unlink() if inner.is_file() else inner.rmdir()  # which refuses one that is not empty
