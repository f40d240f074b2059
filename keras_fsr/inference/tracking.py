"""Faces through a video: found now and then, followed from frame to frame, and smoothed so that nothing flickers.

A video file can be read twice, once to find the faces and once to enlarge them. So each box is smoothed over what
comes after it as much as over what came before: it lags behind nothing, and a face that was missed for a moment, or
not looked for, gets the box between its neighbours.

Smoothing is local linear regression with a Gaussian kernel over time (Fan and Gijbels, "Local polynomial modelling
and its applications", 1996, section 2.2), which follows steady motion exactly, also at the ends.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

import cv2
import numpy as np

DETECTIONS = 10  # looks for faces a second
MIN_HITS = 3  # finds that make a face; fewer only in shots with fewer looks
MAX_GAP = 0.5  # seconds without a find that a track survives, and at least two looks
MAX_STEP = 0.75  # sides of the box between where a track is expected and the find that goes on with it
MAX_GROWTH = 1.6  # ratio of sides between two finds of a track
MEMORY = 0.5  # seconds of finds from which a track's speed is taken
CENTRE_SPREAD = 0.15  # seconds, the kernel's standard deviation
SIZE_SPREAD = 0.4  # seconds; sizes jitter more than centres and change less
REACH = 4  # standard deviations beyond which the kernel is 0
CUT = 16.0  # levels of 255 between the histograms of two frames, above which a new shot begins


class Face(Protocol):
    """What tracking reads of a face, a dataclass: its box in pixels, and landmarks as ((x, y), ...) or None."""

    left: float
    top: float
    width: float
    height: float
    landmarks: object


F = TypeVar("F", bound=Face)


class FaceTracker:
    """The faces of a video by frame: `add` every frame in order, `finish`, then ask for `faces`.

    Args:
        find: (H, W, 3) uint8 RGB -> the faces in it, as frozen dataclasses with the fields of `Face`.
        rate: frames a second.
        detections: looks for faces a second; more than `rate` means every frame.
    """

    def __init__(self, find: Callable[[np.ndarray], list[F]], rate: float, detections: float = DETECTIONS):
        self.find, self.rate = find, float(rate)
        self.every = max(1, round(self.rate / detections))
        self.gap = max(MAX_GAP * self.rate, 2 * self.every)
        self.frames = 0
        self._tracks: list[_Track] = []
        self._active: list[_Track] = []
        self._shot, self._looks = 0, 0  # frame at which the current shot began, looks in it
        self._thumbnail: np.ndarray | None = None

    def add(self, pixels: np.ndarray) -> None:
        """Takes in the next frame."""
        before, self._thumbnail = self._thumbnail, thumbnail(pixels)
        if before is not None and histogram_distance(before, self._thumbnail) > CUT:
            self._end_shot()
        if (self.frames - self._shot) % self.every == 0:
            self._looks += 1
            self._follow(self.find(pixels))
        self.frames += 1

    def finish(self) -> None:
        """Ends the last shot."""
        self._end_shot()

    @property
    def found(self) -> int:
        """How many faces there are, a face anew in every shot."""
        return len(self._tracks)

    def faces(self, index: int) -> list[F]:
        """The faces of a frame, by its number from 0, smoothed; those of the longest known first."""
        return [track.at(index, self.rate) for track in self._tracks if track.first <= index <= track.last]

    def _follow(self, found: list[F]) -> None:
        now = self.frames
        self._active = [track for track in self._active if now - track.frames[-1] <= self.gap]
        boxes = [_vector(face) for face in found]
        pairs = sorted(
            (cost, t, f)
            for t, track in enumerate(self._active)
            for f, box in enumerate(boxes)
            if (cost := track.cost(box, now, self.rate)) is not None
        )
        tracks, faces = set(), set()
        for _, t, f in pairs:
            if t not in tracks and f not in faces:
                tracks.add(t)
                faces.add(f)
                self._active[t].extend(now, found[f], boxes[f])
        for f, face in enumerate(found):
            if f not in faces:
                track = _Track()
                track.extend(now, face, boxes[f])
                self._active.append(track)
                self._tracks.append(track)

    def _end_shot(self) -> None:
        """Keeps the tracks of the shot that were seen often enough, up to the frames between looks around them."""
        needed, margin = min(MIN_HITS, self._looks), self.every - 1
        kept = []
        for track in self._tracks:
            if track.frames[0] >= self._shot:
                if len(track.frames) < needed:
                    continue
                track.first = max(track.frames[0] - margin, self._shot)
                track.last = min(track.frames[-1] + margin, self.frames - 1)
            kept.append(track)
        self._tracks, self._active = kept, []
        self._shot, self._looks = self.frames, 0


class _Track:
    """One face through one shot: the frames in which it was found, and how."""

    def __init__(self):
        self.frames: list[int] = []
        self.found: list[Face] = []
        self.boxes: list[np.ndarray] = []
        self.first, self.last = 0, -1  # frames in which it is shown, once its shot has ended

    def extend(self, frame: int, face: Face, box: np.ndarray) -> None:
        self.frames.append(frame)
        self.found.append(face)
        self.boxes.append(box)

    def cost(self, box: np.ndarray, now: int, rate: float) -> float | None:
        """How far a box is from where the track should be, in its sides and in growth; None for too far."""
        last = self.boxes[-1]
        expected = last[:2] + self._speed(rate) * (now - self.frames[-1])
        distance = np.hypot(*(box[:2] - expected)) / np.exp(last[2:].mean())
        growth = abs((box[2:] - last[2:]).mean())
        return distance + growth if distance < MAX_STEP and growth < np.log(MAX_GROWTH) else None

    def _speed(self, rate: float) -> np.ndarray:
        """(x, y) pixels a frame, the slope of the line through the latest centres; 0 for less than three."""
        start = bisect_left(self.frames, self.frames[-1] - MEMORY * rate)
        times = np.array(self.frames[start:], float)
        if len(times) < 3:
            return np.zeros(2)
        times -= times.mean()
        return times @ np.array(self.boxes[start:])[:, :2] / (times @ times)

    def at(self, index: int, rate: float) -> Face:
        """The face in a frame: the nearest find, its box and landmarks smoothed."""
        reach, place = REACH * SIZE_SPREAD * rate, bisect_left(self.frames, index)
        # At least the finds on either side, however far they are.
        start = min(bisect_left(self.frames, index - reach), max(place - 1, 0))
        stop = max(bisect_right(self.frames, index + reach), place + 1)
        times = (np.array(self.frames[start:stop], float) - index) / rate
        boxes = np.array(self.boxes[start:stop])
        x, y = _smooth(times, boxes[:, :2], CENTRE_SPREAD)
        width, height = np.exp(_smooth(times, boxes[:, 2:], SIZE_SPREAD))
        found = self.found[start:stop]
        box = {"left": x - width / 2, "top": y - height / 2, "width": width, "height": height}
        changes = {name: float(value) for name, value in box.items()}
        if all(face.landmarks is not None for face in found):
            points = np.array([face.landmarks for face in found], float)
            smooth = _smooth(times, points.reshape(len(points), -1), CENTRE_SPREAD).reshape(-1, 2)
            changes["landmarks"] = tuple((float(x), float(y)) for x, y in smooth)
        return replace(found[np.abs(times).argmin()], **changes)


def _vector(face: Face) -> np.ndarray:
    """(4,): centre x and y in pixels, logarithms of width and height."""
    centre = face.left + face.width / 2, face.top + face.height / 2
    return np.array([*centre, np.log(face.width), np.log(face.height)])


def _smooth(times: np.ndarray, values: np.ndarray, spread: float) -> np.ndarray:
    """(k,) value at time 0 of the lines through (n, k) values at (n,) times that matter by their nearness."""
    squares = times**2
    # Relative to the nearest, or all would vanish where finds are far apart.
    weights = np.exp((squares.min() - squares) / (2 * spread**2))
    total, first = weights.sum(), weights @ times
    second = weights @ squares + 1e-6 * spread**2  # a single find has no slope
    return (second * (weights @ values) - first * ((weights * times) @ values)) / (total * second - first**2)


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """(9, 256, 3) int16: the levels of a frame in 3 x 3 fields, each reduced to 256 pixels and these sorted."""
    small = cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_AREA)
    fields = small.reshape(3, 16, 3, 16, 3).swapaxes(1, 2).reshape(9, 256, 3)
    return np.sort(fields, axis=1).astype(np.int16)


def histogram_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Levels by which histograms must be moved to become equal (earth mover's distance), mean over the fields."""
    return float(np.abs(one - other).mean())
