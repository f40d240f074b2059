"""The Predictor with the shipped model: arrays, files, folders, tiles."""

import os

import numpy as np
import pytest
from PIL import Image

import keras_fsr
from keras_fsr import pretrained
from keras_fsr.errors import DataError, ImageError, ModelError
from keras_fsr.inference.images import Picture, write_image
from keras_fsr.inference.predictor import Predictor, SelfEnsemble, label_of


@pytest.fixture(scope="module")
def predictor():
    return Predictor("face_x4")


@pytest.fixture(scope="module")
def portrait():
    from skimage.data import astronaut

    return np.asarray(Image.fromarray(astronaut()[:256, 96:352]).resize((128, 128), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def float_model(tmp_path_factory):
    """The shipped network in float32, where a pixel depends on its surroundings alone."""
    from keras_fsr import pretrained
    from keras_fsr.deploy.tflite import export_tflite

    path = tmp_path_factory.mktemp("float") / "face_x4.tflite"
    return export_tflite(pretrained.weights("face_x4", ".keras"), path, "none")


def enlarge(model, image, tile, overlap=32):
    out = Predictor(model, tile=tile, overlap=overlap).predict(image)
    assert out.shape == (image.shape[0] * 4, image.shape[1] * 4, 3)
    return out.astype(int)


@pytest.mark.parametrize("size", [(128, 128), (97, 61), (4, 4), (5, 113)])
@pytest.mark.parametrize(("tile", "overlap"), [(48, 16), (64, 31), (80, 32)])
def test_tiled_equals_whole_within_one_level(float_model, portrait, size, tile, overlap):
    image = portrait[: size[0], : size[1]]
    difference = enlarge(float_model, image, tile, overlap) - enlarge(float_model, image, None)
    assert np.abs(difference).max() <= 1


def test_tiling_adds_no_error_to_the_shipped_int8_model(float_model, portrait):
    # Its activations are quantized by the range of each tile, so tiles and whole round differently; both must
    # stay equally close to the exact network.
    exact = enlarge(float_model, portrait, None)
    whole = np.abs(enlarge("face_x4", portrait, None) - exact)
    tiled = np.abs(enlarge("face_x4", portrait, 64, 31) - exact)
    assert tiled.mean() < 1.1 * whole.mean()
    assert tiled.max() <= whole.max() + 1


def test_a_file_goes_to_a_file_with_its_metadata(predictor, portrait, tmp_path):
    exif = Image.Exif()
    exif[0x0110] = "camera"
    Image.fromarray(portrait[:24, :32]).save(tmp_path / "in.jpg", exif=exif, quality=100)
    out = predictor.predict(tmp_path / "in.jpg", tmp_path / "out.png")
    with Image.open(out) as image:
        assert image.size == (128, 96)
        assert image.getexif()[0x0110] == "camera"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff", "deep.png"])
@pytest.mark.parametrize("camera", ["", "Camera 7"])
def test_files_say_that_they_are_enhanced_and_by_what(predictor, portrait, tmp_path, name, camera):
    pixels, exif = portrait[:8, :8], Image.Exif()
    if camera:
        exif[0x0131] = camera
    if name == "deep.png":
        write_image(tmp_path / "in.png", Picture(pixels.astype(np.uint16) * 257, exif=exif.tobytes()))
    else:
        Image.fromarray(pixels).save(tmp_path / "in.png", exif=exif)
    sha256 = pretrained.card("face_x4").sha256["face_x4.tflite"][:12]
    said = f"keras_fsr {keras_fsr.__version__}: AI-enhanced, 4 times, by face_x4:{sha256}"
    with Image.open(predictor.predict(tmp_path / "in.png", tmp_path / name)) as result:
        assert result.getexif()[0x0131] == (f"{camera}; {said}" if camera else said)
        if name == "a.png":
            assert result.info["Software"] == said
    bare = Predictor("face_x4", tag=False).predict(tmp_path / "in.png", tmp_path / f"bare_{name}")
    assert b"AI-enhanced" not in bare.read_bytes()
    with Image.open(bare) as result:
        assert result.getexif().get(0x0131, "") == camera


def test_label_tells_models_apart():
    given = [("face_x4_gan", None, None, False), ("face_x4_gan", 0.5, None, False)]
    given += [("/a/m.tflite", 0.25, "/b/f.tflite", True), ("/a/\udce9.tflite", None, None, False)]
    assert [label_of(*arguments, "0123456789abcdef") for arguments in given] == [
        "face_x4_gan:0123456789ab",
        "face_x4_gan@0.5:0123456789ab",
        "m.tflite@0.25+f.tflite+ensemble:0123456789ab",
        "?.tflite:0123456789ab",
    ]


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_the_name_of_a_model_need_not_be_text(portrait, tmp_path, name):
    model = tmp_path / os.fsdecode(b"\xe9.tflite")
    model.symlink_to(pretrained.weights("face_x4"))
    Image.fromarray(portrait[:8, :8]).save(tmp_path / "in.png")
    with Image.open(Predictor(model).predict(tmp_path / "in.png", tmp_path / name)) as result:
        assert "by ?.tflite:" in result.getexif()[0x0131]


def test_a_file_without_output_gives_the_array(predictor, portrait, tmp_path):
    Image.fromarray(portrait[:20, :20]).save(tmp_path / "in.png")
    from_file = predictor.predict(tmp_path / "in.png")
    assert np.array_equal(from_file, predictor.predict(portrait[:20, :20]))


def test_a_folder_keeps_its_tree_and_reports_bad_files(predictor, portrait, tmp_path):
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    Image.fromarray(portrait[:8, :8]).save(source / "a.png")
    Image.fromarray(portrait[:8, :9]).save(source / "sub" / "b.jpg")
    (source / "bad.png").write_text("text")
    seen = []
    report = predictor.predict(source, tmp_path / "out", lambda done, total: seen.append((done, total)))
    assert report.written == [tmp_path / "out" / "a.png", tmp_path / "out" / "sub" / "b.jpg"]
    assert [path.name for path, _ in report.failed] == ["bad.png"]
    assert seen[-1] == (3, 3)
    assert Image.open(tmp_path / "out" / "sub" / "b.jpg").size == (36, 32)


def test_equal_names_in_a_folder_do_not_overwrite_each_other(predictor, portrait, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(portrait[:8, :8]).save(source / "a.png")
    Image.fromarray(portrait[:8, :9]).save(source / "a.jpg")
    report = predictor.predict(source, tmp_path / "out")
    assert len(set(report.written)) == 2
    assert all(path.is_file() for path in report.written)


def test_an_input_is_never_overwritten(predictor, portrait, tmp_path):
    path = tmp_path / "in.png"
    Image.fromarray(portrait[:8, :8]).save(path)
    before = path.read_bytes()
    with pytest.raises(ImageError, match="is the input itself"):
        predictor.predict(path, path)
    assert path.read_bytes() == before


def test_an_empty_folder_and_an_unknown_model_are_refused(predictor, tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        predictor.predict(tmp_path, tmp_path / "out")
    with pytest.raises(ModelError, match="shipped are .*face_x4"):
        Predictor("face_x5")


def test_the_limit_on_pixels_holds(portrait, tmp_path):
    Image.fromarray(portrait[:20, :20]).save(tmp_path / "in.png")
    with pytest.raises(ImageError, match="limit of 399"):
        Predictor("face_x4", max_pixels=399).predict(tmp_path / "in.png")


class Enlarge:
    """A stand-in for a network: nearest enlargement, but darker to the right of each pixel."""

    scale = 2

    def __call__(self, image):
        out = image.repeat(2, 0).repeat(2, 1)
        out[:, 1::2] *= 0.5
        return out


def test_ensemble_is_the_mean_over_flips_and_turns():
    image = np.random.default_rng(0).random((4, 6, 3), dtype=np.float32)
    out = SelfEnsemble(Enlarge())(image)
    # Over the eight views the dark side falls on each of a pixel's four sides twice: 0.75 everywhere.
    np.testing.assert_allclose(out, 0.75 * image.repeat(2, 0).repeat(2, 1), rtol=1e-6)
