"""Detectors of faces: what they find, what they merge, what they refuse."""

import hashlib
import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import FSRError, ModelError
from keras_fsr.inference import detection, yunet_weights
from keras_fsr.inference.detection import Face, HaarDetector, YuNetDetector, enlargement, find_detector, merged

SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights"

needs_yunet = pytest.mark.skipif(
    not (SHARED / yunet_weights.NAME).is_file(), reason=f"{SHARED} has no weights of YuNet"
)


@pytest.fixture(scope="module")
def astronaut():
    from skimage.data import astronaut

    return astronaut()


def at(image, side, left, top, shape=(240, 320)):
    """A gray picture with an image reduced to `side` columns at a place."""
    small = np.asarray(Image.fromarray(image).resize((side, side * image.shape[0] // image.shape[1])))
    picture = np.full((*shape, 3), 120, np.uint8)
    picture[top : top + small.shape[0], left : left + side] = small
    return picture


@pytest.fixture(params=["haar", pytest.param("yunet", marks=needs_yunet)])
def detector(request):
    return HaarDetector() if request.param == "haar" else YuNetDetector(SHARED / yunet_weights.NAME)


def test_a_portrait_has_one_face_where_it_is(astronaut, detector):
    # Golden: by eye, the face of the astronaut spans columns 178 to 268 and rows 65 to 175.
    (face,) = detector(astronaut)
    assert face.left + face.width / 2 == pytest.approx(223, abs=8)
    assert face.top + face.height / 2 == pytest.approx(118, abs=8)
    assert 85 < face.side < 115


def test_a_small_face_is_found(astronaut, detector):
    # 256 columns with a face 95 pixels large become 64: the face has 24.
    (face,) = detector(at(astronaut[:256, 96:352], 64, 200, 30))
    assert face.left + face.width / 2 == pytest.approx(200 + (223 - 96) / 4, abs=3)
    assert face.top + face.height / 2 == pytest.approx(30 + 118 / 4, abs=3)
    assert 19 < face.side < 29


def test_a_face_as_large_as_the_picture_is_found(astronaut, detector):
    large = np.asarray(Image.fromarray(astronaut[40:200, 143:303]).resize((1600, 1600)))
    (face,) = detector(large)
    assert 700 < face.side < 1200


def test_pictures_without_faces_have_none(detector):
    from skimage.data import coffee, rocket

    assert detector(coffee()) == []
    assert detector(rocket()) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 2)])
def test_any_size_of_picture_is_searched(detector, shape):
    for _ in range(10):  # OpenCV 4.14 gave random faces for some of the sizes, now and then
        assert detector(np.full((*shape, 3), 90, np.uint8)) == []


@pytest.mark.parametrize("pixels", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint16)])
def test_other_arrays_are_refused(detector, pixels):
    with pytest.raises(FSRError, match=r"cannot look for faces in uint\d+ of shape"):
        detector(pixels)


@needs_yunet
def test_yunet_gives_landmarks_in_the_picture_and_a_score(astronaut):
    (face,) = YuNetDetector(SHARED / yunet_weights.NAME)(astronaut)
    assert 0.9 < face.score <= 1
    right_eye, left_eye, nose, *mouth = face.landmarks
    # Golden: by eye, pixels of the eyes and the tip of the nose.
    assert np.allclose([right_eye, left_eye, nose], [(204, 103), (246, 105), (225, 128)], atol=4)
    assert all(y > nose[1] for _, y in mouth)


@needs_yunet
def test_a_file_whose_name_is_no_text_is_read(astronaut, tmp_path):
    file = tmp_path / os.fsdecode(b"y\xe9.onnx")
    file.symlink_to(SHARED / yunet_weights.NAME)
    assert len(YuNetDetector(file)(astronaut)) == 1


def test_what_no_face_can_be_is_left_out(tmp_path, monkeypatch):
    good = [10, 12, 20, 24, *range(10), 0.9]
    rows = [good, [np.nan, *good[1:]], [*good[:2], np.inf, *good[3:]], [*good[:3], 0, *good[4:]]]

    class Network:
        def detect(self, bgr):
            return 1, np.array(rows, np.float32)

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: Network())
    (tmp_path / "other.onnx").write_bytes(b"other weights")
    (face,) = YuNetDetector(tmp_path / "other.onnx", enlarged=1)(np.zeros((64, 64, 3), np.uint8))
    assert (face.left, face.height) == (10, 24)


@needs_yunet
def test_yunet_finds_the_same_in_tiles(astronaut, monkeypatch):
    picture = np.tile(astronaut[:256, 96:352], (1, 3, 1))
    whole = YuNetDetector(SHARED / yunet_weights.NAME)(picture)
    monkeypatch.setattr(YuNetDetector, "TILE", 1024)
    tiled = YuNetDetector(SHARED / yunet_weights.NAME)(picture)
    assert len(whole) == len(tiled) == 3
    places = [sorted(face.left for face in faces) for faces in (whole, tiled)]
    assert np.allclose(*places, atol=3)


def test_the_tiles_along_a_side_cover_it_and_share_enough():
    for side in (5, 100, 101, 139, 1000):
        starts = detection._starts(side, 100, 30)
        assert starts[0] == 0
        assert starts[-1] + 100 >= side
        assert starts[-1] == max(side - 100, 0)
        assert all(0 < b - a <= 70 for a, b in pairwise(starts))


def test_large_pictures_are_enlarged_less_and_never_reduced():
    assert enlargement((100, 100, 3)) == 3
    assert enlargement((4000, 2500)) == pytest.approx(np.sqrt(2))
    assert enlargement((9000, 6000)) == 1
    assert enlargement((100, 100), 1.5) == 1.5


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (HaarDetector, 44),
        pytest.param(lambda **k: YuNetDetector(SHARED / yunet_weights.NAME, **k), 20, marks=needs_yunet),
    ],
)
def test_small_faces_need_an_enlarged_picture(astronaut, make, side):
    picture = at(astronaut[:256, 96:352], side, 200, 30)
    assert len(make()(picture)) == 1
    assert make(enlarged=1)(picture) == []


def test_boxes_of_one_face_become_the_surest():
    sure, near, within, beside = (
        Face(10, 10, 40, 40, 9),
        Face(14, 12, 40, 40, 3),
        Face(20, 20, 15, 15, 20),
        Face(45, 10, 40, 40, 1),
    )
    assert merged([near, beside, sure]) == [sure, beside]
    assert merged([sure, within]) == [within]


def test_a_face_moves_with_its_picture():
    face = Face(1, 2, 9, 4, 0.5, ((1, 2), (3, 4)))
    assert face.side == 6
    assert face.placed(2, 10, 20) == Face(12, 24, 18, 8, 0.5, ((12, 24), (16, 28)))
    assert face.placed(0.5).landmarks == ((0.5, 1), (1.5, 2))
    assert Face(1, 2, 3, 4).placed(2) == Face(2, 4, 6, 8)


def test_detectors_go_by_name_or_file(tmp_path, monkeypatch):
    assert isinstance(find_detector("haar"), HaarDetector)
    with pytest.raises(FSRError, match="retina: no such face detector; give haar, yunet"):
        find_detector("retina")
    with pytest.raises(ModelError, match=r"none\.onnx: does not exist"):
        find_detector(tmp_path / "none.onnx")
    for content in (b"no network", b""):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.onnx: is no face detector YuNet") as caught:
            find_detector(str(tmp_path / "bad.onnx"))
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path / "empty"))
    with pytest.raises(ModelError, match="empty: holds no weights of YuNet; put face_detection_yunet_2026may"):
        find_detector("yunet")


def test_opencv_without_cascades_is_told(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(ModelError, match="has no Haar cascades; install opencv-python-headless below 5.* yunet"):
        HaarDetector()


def test_a_folder_is_searched_for_the_newest_float_form(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path))
    for name in ("2022mar", "2023mar", "2023mar_int8", "2024jan_int8bq"):
        (tmp_path / f"face_detection_yunet_{name}.onnx").touch()
        found = yunet_weights.find_yunet().name
    assert found == "face_detection_yunet_2023mar.onnx"
    (tmp_path / yunet_weights.NAME).touch()
    assert yunet_weights.find_yunet().name == yunet_weights.NAME


class Answer:
    """What urlopen gives."""

    def __init__(self, content):
        self.read = lambda: content

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_FSR_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "keras_fsr"


def test_the_weights_are_downloaded_once(cache, monkeypatch):
    asked = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: asked.append(a) or Answer(b"weights"))
    monkeypatch.setattr(yunet_weights, "SHA256", hashlib.sha256(b"weights").hexdigest())
    assert yunet_weights.find_yunet().read_bytes() == b"weights"
    assert yunet_weights.find_yunet() == cache / yunet_weights.NAME
    assert len(asked) == 1
    (cache / yunet_weights.NAME).write_bytes(b"damaged")
    assert yunet_weights.find_yunet().read_bytes() == b"weights"
    assert len(asked) == 2


def test_another_file_at_the_address_is_refused_and_not_kept(cache, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: Answer(b"other"))
    with pytest.raises(ModelError, match="is no longer the file it was"):
        yunet_weights.find_yunet()
    assert os.listdir(cache) == []


def test_no_connection_is_one_line_with_the_remedy(cache, monkeypatch):
    def refuse(*_, **__):
        raise OSError("Name or service not known\nmore")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(ModelError, match=r"cannot be downloaded .*KERAS_FSR_WEIGHTS \(or --weights\)") as caught:
        yunet_weights.find_yunet()
    assert "\n" not in str(caught.value)


def test_a_user_without_a_home_is_told_the_remedy(cache, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where the user is not known
    with pytest.raises(ModelError, match=r"this user has no home; put .*KERAS_FSR_WEIGHTS \(or --weights\)"):
        yunet_weights.find_yunet()


@needs_yunet
def test_the_digest_is_that_of_the_file():
    from keras_fsr.pretrained import digest

    assert digest(SHARED / yunet_weights.NAME) == yunet_weights.SHA256
