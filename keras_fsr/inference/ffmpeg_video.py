"""Video files by the programs ffmpeg and ffprobe: better codecs than OpenCV's, exact rates, and sound.

Frames go through pipes as PPM images, which carry their size: so nothing depends on how it is worked out from
rotation and the shape of the pixels.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from keras_fsr.errors import ImageError, OutputError
from keras_fsr.inference.opencv_video import CONTAINERS, USUAL_RATE

H264 = ("-c:v", "libx264", "-crf", "18")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "2")  # some builds have no other
VP9 = ("-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4")
# AVI cannot tell the order of frames from that of their display.
CODECS = {".webm": (VP9,), ".avi": ((*H264, "-bf", "0"), MPEG4)}
SOUNDS = {".webm": (("-c:a", "copy"), ("-c:a", "libopus"))}
COPY_OR_AAC = (("-c:a", "copy"), ("-c:a", "aac", "-b:a", "192k"))

QUIET = ("ffmpeg", "-hide_banner", "-nostdin", "-v", "error", "-y")
SCALING = "flags=bicubic+accurate_rnd+full_chroma_int"
ALONE = ("-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS)  # of an input
HD = 720  # lines from which players take an untagged video for BT.709, else for BT.601
# Always BT.709, and said so: an enlarged SD video would be taken for it.
TO_BT709 = f"scale=out_color_matrix=bt709:out_range=tv:{SCALING},format=yuv420p"
TAGS = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")


def has_ffmpeg() -> bool:
    """Whether both programs are on the PATH."""
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


class FFmpegVideo:
    """A video file to read, and how to write one like it.

    rate: frames a second, exact. count: about how many frames there are; None for unknown. tag: what made the one
    that is written, for its comment to say.

    Raises:
        ImageError: the file cannot be opened, or holds no video.
    """

    def __init__(self, path: Path, tag: str = ""):
        self.path, self.tag = path, tag
        told = self._probe()
        streams = told.get("streams", [])
        pictures = [s for s in streams if s.get("codec_type") == "video" and not _is_cover(s)]
        if not pictures:
            raise ImageError(f"{path}: holds no video; check the file")
        stream = pictures[0]
        self.sound = any(s.get("codec_type") == "audio" for s in streams)
        self.rate = _rate(stream)
        seconds = float(stream.get("duration") or told.get("format", {}).get("duration") or 0)
        self.count = round(seconds * self.rate) or None
        untagged_hd = stream.get("color_space", "unknown") == "unknown" and stream.get("height", 0) >= HD
        self._matrix = "bt709" if untagged_hd else "auto"

    def _probe(self) -> dict:
        done = _ffprobe(self.path, "-show_streams", "-show_format")
        if done.returncode:
            reason = _complaint(done.stderr)
            raise ImageError(f"{self.path}: is damaged or not a video ({reason}); get a complete copy")
        return json.loads(done.stdout)

    def frames(self, notes: list[str]) -> Iterator[np.ndarray]:
        """The frames, upright, with square pixels, at the constant rate, (H, W, 3) uint8 RGB.

        Args:
            notes: gets a line where parts of the file cannot be decoded.

        Raises:
            ImageError: no frame can be read.
        """
        square = f"scale=trunc(iw*sar+0.5):ih:in_color_matrix={self._matrix}:{SCALING},format=rgb24"
        command = [*QUIET, *ALONE, "-i", _url(self.path), "-map", "0:V:0", "-vf", square, "-r", str(self.rate)]
        command += ["-f", "image2pipe", "-c:v", "ppm", "pipe:1"]
        with _process(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as (process, complaint):
            read = 0
            while (pixels := _read_ppm(process.stdout)) is not None:
                read += 1
                yield pixels
            failed = process.wait()
            reason = complaint() or ("ffmpeg failed" if failed else "")
        if not read:
            reason = reason or "it is empty"
            raise ImageError(f"{self.path}: holds no frame that can be read ({reason}); get a complete copy")
        if reason:
            notes.append(f"{self.path}: is damaged in parts ({reason}); what can be read of it was enlarged")

    @contextmanager
    def writing(self, temporary: Path, out: Path, notes: list[str]) -> Iterator[Callable[[np.ndarray], None]]:
        """Yields what writes a frame, (H, W, 3) uint8 RGB of even sides, to a file with the rate and sound of this.

        Args:
            temporary: the file.
            out: its name to be, for errors.
            notes: gets a line where the sound cannot be kept.

        Raises:
            OutputError: the file cannot be written.
        """
        command, written = self._writer(temporary, out, notes), 0
        with _process(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as (process, complaint):

            def write(pixels: np.ndarray) -> None:
                nonlocal written
                try:
                    _write_ppm(process.stdin, pixels)
                except OSError:
                    raise self._not_written(out, complaint()) from None
                written += 1

            yield write
            with suppress(OSError):
                process.stdin.close()
            # ffmpeg 5 ends with 0 on a full disk.
            if process.wait() or _count_frames(temporary) < written:
                raise self._not_written(out, complaint())

    @staticmethod
    def _not_written(out: Path, reason: str) -> OutputError:
        return OutputError(
            f"{out}: cannot be written ({reason or 'ffmpeg failed'}); check the folder's permissions and free space"
        )

    def _writer(self, temporary: Path, out: Path, notes: list[str]) -> list[str]:
        """The command that writes, the first that can write one frame and a second of sound."""
        suffix = out.suffix.lower()
        sounds = (*(SOUNDS.get(suffix, COPY_OR_AAC) if self.sound else ()), None)
        for codec in CODECS.get(suffix, (H264, MPEG4)):
            for sound in sounds:
                command = self._command(temporary, codec, sound)
                reason = _try(command)
                if reason is None:
                    if self.sound and sound is None:
                        notes.append(f"{out}: has no sound, for that of {self.path} cannot be kept in {suffix}")
                    return command
        raise self._not_written(out, reason)

    def _command(self, temporary: Path, codec: tuple[str, ...], sound: tuple[str, ...] | None) -> list[str]:
        command = [*QUIET, "-f", "image2pipe", "-framerate", str(self.rate), "-c:v", "ppm", "-i", "pipe:0"]
        command += [*ALONE, "-i", _url(self.path), "-map", "0:v:0"]
        if sound:
            command += ["-map", "1:a", *sound]
        command += ["-map_metadata", "1", *(["-metadata", f"comment={self.tag}"] if self.tag else [])]
        command += ["-vf", TO_BT709, *TAGS, *codec]
        if temporary.suffix.lower() in (".mp4", ".m4v", ".mov"):
            command += ["-movflags", "+faststart"]
        return [*command, _url(temporary)]


def _ffprobe(path: Path, *options: str) -> subprocess.CompletedProcess:
    """The finished ffprobe with what it tells of a file, in JSON."""
    command = ["ffprobe", "-v", "error", "-of", "json", *ALONE, *options, _url(path)]
    return subprocess.run(command, capture_output=True, check=False)


def _count_frames(path: Path) -> int:
    """Frames of video in a file, which is read, but not decoded; 0 for one that is damaged."""
    done = _ffprobe(path, "-select_streams", "V:0", "-count_packets", "-show_entries", "stream=nb_read_packets")
    streams = json.loads(done.stdout or "{}").get("streams")
    return int(streams[0].get("nb_read_packets", 0)) if streams else 0


def _try(command: list[str]) -> str | None:
    """Why a command that writes cannot write a small frame, or None."""
    with _process([*command[:-1], "-t", "1", command[-1]], stdin=subprocess.PIPE) as (process, complaint):
        with suppress(OSError):
            _write_ppm(process.stdin, np.zeros((64, 64, 3), np.uint8))
            process.stdin.close()
        return (complaint() or "ffmpeg failed") if process.wait() else None


@contextmanager
def _process(command: list[str], **pipes) -> Iterator[tuple[subprocess.Popen, Callable[[], str]]]:
    """A running command, ended on leaving, and what gives the last line of its complaints, "" for none."""
    with tempfile.TemporaryFile() as log:

        def complaint() -> str:
            log.seek(0)
            return _complaint(log.read())

        process = subprocess.Popen(command, stderr=log, **pipes)
        try:
            yield process, complaint
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(OSError):  # what was not flushed has nowhere to go
                        pipe.close()
            process.wait()


def _complaint(log: bytes) -> str:
    """The last line of a log, "" for an empty one, without the part of ffmpeg and the file at its beginning."""
    lines = log.decode("utf-8", "replace").strip().splitlines() or [""]
    return re.sub(r"^(\[[^]]*\] *)?(.*file:.*: )?", "", lines[-1].strip())


def _url(path: Path) -> str:
    """A path as ffmpeg takes it: otherwise `a:b.mp4` is a protocol and `-a.mp4` an option."""
    return f"file:{path}"


def _is_cover(stream: dict) -> bool:
    return bool(stream.get("disposition", {}).get("attached_pic"))


def _rate(stream: dict) -> Fraction:
    """Frames a second: the rate of a stream if its mean agrees, the mean of a rate that varies."""
    base, mean = (_fraction(stream.get(name)) for name in ("r_frame_rate", "avg_frame_rate"))
    if not base or not mean:
        return base or mean or Fraction(USUAL_RATE)
    return base if abs(base / mean - 1) < 0.01 else mean


def _fraction(text: str | None) -> Fraction:
    above, _, below = (text or "0").partition("/")
    return Fraction(int(above), int(below or 1)) if int(below or 1) else Fraction(0)


def _read_ppm(stream: BinaryIO) -> np.ndarray | None:
    """The next image of a stream of binary PPM, (H, W, 3) uint8; None at its end."""
    if stream.readline() != b"P6\n":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()  # the level of white, 255
    pixels = np.empty((height, width, 3), np.uint8)
    return pixels if stream.readinto(pixels) == pixels.nbytes else None


def _write_ppm(stream: BinaryIO, pixels: np.ndarray) -> None:
    stream.write(b"P6\n%d %d\n255\n" % pixels.shape[1::-1])
    stream.write(np.ascontiguousarray(pixels))
    stream.flush()
