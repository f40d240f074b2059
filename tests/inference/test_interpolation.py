"""Between two models: what interpolated files compute, what of them stays, and what is refused."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from keras_fsr import pretrained
from keras_fsr.errors import FSRError, ModelError
from keras_fsr.inference.engines import KerasEngine, LiteRTEngine
from keras_fsr.inference.interpolation import interpolate, interpolate_keras
from keras_fsr.inference.predictor import Predictor
from keras_fsr.inference.tflite_file import TFLiteFile, is_quantized, quantized

SHIPPED = pretrained.FOLDER / "face_x4.tflite"
TOLERANCE = {"none": 1e-5, "float16": 5e-4, "dynamic": 5e-3}


def network(seed=None, weights=None, **options):
    """A small network; all its weights are drawn, so that no two constants are equal and get merged in the export."""
    from keras_fsr.generators.rrdb import RRDB

    options = {"hardware": True, "activation": "relu", "anchor": True} | options
    model = RRDB(4, num_features=16, growth_channels=8, num_blocks=1, **options)
    draw = np.random.default_rng(seed)
    model.set_weights(weights or [draw.normal(0, 0.05, weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def models():
    """Two networks, and the one half-way."""
    first, second = network(seed=0), network(seed=1)
    assert first.name != second.name, "names that Keras makes up must not matter"
    halves = [0.5 * (a + b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True)]
    return {"fidelity": first, "perceptual": second, "half": network(weights=halves)}


@pytest.fixture(scope="module")
def exported(models, tmp_path_factory):
    """Their files: exported(mode, name)."""
    from keras_fsr.deploy.tflite import export_tflite

    folder = tmp_path_factory.mktemp("exported")

    def export(mode, name):
        path = folder / f"{name}_{mode}.tflite"
        return path if path.is_file() else export_tflite(models[name], path, mode)

    return export


@pytest.fixture
def image():
    return np.random.default_rng(2).random((19, 33, 3), dtype=np.float32)


def between(exported, mode, strength):
    content = interpolate(exported(mode, "fidelity"), exported(mode, "perceptual"), strength)
    return LiteRTEngine("between", content=content)


@pytest.mark.parametrize("mode", TOLERANCE)
def test_half_way_equals_the_network_of_averaged_weights(models, exported, image, mode):
    exact = KerasEngine(models["half"])(image)
    errors = np.abs(between(exported, mode, 0.5)(image) - exact)
    assert errors.max() < TOLERANCE[mode]
    # Two roundings of weights instead of one, which is sqrt(1.5) = 1.22 times the noise of one.
    at_best = np.abs(LiteRTEngine(exported(mode, "half"))(image) - exact)
    assert errors.mean() < 1.5 * at_best.mean() + 1e-7


@pytest.mark.parametrize("mode", TOLERANCE)
def test_the_ends_are_the_files_and_the_way_between_them_is_monotone(exported, image, mode):
    files = [exported(mode, name) for name in ("fidelity", "perceptual")]
    for strength in (0, 1, 0.0, 1.0):
        assert interpolate(*files, strength) == files[int(strength)].read_bytes()
    fidelity = LiteRTEngine(files[0])(image)
    distances = [np.abs(between(exported, mode, s)(image) - fidelity).mean() for s in (0, 0.2, 0.5, 0.8, 1)]
    assert distances[0] == 0
    assert all(nearer < farther for nearer, farther in pairwise(distances))


def test_the_shipped_model_with_itself_is_itself_byte_for_byte():
    assert interpolate(SHIPPED, SHIPPED, 0.3) == SHIPPED.read_bytes()


def test_scales_that_lie_behind_the_tables_are_interpolated(shipped_pair):
    # The shipped file's weights lie outside of the flatbuffer, a tiny file's inside. Read back by LiteRT itself.
    mixed = LiteRTEngine("mixed", content=interpolate(SHIPPED, shipped_pair / "face_x4_gan.tflite", 0.5))
    details = mixed._interpreter.get_tensor_details()
    before = LiteRTEngine(SHIPPED)._interpreter.get_tensor_details()
    weights = [i for i, tensor in enumerate(before) if tensor["dtype"] == np.int8 and "conv" in tensor["name"]]
    assert len(weights) > 40
    for i in weights:
        scales = [tensors[i]["quantization_parameters"]["scales"] for tensors in (before, details)]
        assert len(scales[0]) in (32, 64)
        np.testing.assert_allclose(scales[1], 1.05 * scales[0], rtol=1e-6)  # half of the fixture's 10 %


def test_strengths_outside_are_refused(exported):
    for strength in (-0.1, 1.01, float("nan")):
        with pytest.raises(FSRError, match=r"strength is .*; give 0 \(the fidelity model\) to 1"):
            interpolate(SHIPPED, SHIPPED, strength)


@pytest.mark.parametrize("other", [{"activation": "leaky_relu"}, {"anchor": False}, {"hardware": False}])
def test_different_networks_are_refused_at_any_strength(exported, tmp_path, other):
    from keras_fsr.deploy.tflite import export_tflite

    path = export_tflite(network(seed=1, **other), tmp_path / "other.tflite", "none")
    message = "fidelity_none.tflite and .*other.tflite: are different .*80 tensors and .*, the second with .*tensors"
    for strength in (0, 0.5, 1):
        with pytest.raises(ModelError, match=message):
            interpolate(exported("none", "fidelity"), path, strength)


def test_different_arithmetics_and_widths_are_refused(exported):
    with pytest.raises(
        ModelError, match=r"tensor \d+ .*FLOAT32 \[16, 3, 3, 16\].* INT8 \[16, 3, 3, 16\].*16 scales"
    ) as caught:
        interpolate(exported("none", "fidelity"), exported("dynamic", "perceptual"), 0.5)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="face_x4.tflite and .*: are different networks, the first with 204 tensors"):
        interpolate(SHIPPED, exported("dynamic", "perceptual"), 0.5)


def test_constants_that_are_no_weights_must_be_equal(tmp_path):
    import keras

    from keras_fsr.deploy.tflite import export_tflite
    from keras_fsr.layers import PixelShuffle

    paths = []
    for i, padding in enumerate([((1, 1), (1, 1)), ((0, 2), (2, 0))]):
        inputs = keras.Input((None, None, 3))
        padded = keras.layers.ZeroPadding2D(padding)(inputs)
        outputs = PixelShuffle(2)(keras.layers.Conv2D(12, 3, bias_initializer="random_normal")(padded))
        paths.append(export_tflite(keras.Model(inputs, outputs), tmp_path / f"{i}.tflite", "none"))
    interpolate(paths[0], paths[0], 0.5)
    with pytest.raises(ModelError, match=r"0.tflite and .*1.tflite: .* constant that is no weight \(.*, INT32\)"):
        interpolate(*paths, 0.5)


def test_damaged_and_missing_files_are_named_in_one_line(tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(SHIPPED.read_bytes()[:100_000])
    for path, message in ((cut, "cut.tflite: is not a"), (tmp_path / "none.tflite", "none.tflite: no such")):
        for pair in ((SHIPPED, path), (path, SHIPPED)):
            with pytest.raises(ModelError, match=message) as caught:
                interpolate(*pair, 0.5)
            assert "\n" not in str(caught.value)


def test_weights_that_share_a_place_must_agree():
    file = TFLiteFile(SHIPPED)
    scale = next(t.quantization.scale for t in file.tensors() if is_quantized(t) and file.data(t).size)
    assert file.overwritten([(scale, scale), (scale, scale)]) == file.content
    with pytest.raises(ModelError, match="share their bytes or scales"):
        file.overwritten([(scale, scale), (scale, scale + 1)])


def test_quantizing_uses_all_levels_of_each_channel():
    weights = np.array([[0.0, 0.0], [-2.54, 1.0], [0.3, -0.1]])
    levels, scales = quantized(weights, axis=0)
    np.testing.assert_allclose(scales, [1, 0.02, 0.3 / 127], rtol=1e-6)
    assert levels.tolist() == [[0, 0], [-127, 50], [127, -42]]
    levels, scales = quantized(weights, axis=None)
    np.testing.assert_allclose(scales, [0.02], rtol=1e-6)
    assert levels.tolist() == [[0, 0], [-127, 50], [15, -5]]


def test_keras_models_are_interpolated(models, image, tmp_path):
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    pair = [tmp_path / f"{name}.keras" for name in ("fidelity", "perceptual")]
    mixed = KerasEngine(interpolate_keras(*pair, 0.5))
    np.testing.assert_allclose(mixed(image), KerasEngine(models["half"])(image), atol=1e-5)
    for strength, path in enumerate(pair):
        assert np.array_equal(KerasEngine(interpolate_keras(*pair, strength))(image), KerasEngine(path)(image))
    predictor = Predictor(pair[1], strength=0.5, fidelity=pair[0])
    assert np.array_equal(predictor.engine(image), mixed(image))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"anchor": False}, "'anchor': True.*'anchor': False"),
        ({"activation": "leaky_relu"}, "'activation': 'relu'.*'activation': 'leaky_relu'"),
    ],
)
def test_different_keras_models_are_refused(models, tmp_path, other, difference):
    models["fidelity"].save(tmp_path / "a.keras")
    network(seed=1, **other).save(tmp_path / "b.keras")
    with pytest.raises(ModelError, match=f"a.keras and .*b.keras: are different networks.*{difference}"):
        interpolate_keras(tmp_path / "a.keras", tmp_path / "b.keras", 0.5)


def test_keras_models_are_compared_layer_by_layer(tmp_path):
    import keras

    for name, width in (("a", 8), ("b", 9)):
        inputs = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(width, 3, padding="same")(inputs)
        keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(x)).save(tmp_path / f"{name}.keras")
    with pytest.raises(ModelError, match=r"layer 1 a Conv2D of float32 \[3, 3, 3, 8\].*\[3, 3, 3, 9\]"):
        interpolate_keras(tmp_path / "a.keras", tmp_path / "b.keras", 0.5)


def test_without_keras_a_keras_model_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModelError, match="b.keras: a .keras model needs Keras; install the extra 'train'"):
        Predictor(tmp_path / "a.keras", strength=0.5, fidelity=tmp_path / "b.keras")


def test_a_shipped_model_knows_its_fidelity_model(shipped_pair, image):
    given = shipped_pair / "face_x4_gan.tflite"
    answers = [
        Predictor("face_x4_gan", strength=0.5).engine(image),
        Predictor(given, strength=0.5, fidelity="face_x4").engine(image),
        Predictor(given, strength=0.5, fidelity=SHIPPED).engine(image),
    ]
    ends = [Predictor(name).engine(image) for name in ("face_x4", "face_x4_gan")]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)
    assert not any(np.array_equal(answers[0], end) for end in ends)
    for strength, end in enumerate(ends):
        assert np.array_equal(Predictor("face_x4_gan", strength=strength).engine(image), end)


def test_what_cannot_be_interpolated_says_what_to_do(shipped_pair, tmp_path):
    gan = shipped_pair / "face_x4_gan.tflite"
    with pytest.raises(ModelError, match=r"face_x4: takes no strength.*use a perceptual model \(face_x4_gan\)"):
        Predictor("face_x4", strength=0.5)
    with pytest.raises(ModelError, match="face_x4_gan.tflite: a strength needs the fidelity model too"):
        Predictor(gan, strength=0.5)
    with pytest.raises(FSRError, match="without a strength; give one from 0 to 1"):
        Predictor(gan, fidelity=SHIPPED)
    with pytest.raises(ModelError, match="give two .tflite or two .keras files"):
        Predictor(gan, strength=0.5, fidelity=tmp_path / "a.keras")
    with pytest.raises(ModelError, match="no such model; shipped are face_x4, face_x4_gan"):
        Predictor(gan, strength=0.5, fidelity="face_x5")
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="model.bin: is neither"):
        Predictor(tmp_path / "model.bin", strength=0.5, fidelity=SHIPPED)


def test_interpolation_needs_no_tensorflow():
    code = (
        "import sys, numpy as np\n"
        "from keras_fsr import Predictor\n"
        f"model = Predictor({str(SHIPPED)!r}, strength=0.5, fidelity='face_x4')\n"
        "model.predict(np.zeros((8, 8, 3), np.uint8))\n"
        "print({'tensorflow', 'keras', 'yaml', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert done.stderr == ""
