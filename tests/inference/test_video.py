"""Videos of a few small frames: what goes in comes out, larger; with ffmpeg where it is installed, and without."""

import json
import os
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_fsr.errors import ImageError, OutputError
from keras_fsr.inference import video
from keras_fsr.inference.ffmpeg_video import MPEG4, FFmpegVideo, _rate, has_ffmpeg
from keras_fsr.inference.opencv_video import OpenCVVideo
from keras_fsr.inference.video import FINDING, is_video, upscale_video

needs_ffmpeg = pytest.mark.skipif(not has_ffmpeg(), reason="ffmpeg is not installed")
BACKENDS = ["opencv", pytest.param("ffmpeg", marks=needs_ffmpeg)]
HEIGHT, WIDTH, STEP = 48, 64, 20


class Enlarge:
    """A predictor that repeats pixels, and tells what it was given."""

    scale, workers = 2, 1

    def __init__(self):
        self.seen = []

    def predict(self, pixels):
        self.seen.append(pixels)
        return pixels.repeat(self.scale, 0).repeat(self.scale, 1)


@dataclass(frozen=True)
class Face:
    left: float
    top: float
    width: float
    height: float
    landmarks: tuple | None = None


class EnlargeFaces(Enlarge):
    """A predictor of faces that finds one, which goes 2 pixels a frame to the right and jumps to and fro by 1."""

    def __init__(self):
        super().__init__()
        self.finds, self.faces = 0, []

    def find(self, pixels):
        self.finds += 1
        return [Face(2 * self.finds + self.finds % 2, 10, 16, 16)]

    def enlarge(self, pixels, faces, progress=None):
        self.faces.append(faces)
        return self.predict(pixels)


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    monkeypatch.setattr(video, "has_ffmpeg", lambda: request.param == "ffmpeg")
    return request.param


@pytest.fixture
def without_ffmpeg(monkeypatch):
    monkeypatch.setattr(video, "has_ffmpeg", lambda: False)


def level(index):
    return 30 + STEP * index


@pytest.fixture
def clip(tmp_path):
    """Writes a clip by OpenCV, each frame a gray of its own and red at the left, and returns its path."""

    def write(name="clip.avi", count=8, rate=30000 / 1001, size=(WIDTH, HEIGHT), levels=level):
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), rate, size)
        for index in range(count):
            frame = np.full((size[1], size[0], 3), levels(index), np.uint8)
            frame[:, : size[0] // 4] = (0, 0, 200)
            writer.write(frame)
        writer.release()
        return path

    return write


def read(path):
    """(N, H, W, 3) RGB frames by OpenCV, and the frames a second."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1][..., ::-1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return np.array(frames), rate


def grays(frames):
    return frames[:, :, frames.shape[2] // 2 :].mean(axis=(1, 2, 3))


def streams(path):
    """What ffprobe says about the streams of a file, by their type."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {stream["codec_type"]: stream for stream in told["streams"]}


def make(path, *options):
    """A file made by ffmpeg."""
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, options), str(path)], check=True)
    return path


PICTURE = ("-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate=30000/1001:duration=0.4")
SOUND = ("-f", "lavfi", "-i", "sine=duration=0.4")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm", "out.AVI"])
def test_frames_come_out_enlarged_in_order_and_at_their_rate(backend, clip, tmp_path, name):
    seen = []
    upscale_video(clip(), tmp_path / name, Enlarge(), lambda *state: seen.append(state))
    frames, rate = read(tmp_path / name)
    assert frames.shape == (8, 2 * HEIGHT, 2 * WIDTH, 3)
    assert rate == pytest.approx(30000 / 1001, abs=1e-3)
    assert grays(frames) == pytest.approx([level(i) for i in range(8)], abs=4)
    assert frames[:, :, :24].mean(axis=(0, 1, 2)) == pytest.approx([200, 0, 0], abs=12)
    assert seen == [*((done, 8) for done in range(1, 9)), (8, 8)]


def test_a_total_that_was_too_low_gives_way():
    seen = []
    bar = video._Bar(lambda *state: seen.append(state), 3)
    for done in (2, 4):
        bar.show(done)
    video._Bar(lambda *state: seen.append(state), None).show(4)
    assert seen == [(2, 3), (4, 4), (4, None)]


def test_only_one_frame_is_held_at_a_time(backend, clip, tmp_path, monkeypatch):
    source = FFmpegVideo if backend == "ffmpeg" else OpenCVVideo
    frames, handed_out, predictor = source.frames, [], Enlarge()

    def counted(self, notes):
        for pixels in frames(self, notes):
            handed_out.append(len(predictor.seen))
            yield pixels

    monkeypatch.setattr(source, "frames", counted)
    upscale_video(clip(), tmp_path / "out.mp4", predictor)
    assert handed_out == list(range(8))  # frame n is read when n are enlarged


def test_a_frame_that_repeats_the_one_before_is_enlarged_once(backend, clip, tmp_path):
    predictor = Enlarge()
    upscale_video(clip(levels=lambda index: level(index // 4)), tmp_path / "out.mp4", predictor)
    assert len(predictor.seen) == 2
    assert grays(read(tmp_path / "out.mp4")[0]) == pytest.approx([30] * 4 + [50] * 4, abs=4)


def test_odd_sizes_get_one_more_row_and_column(backend, clip, tmp_path):
    class Odd(Enlarge):
        def predict(self, pixels):
            return pixels[:-1, :-3]

    upscale_video(clip(), tmp_path / "out.mp4", Odd())
    assert read(tmp_path / "out.mp4")[0].shape == (8, HEIGHT, WIDTH - 2, 3)
    assert video._even(np.arange(9).reshape(3, 1, 3)).tolist() == [
        [[0, 1, 2]] * 2,
        [[3, 4, 5]] * 2,
        *[[[6, 7, 8]] * 2] * 2,
    ]
    assert video._even(np.zeros((2, 4, 3))).shape == (2, 4, 3)


def test_the_notes_say_that_opencv_leaves_out_the_sound(without_ffmpeg, clip, tmp_path):
    (note,) = upscale_video(clip(), tmp_path / "out.mp4", Enlarge())
    assert note == f"{tmp_path / 'out.mp4'}: was written without sound, if there was any; install ffmpeg to keep it"


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("text"),
    "missing": lambda path: path.unlink(),
    "header": lambda path: path.write_bytes(path.read_bytes()[:200]),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_video_is_one_line_that_names_it(backend, clip, tmp_path, capfd, kind):
    path = clip()
    BAD[kind](path)
    with pytest.raises(ImageError, match=r"clip\.avi: ") as caught:
        upscale_video(path, tmp_path / "out.mp4", Enlarge())
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)  # ffmpeg's addresses
    assert ("does not exist" in str(caught.value)) is (kind == "missing")
    assert capfd.readouterr().err == ""
    assert not list(tmp_path.glob("*out*"))


def test_what_can_be_read_of_a_damaged_video_is_enlarged_with_a_note(backend, clip, tmp_path):
    path = clip("clip.mkv", levels=lambda index: (index * 37) % 200)
    cut_in_half(path)
    notes = upscale_video(path, tmp_path / "out.mp4", Enlarge())
    assert 1 <= len(read(tmp_path / "out.mp4")[0]) < 8
    assert "clip.mkv: is damaged" in notes[0]
    assert "\n" not in notes[0]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("out.gif", "out.gif: has no known video extension; use one of .mp4"),
        ("missing/out.mp4", "missing is not a folder"),
        ("folder.mp4", "folder.mp4: is a folder"),
        ("clip.avi", "is the input itself"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(clip, tmp_path, out, message):
    path = clip()
    (tmp_path / "folder.mp4").mkdir()
    before, predictor = path.read_bytes(), Enlarge()
    with pytest.raises(ImageError, match=message):
        upscale_video(path, tmp_path / out, predictor)
    assert predictor.seen == []
    assert path.read_bytes() == before


def test_a_read_only_folder_is_refused(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # tests may run as root, whom permissions do not bind
    with pytest.raises(OutputError, match=r"out\.mp4: cannot be written, for .* is read-only"):
        upscale_video(clip(), tmp_path / "out.mp4", Enlarge())


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run_leaves_nothing_behind(backend, clip, tmp_path, interruption):
    class Stop(Enlarge):
        def predict(self, pixels):
            if len(self.seen) == 3:
                raise interruption
            return super().predict(pixels)

    path = clip()
    (tmp_path / "out.mp4").write_text("old")
    with pytest.raises(interruption):
        upscale_video(path, tmp_path / "out.mp4", Stop())
    assert (tmp_path / "out.mp4").read_text() == "old"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["clip.avi", "out.mp4"]


def test_a_disk_that_fills_up_is_told_without_ffmpeg(without_ffmpeg, clip, tmp_path, monkeypatch):
    writer = cv2.VideoWriter()

    class Short:
        """OpenCV's writer on a disk that takes no more than two frames, and no error."""

        fourcc, open, release, written = cv2.VideoWriter.fourcc, writer.open, writer.release, 0

        def write(self, pixels):
            self.written += 1
            if self.written <= 2:
                writer.write(pixels)

    path = clip()
    monkeypatch.setattr(cv2, "VideoWriter", Short)
    with pytest.raises(OutputError, match=r"out\.mp4: cannot be written whole"):
        upscale_video(path, tmp_path / "out.mp4", Enlarge())
    assert [found.name for found in tmp_path.iterdir()] == ["clip.avi"]


@needs_ffmpeg
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_fills_up_is_told_by_ffmpeg(clip, tmp_path, monkeypatch):
    command = FFmpegVideo._command
    monkeypatch.setattr(
        FFmpegVideo, "_writer", lambda self, *a: [*command(self, a[0], MPEG4, None)[:-1], "-f", "mpegts", "/dev/full"]
    )
    with pytest.raises(OutputError, match=r"out\.mkv: cannot be written \(.*No space left on device\)"):
        upscale_video(clip(), tmp_path / "out.mkv", Enlarge())
    assert [found.name for found in tmp_path.iterdir()] == ["clip.avi"]


@needs_ffmpeg
@pytest.mark.parametrize("program", ["false", "true"])
def test_an_ffmpeg_that_dies_is_told(clip, tmp_path, monkeypatch, program):
    # Either ends at once; `true` says that all went well, and the pipe is broken all the same.
    monkeypatch.setattr(FFmpegVideo, "_writer", lambda *_: [program])
    with pytest.raises(OutputError, match=r"out\.mp4: cannot be written"):
        upscale_video(clip(), tmp_path / "out.mp4", Enlarge())
    assert [found.name for found in tmp_path.iterdir()] == ["clip.avi"]


def test_faces_are_found_first_and_their_boxes_smoothed(backend, clip, tmp_path):
    predictor, seen = EnlargeFaces(), []
    upscale_video(clip(count=12, rate=10), tmp_path / "out.mp4", predictor, lambda *state: seen.append(state))
    assert predictor.finds == 12
    lefts = [faces[0].left for faces in predictor.faces]
    assert len(lefts) == 12
    assert np.diff(lefts) == pytest.approx(np.full(11, 2.0), abs=0.3)  # of the 1 by which the finds jump
    assert grays(read(tmp_path / "out.mp4")[0]) == pytest.approx([level(i) for i in range(12)], abs=4)
    fractions = [done / total for done, total in seen]
    assert fractions == sorted(fractions)
    assert fractions[11] == pytest.approx(FINDING)
    assert fractions[-1] == 1


@pytest.mark.parametrize("background", ["bicubic", "face_x4"])
def test_without_a_face_the_whole_video_is_enlarged_by_a_model(without_ffmpeg, clip, tmp_path, background):
    from keras_fsr.inference.faces import FacePredictor
    from keras_fsr.inference.predictor import Predictor

    frames = []
    predictor = FacePredictor("face_x4_real", background, lambda pixels: frames.append(pixels) or [])
    source = clip(count=1, size=(16, 16))
    notes = upscale_video(source, tmp_path / "out.mkv", predictor)
    assert notes[0] == f"{source}: no face found; the whole picture was enlarged"
    plain = Predictor("face_x4_real" if background == "bicubic" else background)
    enlarge = video._enlarger(predictor, OpenCVVideo(source), video._Bar(None, None), [])
    assert np.array_equal(enlarge(frames[0], 0), plain.predict(frames[0]))


def test_a_real_predictor_of_faces_is_one():
    from keras_fsr.inference.faces import FacePredictor
    from keras_fsr.inference.predictor import Predictor

    assert isinstance(FacePredictor("face_x4", detector=lambda pixels: []), video.FaceEnlarger)
    assert not isinstance(Predictor("face_x4"), video.FaceEnlarger)


def test_videos_are_told_by_their_names():
    assert all(is_video(name) for name in ("a.mp4", "b/a.MOV", "a.m4v", "a.mkv", "a.avi", "a.webm"))
    assert not any(is_video(name) for name in ("a.png", "mp4", "a.mp4.txt"))


@needs_ffmpeg
def test_rate_sound_and_rotation_are_kept(tmp_path):
    plain = make(tmp_path / "plain.mp4", *PICTURE, *SOUND, *H264, "-c:a", "aac", "-metadata", "title=A title")
    turned = make(tmp_path / "turned.mp4", "-i", plain, "-c", "copy", "-metadata:s:v", "rotate=90")
    predictor = Enlarge()
    assert upscale_video(turned, tmp_path / "out.mp4", predictor) == []
    assert predictor.seen[0].shape == (WIDTH, HEIGHT, 3)
    out = streams(tmp_path / "out.mp4")
    assert (out["video"]["width"], out["video"]["height"]) == (2 * HEIGHT, 2 * WIDTH)
    assert out["video"]["r_frame_rate"] == out["video"]["avg_frame_rate"] == "30000/1001"
    assert out["video"]["codec_name"] == "h264"
    assert out["video"]["pix_fmt"] == "yuv420p"
    assert int(out["video"]["nb_read_frames"]) == 12
    assert "side_data_list" not in out["video"]
    before = streams(plain)["audio"]
    assert [out["audio"][name] for name in ("codec_name", "nb_read_frames", "bit_rate")] == [
        before[name] for name in ("codec_name", "nb_read_frames", "bit_rate")
    ]
    assert b"A title" in (tmp_path / "out.mp4").read_bytes()


@needs_ffmpeg
@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "aac"), ("out.webm", "opus"), ("out.mkv", "pcm_s16le")])
def test_sound_that_a_container_does_not_take_is_encoded_anew(tmp_path, name, codec):
    source = make(tmp_path / "in.mov", *PICTURE, *SOUND, "-c:v", "mpeg4", "-c:a", "pcm_s16le")
    assert upscale_video(source, tmp_path / name, Enlarge()) == []
    assert streams(tmp_path / name)["audio"]["codec_name"] == codec


@needs_ffmpeg
def test_sound_that_cannot_be_kept_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_fsr.inference.ffmpeg_video.COPY_OR_AAC", (("-c:a", "nothing"),))
    source = make(tmp_path / "in.mp4", *PICTURE, *SOUND, *H264)
    (note,) = upscale_video(source, tmp_path / "out.mp4", Enlarge())
    assert "out.mp4: has no sound" in note
    assert set(streams(tmp_path / "out.mp4")) == {"video"}


@needs_ffmpeg
@pytest.mark.parametrize("cover", [False, True])
def test_a_file_with_sound_and_at_most_a_cover_holds_no_video(tmp_path, cover):
    picture = ("-map", "0", "-map", "1", "-frames:v", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic")
    source = make(tmp_path / "in.mp4", *SOUND, *(PICTURE + picture if cover else ()), "-c:a", "aac")
    with pytest.raises(ImageError, match=r"in\.mp4: holds no video"):
        upscale_video(source, tmp_path / "out.mp4", Enlarge())


@needs_ffmpeg
def test_pixels_become_square(backend, tmp_path):
    source = make(tmp_path / "in.mp4", *PICTURE, "-vf", "setsar=4/3", *H264)
    upscale_video(source, tmp_path / "out.mp4", Enlarge())
    assert read(tmp_path / "out.mp4")[0].shape[1:3] == (2 * HEIGHT, 2 * 85)  # 64 x 4/3 = 85.3


@needs_ffmpeg
@pytest.mark.parametrize(("height", "matrix"), [(720, "bt709"), (48, "smpte170m")])
def test_colours_stay_as_a_player_shows_them(tmp_path, height, matrix):
    # Untagged videos are BT.709 from 720 lines on, below BT.601; the result is BT.709 and says so.
    colour = f"color=c=0xC03020:size=64x{height}:rate=25:duration=0.08"
    convert = f"scale=out_color_matrix={'bt709' if height == 720 else 'bt601'},format=yuv420p"
    source = make(tmp_path / "in.mkv", "-f", "lavfi", "-i", colour, "-vf", convert, "-c:v", "ffv1")
    predictor = Enlarge()
    upscale_video(source, tmp_path / "out.mp4", predictor)
    assert predictor.seen[0].mean(axis=(0, 1)) == pytest.approx([0xC0, 0x30, 0x20], abs=3)
    out = streams(tmp_path / "out.mp4")["video"]
    assert out["color_space"] == "bt709"
    raw = ["ffmpeg", "-v", "error", "-i", tmp_path / "out.mp4", "-frames:v", "1"]
    raw += ["-vf", "scale=in_color_matrix=bt709,format=rgb24", "-f", "rawvideo", "-"]
    pixels = np.frombuffer(subprocess.run(raw, capture_output=True, check=True).stdout, np.uint8)
    assert pixels.reshape(-1, 3).mean(axis=0) == pytest.approx([0xC0, 0x30, 0x20], abs=4)


@needs_ffmpeg
def test_a_rate_that_varies_becomes_its_mean_and_keeps_time(tmp_path):
    choose = ("-vf", "select='lt(n,6)+not(mod(n,3))'", "-vsync", "vfr")
    picture = ("-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate=30:duration=1")
    source = make(tmp_path / "in.mp4", *picture, *choose, *H264)
    upscale_video(source, tmp_path / "out.mp4", Enlarge())
    out = streams(tmp_path / "out.mp4")["video"]
    assert out["avg_frame_rate"] != "30/1"
    assert float(out["duration"]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("base", "mean", "rate"),
    [
        ("30000/1001", "30000/1001", Fraction(30000, 1001)),
        ("30/1", "23990/801", Fraction(30)),  # a last frame that lasts longer
        ("30/1", "55/3", Fraction(55, 3)),
        ("50/1", "25/1", Fraction(25)),  # fields counted as frames
        ("90000/1", "173/10", Fraction(173, 10)),  # a rate that varies
        ("25/1", "0/0", Fraction(25)),
        ("0/0", "0/0", Fraction(25)),
        (None, None, Fraction(25)),
    ],
)
def test_rates_are_exact_fractions(base, mean, rate):
    assert _rate({"r_frame_rate": base, "avg_frame_rate": mean}) == rate


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a:b %03d 'c.avi", "-y.avi"])
def test_names_that_mean_something_to_ffmpeg_are_names(clip, tmp_path, monkeypatch, name):
    clip().rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    out = f"-out {name[:3]}.mp4"
    assert upscale_video(name, out, Enlarge()) == []
    assert (tmp_path / out).stat().st_size > 0


def test_names_that_are_no_text_are_told_without_ffmpeg(without_ffmpeg, clip, tmp_path):
    folder = tmp_path / os.fsdecode(b"c\xe9")
    folder.mkdir()
    told = r"c\?.a\.avi: its path is no UTF-8.*; rename it, or install ffmpeg"
    with pytest.raises(OutputError, match=told):
        upscale_video(clip(), folder / "a.avi", Enlarge())
    clip().rename(folder / "a.avi")
    with pytest.raises(ImageError, match=told):
        upscale_video(folder / "a.avi", tmp_path / "out.avi", Enlarge())


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nOTHER\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile 'OTHER'\n",
    ],
    ids=["address", "playlist", "script"],
)
def test_what_names_other_files_is_no_video(backend, clip, tmp_path, text):
    other = clip().rename(tmp_path / "other.mp4")
    playlist = tmp_path / "list.mp4"
    for name in (other, other.name, f"file:{other}"):
        playlist.write_text(text.replace("OTHER", str(name)))
        with pytest.raises(ImageError, match=r"list\.mp4: "):
            upscale_video(playlist, tmp_path / "out.mp4", Enlarge())
        assert not (tmp_path / "out.mp4").exists()


class Tagged(Enlarge):
    tag = "made by = a test; 100%"


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm", "out.mov"])
@needs_ffmpeg
def test_a_video_says_that_it_is_enhanced(clip, tmp_path, name):
    assert upscale_video(clip(), tmp_path / name, Tagged()) == []
    command = ["ffprobe", "-v", "error", "-show_format", "-of", "json", str(tmp_path / name)]
    tags = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["format"]["tags"]
    assert {key.lower(): value for key, value in tags.items()}["comment"] == Tagged.tag


def test_without_ffmpeg_a_note_says_that_the_video_does_not_say_it(without_ffmpeg, clip, tmp_path):
    notes = upscale_video(clip(), tmp_path / "out.mp4", Tagged())
    assert "does not say in its metadata that it is AI-enhanced" in notes[1]
