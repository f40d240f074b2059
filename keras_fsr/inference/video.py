"""Videos, a frame at a time: enlarged by a Predictor, or with their faces followed by a predictor of faces."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from keras_fsr.errors import ImageError, OutputError
from keras_fsr.files import real, whole_file
from keras_fsr.inference.ffmpeg_video import FFmpegVideo, has_ffmpeg
from keras_fsr.inference.opencv_video import OpenCVVideo
from keras_fsr.inference.parallel import ahead
from keras_fsr.inference.tracking import FaceTracker

VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm")
FINDING = 0.1  # what finding the faces counts in the progress, of the whole work

Progress = Callable[[float, float | None], None]
"""Called with what is done and what there is in all, None while that is unknown."""


@runtime_checkable
class FaceEnlarger(Protocol):
    """A predictor that treats faces otherwise than the rest of a picture."""

    def find(self, pixels: np.ndarray) -> list:
        """The faces in (H, W, 3) uint8 RGB."""

    def enlarge(self, pixels: np.ndarray, faces: list, progress: Progress | None = None) -> np.ndarray:
        """(H * scale, W * scale, 3) uint8 of (H, W, 3) and the faces in it."""


def is_video(path: str | Path) -> bool:
    """Whether a file is called one of VIDEOS."""
    return Path(path).suffix.lower() in VIDEOS


def upscale_video(path: str | Path, out: str | Path, predictor, progress: Progress | None = None) -> list[str]:
    """Enlarges a video file; the result is there whole or not at all.

    Where `ffmpeg` and `ffprobe` are on the PATH, they read and write: H.264 (VP9 in .webm), and the sound is kept.
    Elsewhere OpenCV writes MPEG-4 (VP8 in .webm), and the sound is left out. The frame rate stays what it is; one
    that varies becomes its mean. Frames come upright, with square pixels and 8 bits a channel. A frame that repeats
    the one before is not enlarged again. Results of an odd width or height get one more column or row.

    Args:
        path: a video.
        out: the file to write; its extension, one of VIDEOS, chooses the container.
        predictor: a `Predictor`, or a `FaceEnlarger`; for that the video is read twice, first to find the faces.
        progress: called with (frames done, frames in all); finding the faces counts as a tenth of the frames.

    Returns:
        Lines on what was lost, such as the sound; most often none.

    Raises:
        ImageError: the video cannot be read.
        OutputError: the output cannot be written.
    """
    path, out = Path(path), Path(out)
    _check_files(path, out)
    tag = getattr(predictor, "tag", "")
    video = FFmpegVideo(path, tag) if has_ffmpeg() else OpenCVVideo(path, tag)
    notes: list[str] = []
    bar = _Bar(progress, video.count)
    with whole_file(out) as temporary, video.writing(temporary, out, notes) as write:
        enlarge = _enlarger(predictor, video, bar, notes)
        done, result = 0, None
        with closing(video.frames(notes)) as frames:
            for changed in ahead(lambda frame: frame and _even(enlarge(*frame)), _changes(frames), predictor.workers):
                result = result if changed is None else changed
                write(result)
                done += 1
                bar.show(done)
    bar.end(done)
    return notes


def _changes(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int] | None]:
    """Frames with their numbers; None for one that repeats the frame before."""
    previous = None
    for index, pixels in enumerate(frames):
        repeated = previous is not None and np.array_equal(pixels, previous)
        yield None if repeated else (pixels, index)
        previous = pixels


def _check_files(path: Path, out: Path) -> None:
    """Refuses what can be seen without reading: no such file, an output that cannot be."""
    if not path.is_file():
        raise ImageError(f"{path}: does not exist or is no file; check the path")
    if not is_video(out):
        raise ImageError(f"{out}: has no known video extension; use one of {', '.join(VIDEOS)}")
    if real(out) == real(path):
        raise ImageError(f"{out}: is the input itself; choose another output")
    if out.is_dir():
        raise ImageError(f"{out}: is a folder; give the name of a file")
    if not out.parent.is_dir():
        raise ImageError(f"{out}: cannot be written, for {out.parent} is not a folder; create it first")
    if not os.access(out.parent, os.W_OK):
        raise OutputError(f"{out}: cannot be written, for {out.parent} is read-only; choose another output")


def _enlarger(
    predictor, video: FFmpegVideo | OpenCVVideo, bar: "_Bar", notes: list[str]
) -> Callable[[np.ndarray, int], np.ndarray]:
    """What enlarges (a frame, its number); a predictor of faces has seen the whole video before."""
    if not isinstance(predictor, FaceEnlarger):
        shared = predictor.shared() if predictor.workers > 1 else predictor
        return lambda pixels, index: shared.predict(pixels)
    tracker = FaceTracker(predictor.find, video.rate)
    with closing(video.frames([])) as frames:
        for pixels in frames:
            tracker.add(pixels)
            bar.show(FINDING * tracker.frames)
    tracker.finish()
    bar.reserve(FINDING, tracker.frames)
    if not tracker.found:
        notes.append(f"{video.path}: no face found; the whole picture was enlarged")
        return lambda pixels, index: predictor._enlarge_with(pixels, [], None)
    return lambda pixels, index: predictor.enlarge(pixels, tracker.faces(index))


class _Bar:
    """Progress in frames, of which finding the faces may have taken a share."""

    def __init__(self, progress: Progress | None, total: int | None):
        self.progress, self.total, self.share = progress, total, 0.0

    def reserve(self, share: float, total: int) -> None:
        self.share, self.total = share, total

    def show(self, done: float) -> None:
        if self.progress:
            done = self.share * (self.total or 0) + (1 - self.share) * done
            self.progress(done, self.total and max(self.total, done))  # the total may be an estimate

    def end(self, done: int) -> None:
        if self.progress:
            self.progress(done, done)


def _even(pixels: np.ndarray) -> np.ndarray:
    """The pixels with an even height and width, which codecs with halved colours want; edges are repeated."""
    height, width = pixels.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return pixels
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
