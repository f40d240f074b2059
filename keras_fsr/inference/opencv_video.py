"""Video files by OpenCV, which is always there: frames without sound."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from keras_fsr.errors import FSRError, ImageError, OutputError
from keras_fsr.quiet import quiet

CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,mpegvideo,h264"
"""What is read. Playlists and scripts, whatever they are called, would have ffmpeg read other files."""

os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", f"protocol_whitelist;file|format_whitelist;{CONTAINERS}")
# OpenCV's own ffmpeg would tell stderr what the one line of an error tells.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

USUAL_RATE = 25  # frames a second, where a file names none
CODECS = {".webm": "VP80"}  # others: MPEG-4 part 2, which every build of OpenCV can write


class OpenCVVideo:
    """A video file to read, and how to write one like it.

    rate: frames a second. count: about how many frames there are; None for unknown. tag: what made the one that is
    written, which OpenCV cannot say in the file.

    Raises:
        ImageError: the file cannot be opened as a video.
    """

    def __init__(self, path: Path, tag: str = ""):
        self.path, self.tag = path, tag
        capture = self._open()
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.rate = rate if 0 < rate < 1000 else USUAL_RATE
        self.count = int(count) if count > 0 else None

    def _open(self) -> cv2.VideoCapture:
        with quiet():
            capture = cv2.VideoCapture(_name(self.path, self.path, ImageError), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise ImageError(f"{self.path}: is damaged or not a video; get a complete copy")
        return capture

    def frames(self, notes: list[str]) -> Iterator[np.ndarray]:
        """The frames, upright, with square pixels, (H, W, 3) uint8 RGB.

        Args:
            notes: gets a line where there are fewer frames than the file says.

        Raises:
            ImageError: there is none.
        """
        capture = self._open()
        shape = capture.get(cv2.CAP_PROP_SAR_NUM) / (capture.get(cv2.CAP_PROP_SAR_DEN) or 1) or 1
        read = 0
        try:
            while (answer := capture.read())[0]:
                read += 1
                pixels = cv2.cvtColor(answer[1], cv2.COLOR_BGR2RGB)
                if shape != 1:
                    pixels = cv2.resize(pixels, None, fx=shape, fy=1, interpolation=cv2.INTER_CUBIC)
                yield pixels
        finally:
            capture.release()
        if not read:
            raise ImageError(f"{self.path}: holds no frame that can be read; get a complete copy")
        if self.count and read < self.count - 1:
            notes.append(
                f"{self.path}: is damaged, or tells its length wrongly; {read} of {self.count} frames were read"
            )

    @contextmanager
    def writing(self, temporary: Path, out: Path, notes: list[str]) -> Iterator[Callable[[np.ndarray], None]]:
        """Yields what writes a frame, (H, W, 3) uint8 RGB, to a new file with the rate of this one.

        Args:
            temporary: the file.
            out: its name to be, for errors.
            notes: gets lines on what is lost.

        Raises:
            OutputError: the file cannot be written.
        """
        name = _name(temporary, out, OutputError)
        writer = cv2.VideoWriter()
        written = 0

        def write(pixels: np.ndarray) -> None:
            nonlocal written
            if not written:
                code = cv2.VideoWriter.fourcc(*CODECS.get(out.suffix.lower(), "mp4v"))
                size = pixels.shape[1::-1]
                with quiet():
                    opened = writer.open(name, cv2.CAP_FFMPEG, code, self.rate, size)
                if not opened:
                    raise OutputError(
                        f"{out}: cannot be written as {size[0]}x{size[1]} video by OpenCV; "
                        "check the folder's free space, or install ffmpeg"
                    )
            writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            written += 1

        try:
            yield write
        finally:
            writer.release()
        self._check_written(name, out, written)
        notes.append(f"{out}: was written without sound, if there was any; install ffmpeg to keep it")
        if self.tag:
            notes.append(f"{out}: does not say in its metadata that it is AI-enhanced; install ffmpeg for that")

    @staticmethod
    def _check_written(name: str, out: Path, written: int) -> None:
        """OpenCV does not tell of a disk that fills up."""
        with quiet():
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        capture.release()
        if count < written - 1:  # some containers have their length in seconds, rounded
            raise OutputError(f"{out}: cannot be written whole; check the folder's free space")


def _name(path: Path, shown: Path, error: type[FSRError]) -> str:
    """A path as OpenCV takes it, which crashes on one that is no text; the error is for the path that is shown."""
    name = str(path.absolute())
    try:
        name.encode()
    except UnicodeEncodeError:
        raise error(f"{shown}: its path is no UTF-8, which OpenCV needs; rename it, or install ffmpeg") from None
    return name
