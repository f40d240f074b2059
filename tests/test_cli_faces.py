"""`keras-fsr upscale --faces` as a user meets it."""

import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli

FACE_MODEL = "face_x4_real"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A photo of 90x100 pixels with a face 32 pixels large, and one without."""
    from skimage.data import astronaut, coffee

    folder = tmp_path_factory.mktemp("photos")
    head = Image.fromarray(astronaut()[10:250, 118:334]).resize((90, 100), Image.Resampling.BICUBIC)
    head.save(folder / "photo.jpg", quality=92)
    Image.fromarray(coffee()[:24, :32]).save(folder / "none.png")
    return folder


def run(*arguments):
    return cli.main(["upscale", *map(str, arguments)])


def test_faces_are_found_pasted_and_annotated(photos, tmp_path, capfd):
    from keras_fsr.inference.faces import FacePredictor

    assert run(photos / "photo.jpg", "--faces", "--annotate", "-o", tmp_path / "out.png") == 0
    out, err = capfd.readouterr()
    assert out.split() == [str(tmp_path / "out_faces.png"), str(tmp_path / "out.png")]
    assert err == ""
    result = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.array_equal(result, FacePredictor(FACE_MODEL).predict(photos / "photo.jpg"))


def test_no_face_is_said_once_and_the_picture_is_enlarged(photos, tmp_path, capfd):
    from keras_fsr.inference.predictor import Predictor

    assert run(photos, "--faces", "-o", tmp_path / "out") == 0
    out, err = capfd.readouterr()
    assert out == "2 written, 0 failed\n"
    assert err == f"keras-fsr: {photos / 'none.png'}: no face found; the whole picture was enlarged\n"
    result = np.asarray(Image.open(tmp_path / "out" / "none.png"))
    assert np.array_equal(result, Predictor(FACE_MODEL).predict(photos / "none.png"))


def test_the_model_is_the_plain_one_without_faces(photos, tmp_path):
    from keras_fsr.inference.predictor import Predictor

    assert run(photos / "none.png", "-o", tmp_path / "out.png") == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), Predictor().predict(photos / "none.png"))


def test_options_reach_the_predictor(photos, tmp_path, monkeypatch):
    seen = {}

    class Recorder:
        scale = 4

        def __init__(self, model, background, detector, **options):
            seen.update(options, model=model, background=background, detector=detector)

        def predict(self, image, out=None, progress=None):
            return out

    monkeypatch.setattr("keras_fsr.inference.faces.FacePredictor", Recorder)
    options = ["--background", "face_x4", "--detector", "f.onnx", "--model", "m.tflite", "--strength", "0.5"]
    assert run(photos / "photo.jpg", "--faces", *options, "--tile", "64", "-o", tmp_path / "x.png") == 0
    assert (seen["model"], seen["background"], seen["detector"]) == ("m.tflite", "face_x4", "f.onnx")
    assert (seen["strength"], seen["tile"]) == (0.5, 64)


def test_strength_works_with_faces(shipped_pair, tmp_path, photos):
    assert (
        run(photos / "photo.jpg", "--faces", "--model", "face_x4_gan", "--strength", 0, "-o", tmp_path / "a.png") == 0
    )
    assert run(photos / "photo.jpg", "--faces", "--model", "face_x4", "-o", tmp_path / "b.png") == 0
    with Image.open(tmp_path / "a.png") as mixed, Image.open(tmp_path / "b.png") as faithful:
        assert mixed.tobytes() == faithful.tobytes()
        assert "by face_x4_gan@0:" in mixed.info["Software"]
        assert mixed.info["Software"].endswith(" for faces, bicubic for the rest")


@pytest.mark.parametrize("options", [[], ["--faces"], ["--faces", "--background", "face_x4_edge"]])
def test_no_tag_leaves_the_tag_out(photos, tmp_path, options):
    assert run(photos / "photo.jpg", *options, "--no-tag", "-o", tmp_path / "a.png") == 0
    assert b"AI-enhanced" not in (tmp_path / "a.png").read_bytes()


def test_crops_alone(photos, tmp_path, capfd):
    inputs = [photos / "photo.jpg", photos / "none.png"]
    assert run(*inputs, "--faces-only", tmp_path / "faces") == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [str(tmp_path / "faces" / "photo_face1.png"), "1 written, 0 failed"]
    assert err == f"keras-fsr: {photos / 'none.png'}: no face found\n"
    assert [path.name for path in (tmp_path / "faces").iterdir()] == ["photo_face1.png"]
    assert sorted(path.name for path in photos.iterdir()) == ["none.png", "photo.jpg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--annotate"], "--annotate: is for faces in photos; add --faces"),
        (["--identity-check"], "--identity-check: is for faces in photos; add --faces"),
        (["--detector", "haar"], "--detector: is for faces in photos; add --faces"),
        (["--background", "face_x4"], "--background: is for faces in photos; add --faces"),
        (["--weights", "w"], "--weights: is for faces in photos; add --faces"),
        (["--faces-only", "d", "--annotate"], "--annotate: --faces-only writes no photo; leave one of the two out"),
        (["--faces-only", "d", "-o", "x"], "--out: --faces-only writes no photo; leave one of the two out"),
        (["--faces", "--detector", "eyes"], "eyes: no such face detector; give haar, yunet or YuNet's .onnx file"),
        (["--faces", "--detector", "yunet", "--weights", "no"], "no: holds no weights of YuNet; put face_detection"),
        (["--faces", "--background", "nearest"], "nearest: no such model; shipped are"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(photos, tmp_path, capfd, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KERAS_FSR_WEIGHTS", raising=False)
    assert run(photos / "photo.jpg", *options) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"keras-fsr: error: {message}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


class Distances:
    """In place of the descriptor: a distance for each face, in turn."""

    threshold = 0.6

    def __init__(self, *distances):
        self.distances = iter(distances)

    def __call__(self, plain, made):
        return next(self.distances)


@pytest.mark.parametrize(
    ("distance", "said", "warned"),
    [
        (0.25, "face 1: identity distance 0.25 (same person below 0.6)", ""),
        (0.6, "face 1: identity distance 0.60", "face 1 may look like somebody else: identity distance 0.60"),
        (float("nan"), "face 1: identity not checked", ""),
    ],
)
def test_the_identity_is_printed_and_warned_of(photos, tmp_path, capfd, monkeypatch, distance, said, warned):
    monkeypatch.setattr("keras_fsr.inference.face_files.Identity", lambda: Distances(distance))
    assert run(photos / "photo.jpg", "--faces", "--identity-check", "-o", tmp_path / "x.png") == 0
    out, err = capfd.readouterr()
    assert f"{photos / 'photo.jpg'}: {said}" in out
    assert warned in err
    assert bool(warned) == bool(err)


def test_the_identity_check_names_its_extra(photos, tmp_path, capfd, monkeypatch):
    def missing():
        raise ModuleNotFoundError("No module named 'dlib'", name="dlib")

    monkeypatch.setattr("keras_fsr.inference.face_files.Identity", missing)
    assert run(photos / "photo.jpg", "--faces", "--identity-check", "-o", tmp_path / "x.png") == 2
    err = capfd.readouterr().err
    assert "identity" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
