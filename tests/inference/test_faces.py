"""Photos with faces: what is found is enlarged by the model, all else by the background, and no seam shows."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DataError, FSRError, ImageError, ModelError
from keras_fsr.inference.detection import Face, YuNetDetector
from keras_fsr.inference.face_files import IdentityCheck, annotated, write_annotated, write_crops
from keras_fsr.inference.faces import FacePredictor
from keras_fsr.inference.picture import Picture
from keras_fsr.inference.predictor import Predictor
from keras_fsr.inference.yunet_weights import NAME
from keras_fsr.metrics.identity import Identity

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="module")
def photo():
    """(120, 160, 3): the astronaut's head, her face 32 pixels large, on wood."""
    from skimage.data import astronaut, coffee

    head = Image.fromarray(astronaut()[10:235, 118:328]).resize((70, 75), Image.Resampling.BICUBIC)
    pixels = np.array(Image.fromarray(coffee()).resize((160, 120), Image.Resampling.BICUBIC))
    pixels[20:95, 60:130] = head
    return pixels


@pytest.fixture(scope="module")
def predictor():
    return FacePredictor("face_x4")


def nothing(pixels):
    return []


def fixed(*faces):
    return lambda pixels: list(faces)


def bicubic(pixels):
    return cv2.resize(pixels, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)


def test_the_face_is_the_models_and_the_rest_is_bicubic(predictor, photo):
    (face,) = predictor.find(photo)
    result = predictor.predict(photo)
    assert result.shape == (480, 640, 3)
    region, mask = predictor.region(face, photo.shape), predictor.mask(face, photo.shape)
    changed = (result != bicubic(photo)).any(axis=2)
    inside = np.zeros((480, 640), bool)
    inside[region.scaled(4).slices] = mask > 0
    assert not changed[~inside].any()
    assert changed[region.scaled(4).slices][mask == 1].mean() > 0.9
    centre = np.s_[
        round(face.top * 4) : round((face.top + 20) * 4), round(face.left * 4) : round((face.left + 20) * 4)
    ]
    whole = Predictor("face_x4").predict(photo)
    off = np.abs(result[centre].astype(int) - whole[centre]).mean()
    assert off < 0.35 * np.abs(bicubic(photo)[centre].astype(int) - whole[centre]).mean()


def test_the_background_may_be_a_model(photo):
    predictor = FacePredictor("face_x4_real", "face_x4")
    (face,) = predictor.find(photo)
    seen = []
    result = predictor.predict(photo, progress=lambda done, total: seen.append((done, total)))
    region = predictor.region(face, photo.shape).scaled(4)
    outside = np.ones(result.shape[:2], bool)
    outside[region.slices] = False
    assert np.array_equal(result[outside], Predictor("face_x4").predict(photo)[outside])
    assert (result[region.slices] != Predictor("face_x4").predict(photo)[region.slices]).any()
    assert seen == [(1, 2), (2, 2)]


def test_without_a_face_the_whole_picture_is_the_models(photo):
    predictor = FacePredictor("face_x4", detector=nothing)
    assert np.array_equal(predictor.predict(photo), Predictor("face_x4").predict(photo))
    assert np.array_equal(predictor.enlarge(photo, []), bicubic(photo))
    named = FacePredictor("face_x4_real", "face_x4", nothing)
    assert np.array_equal(named.predict(photo), Predictor("face_x4").predict(photo))


def test_no_seam_shows(predictor, photo):
    # In a smooth picture any slope across the mask's border is the pasting's.
    y, x = np.mgrid[:90, :110]
    smooth = np.stack([x + 60, 2 * y, 180 - x], axis=2).astype(np.uint8)
    result = predictor.enlarge(smooth, [Face(40, 30, 25, 25)]).astype(int)
    plain = bicubic(smooth).astype(int)
    assert np.abs(result - plain).max() <= 4
    for axis in (0, 1):
        assert np.abs(np.diff(result - plain, axis=axis)).max() <= 3


def test_a_models_cast_is_taken_away(photo):
    class Cast:
        scale = 4

        def __call__(self, image):
            return np.clip(np.repeat(np.repeat(image, 4, 0), 4, 1) * 0.8 + np.float32(0.1), 0, 1)

    predictor = FacePredictor("face_x4", detector=fixed(Face(75, 40, 30, 30)))
    predictor.network = Cast()
    centre = np.s_[160:280, 300:420]
    difference = predictor.predict(photo)[centre].astype(int) - bicubic(photo)[centre]
    assert np.abs(difference.mean(axis=(0, 1))).max() < 1.5


@pytest.mark.parametrize(
    "face",
    [Face(-8, -8, 24, 24), Face(150, 100, 30, 30), Face(0, 0, 160, 120), Face(70, 115, 20, 20), Face(40, 40, 2, 2)],
)
def test_faces_at_the_edge_and_of_any_size(predictor, photo, face):
    result = predictor.enlarge(photo, [face])
    assert result.shape == (480, 640, 3)
    assert not np.array_equal(result, bicubic(photo))


def test_overlapping_faces_are_both_the_models(predictor, photo):
    faces = [Face(70, 35, 30, 30), Face(85, 45, 30, 30)]
    both = predictor.enlarge(photo, faces)
    for face in faces:
        centre = np.s_[
            int(face.top * 4) + 20 : int(face.top * 4) + 100, int(face.left * 4) + 20 : int(face.left * 4) + 100
        ]
        alone = predictor.enlarge(photo, [face])[centre].astype(int)
        off = np.abs(both[centre].astype(int) - alone).mean()
        assert off < 0.35 * np.abs(bicubic(photo)[centre].astype(int) - alone).mean()


def test_faces_come_left_to_right_and_those_outside_not_at_all(photo):
    right, left, out, flat = Face(90, 10, 9, 9), Face(5, 50, 9, 9), Face(200, 5, 9, 9), Face(9, 9, 0, 9)
    predictor = FacePredictor("face_x4", detector=fixed(right, left, out, flat))
    assert predictor.find(photo) == [left, right]


def test_the_detector_gets_8_bits_and_the_result_keeps_16(predictor, photo):
    deep = photo.astype(np.uint16) * 257
    assert predictor.find(deep) == predictor.find(photo)
    result = predictor.predict(deep)
    assert result.dtype == np.uint16
    assert np.abs(result / 257 - predictor.predict(photo)).mean() < 1


def test_models_of_different_scales_and_impossible_masks_are_refused(monkeypatch):
    monkeypatch.setattr(Predictor, "scale", property(lambda self: 2 if type(self) is Predictor else 4))
    with pytest.raises(ModelError, match="face_x4: enlarges 2 times, the model for faces 4 times"):
        FacePredictor("face_x4_real", "face_x4")
    with pytest.raises(FSRError, match="margin is -1 and feather 0"):
        FacePredictor("face_x4", margin=-1, feather=0)
    with pytest.raises(FSRError, match="no such face detector"):
        FacePredictor("face_x4", detector="eyes")


def test_files_keep_what_they_are_and_are_told(photo, save_image, tmp_path):
    seen = []
    predictor = FacePredictor("face_x4", watch=seen.append)
    rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    rgba[:10, :10, 3] = 0
    source = save_image("in/a.png", rgba)
    save_image("in/sub/gray.png", np.asarray(Image.fromarray(photo).convert("L")))
    (tmp_path / "in" / "bad.png").write_text("text")
    report = predictor.predict(tmp_path / "in", tmp_path / "out")
    assert [path.name for path, _ in report.failed] == ["bad.png"]
    assert [sighting.source.name for sighting in seen] == ["a.png", "gray.png"]
    assert [sighting.target for sighting in seen] == report.written
    assert all(len(sighting.faces) == 1 for sighting in seen)
    assert seen[0].source == source
    assert seen[0].before.pixels.shape == (120, 160, 3)
    assert Image.open(report.written[0]).mode == "RGBA"
    assert Image.open(report.written[1]).mode == "L"
    assert np.array_equal(np.asarray(Image.open(report.written[1])), seen[1].after.pixels[..., 0])
    predictor.predict(photo)
    predictor.predict(source)
    assert len(seen) == 2


def bar(label):
    import contextlib

    return contextlib.nullcontext()


def test_crops_are_written_alone_and_keep_the_tree(photo, save_image, tmp_path, predictor):
    two = np.hstack([photo, photo])
    save_image("in/two.jpg", two)
    save_image("in/sub/gray.png", np.asarray(Image.fromarray(photo).convert("L")))
    save_image("in/none.png", photo[:20, :20])
    (tmp_path / "in" / "bad.png").write_text("text")
    told = []
    report = write_crops(predictor, [tmp_path / "in"], tmp_path / "out", bar, told.append)
    names = ["sub/gray_face1.png", "two_face1.png", "two_face2.png"]
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in report.written) == names
    assert told == report.written
    assert [path.name for path, _ in report.failed] == ["bad.png"]
    assert [note.split("/")[-1] for note in report.notes] == ["none.png: no face found"]
    assert Image.open(tmp_path / "out" / "sub" / "gray_face1.png").mode == "L"
    crop = np.asarray(Image.open(tmp_path / "out" / "two_face1.png"))
    face = predictor.find(np.asarray(Image.open(tmp_path / "in" / "two.jpg")))[0]
    assert crop.shape == (*predictor.mask(face, two.shape).shape, 3)
    # Golden: the face and, on each side, 0.6 of its size.
    assert crop.shape[0] == pytest.approx(face.side * 2.2 * 4, abs=8)


def test_crops_never_overwrite_each_other(photo, save_image, tmp_path, predictor):
    save_image("in/a.png", photo)
    save_image("in/a.jpg", photo)
    report = write_crops(predictor, [tmp_path / "in"], tmp_path / "out", bar, lambda path: None)
    assert len(report.written) == 1
    assert "would overwrite those of" in report.failed[0][1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        write_crops(predictor, [tmp_path / "empty"], tmp_path / "out", bar, print)
    with pytest.raises(ImageError, match="does not exist"):
        write_crops(predictor, [tmp_path / "none.png"], tmp_path / "out", bar, print)


def test_boxes_are_drawn_on_a_copy(photo, tmp_path, predictor):
    gray = Picture(np.repeat(photo[..., :1], 3, 2).astype(np.uint16) * 257, gray=True)
    shown = annotated(gray, [Face(20, 40, 30, 30), Face(90, 2, 30, 30)])
    assert shown.pixels.dtype == np.uint8
    assert not shown.gray
    green = (shown.pixels == (0, 255, 0)).all(axis=2)
    assert green[40, 20:50].all()
    assert green[55, 49:52].any()
    assert green[2:33, 90].all()
    assert not green[60, 30]
    assert green[10:38, 20:40].any()  # the number, above the box or, where there is no room, below
    assert green[40:70, 90:110].any()
    assert not (gray.pixels == 255).all(axis=2).any()


def test_the_annotated_result_lies_beside_it(photo, save_image, tmp_path):
    seen = []
    predictor = FacePredictor("face_x4", watch=seen.append)
    predictor.predict(save_image("a.png", photo), tmp_path / "b.png")
    path = write_annotated(seen[0], 4)
    assert path == tmp_path / "b_faces.png"
    shown, plain = np.asarray(Image.open(path)).astype(int), np.asarray(Image.open(tmp_path / "b.png"))
    rows, columns = np.nonzero((shown != plain).any(axis=2))
    face = seen[0].faces[0]
    assert columns.max() == pytest.approx((face.left + face.width) * 4, abs=3)
    assert rows.max() == pytest.approx((face.top + face.height) * 4, abs=3)


def test_identity_is_of_the_face_before_and_after(photo, save_image, tmp_path, predictor):
    shapes = []

    def mean_colour(image):
        shapes.append(image.shape)
        return image.mean(axis=(0, 1)) / 255

    seen = []
    watched = FacePredictor("face_x4", watch=seen.append)
    watched.predict(save_image("a.png", photo), tmp_path / "b.png")
    check = IdentityCheck(watched, Identity(mean_colour, threshold=0.4))
    assert check.threshold == 0.4
    (distance,) = check(seen[0])
    assert 0 < distance < 0.01  # the colours were matched
    assert shapes[0] == shapes[1] == (*watched.mask(seen[0].faces[0], photo.shape).shape, 3)
    blank = Identity(lambda image: None)
    assert np.isnan(IdentityCheck(watched, blank)(seen[0])).all()


@pytest.fixture(scope="module")
def benchmark():
    path = ROOT / "benchmarks" / "faces.py"
    spec = importlib.util.spec_from_file_location("benchmarks_faces", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (SHARED / "faces").is_dir(), reason=f"{SHARED} has no faces and weights")
def test_small_faces_in_composed_photos_are_found_and_sharpened(benchmark):
    # Two of the benchmark's photos, of 32 and 48 pixels; only 640x480 around the face are searched.
    from keras_fsr.metrics.lpips import LPIPS

    lpips = LPIPS(SHARED / "weights")
    yunet = YuNetDetector(SHARED / "weights" / NAME)
    predictors = [FacePredictor("face_x4_real", detector=detector) for detector in ("haar", yunet)]
    made, plain = [], []
    for photo in list(benchmark.photos(SHARED / "faces" / "test" / "512", "test", 3))[1:]:
        for predictor in predictors:
            top, left = min(max(photo.top - 200, 0), 600), min(max(photo.left - 280, 0), 1280)
            part = np.ascontiguousarray(photo.pixels[top : top + 480, left : left + 640])
            found = [face.placed(1, left, top) for face in predictor.find(part)]
            hits = [face for face in found if benchmark.overlap(face, photo.face) >= benchmark.FOUND]
            assert len(hits) == 1
            enlarged, faces = benchmark.enlarge(predictor, photo, hits)
            assert benchmark.seam(predictor, enlarged, faces) <= 1.2
            made.append(benchmark.distance(lpips, photo, enlarged))
            plain.append(benchmark.distance(lpips, photo, benchmark.enlarge(predictor, photo, [])[0]))
    assert np.mean(made) < 0.75 * np.mean(plain)
