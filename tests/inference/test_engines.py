"""Engines: what they refuse, and that the light one stays light."""

import subprocess
import sys

import numpy as np
import pytest

from keras_fsr import pretrained
from keras_fsr.errors import FSRError, ModelError
from keras_fsr.inference.engines import (
    LiteRTEngine,
    check_type,
    dequantized,
    load_engine,
    quantized,
)
from keras_fsr.inference.predictor import Predictor

MODEL = pretrained.FOLDER / "face_x4.tflite"


def test_another_backend_of_keras_is_told(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(FSRError, match="KERAS_BACKEND=torch: only tensorflow runs here; unset it"):
        load_engine(MODEL.with_suffix(".keras"))


def test_shapes_may_change_from_call_to_call():
    engine = LiteRTEngine(MODEL)
    draw = np.random.default_rng(0)
    first = draw.random((12, 20, 3), dtype=np.float32)
    before = engine(first).copy()
    assert engine(draw.random((7, 5, 3), dtype=np.float32)).shape == (28, 20, 3)
    assert np.array_equal(engine(first), before)


def test_tflite_needs_no_tensorflow():
    code = (
        "import sys, numpy as np\n"
        "from keras_fsr import Predictor\n"
        "Predictor('face_x4').predict(np.zeros((8, 8, 3), np.uint8))\n"
        "print({'tensorflow', 'keras', 'yaml', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert done.stderr == "", "the runtime must not chatter"


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x1c\x00\x00\x00TFL3" + b"\x00" * 100])
@pytest.mark.parametrize("suffix", [".tflite", ".keras"])
def test_a_damaged_model_file_is_named_in_one_line(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"bad{suffix}") as caught:
        load_engine(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_model_file_is_refused(tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(MODEL.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="cut.tflite"):
        load_engine(path)


def test_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        load_engine(tmp_path / "none.tflite")
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="neither"):
        load_engine(tmp_path / "model.bin")


def test_a_keras_model_that_does_not_enlarge_is_refused(tmp_path):
    keras = pytest.importorskip("keras")
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(5, 3)(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match="not a super-resolution model"):
        load_engine(tmp_path / "other.keras")


def tensor(dtype, scale, zero_point) -> dict:
    """An input or output as LiteRT describes it."""
    return {"name": "pixels", "dtype": dtype, "quantization": (scale, zero_point)}


def test_integers_are_those_of_scale_and_zero_point():
    image = np.array([0.0, 0.1, 0.5, 1.0, 2.0], np.float32)
    # By hand: round(value / 0.004) + 10 or - 100, limited to the type.
    levels = quantized(image, tensor(np.uint8, 0.004, 10))
    np.testing.assert_array_equal(levels, np.array([10, 35, 135, 255, 255], np.uint8))
    assert levels.dtype == np.uint8
    signed = quantized(image, tensor(np.int8, 0.01, -100))
    np.testing.assert_array_equal(signed, np.array([-100, -90, -50, 0, 100], np.int8))
    assert signed.dtype == np.int8
    np.testing.assert_allclose(dequantized(signed, tensor(np.int8, 0.01, -100)), [0, 0.1, 0.5, 1, 2], atol=1e-6)
    values = dequantized(np.array([5, 10, 255], np.uint8), tensor(np.uint8, 0.004, 10))
    np.testing.assert_allclose(values, [-0.02, 0.0, 0.98], atol=1e-6)
    assert values.dtype == np.float32
    assert quantized(image, tensor(np.float32, 0.0, 0)) is image
    assert dequantized(image, tensor(np.float32, 0.0, 0)) is image


@pytest.mark.parametrize(("dtype", "scale"), [(np.int16, 0.1), (np.int32, 0.1), (np.uint8, 0.0), (np.int8, 0.0)])
def test_tensors_without_a_scale_or_of_other_types_are_refused(dtype, scale):
    with pytest.raises(
        ValueError, match=f"its pixels is {np.dtype(dtype).name}, neither float32 nor 8-bit with a scale"
    ):
        check_type(tensor(dtype, scale, 0))


@pytest.fixture(scope="module")
def repeater(tmp_path_factory):
    """Writes files of a network that repeats its input 4 times, for one size or pixels, at odd scales if wanted."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow converts")

    def write(size=None, greatest=None):
        def repeat(x):
            x = x if greatest is None else tf.quantization.fake_quant_with_min_max_args(x, -0.1, greatest)
            return tf.nn.depth_to_space(tf.concat([x] * 16, axis=-1), 4)

        signature = tf.TensorSpec((1, *(size or (None, None)), 3), tf.float32)
        function = tf.function(repeat, input_signature=[signature]).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        if greatest is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: [[np.ones((1, 16, 16, 3), np.float32)]]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        path = tmp_path_factory.mktemp("repeater") / "m.tflite"
        path.write_bytes(converter.convert())
        return path

    return write


def test_file_of_pixels_at_an_odd_scale_gives_the_image_back(repeater):
    engine = LiteRTEngine(repeater(greatest=1.1))
    assert engine.scale == 4
    (end,) = engine._interpreter.get_input_details()
    assert end["dtype"] == np.uint8
    assert end["quantization"] == (pytest.approx(1.2 / 255), 21)
    image = np.random.default_rng(0).random((7, 9, 3), dtype=np.float32)
    np.testing.assert_allclose(engine(image), image.repeat(4, 0).repeat(4, 1), atol=0.6 / 255 * 1.2)


def test_file_of_one_size_takes_smaller_images_and_no_larger_ones(repeater):
    engine = LiteRTEngine(repeater(size=(20, 32)))
    assert (engine.size, engine.scale) == ((20, 32), 4)
    for shape in ((20, 32, 3), (7, 32, 3), (3, 2, 3)):
        image = np.random.default_rng(0).random(shape, dtype=np.float32)
        np.testing.assert_array_equal(engine(image), image.repeat(4, 0).repeat(4, 1))
    for shape in ((21, 32, 3), (20, 33, 3)):
        with pytest.raises(
            ModelError, match=f"made for 32x20 pixels, not for {shape[1]}x{shape[0]}; use a smaller tile"
        ):
            engine(np.zeros(shape, np.float32))


@pytest.mark.parametrize("tile", [None, 256, 12])
@pytest.mark.parametrize("shape", [(5, 70, 3), (16, 48, 3), (61, 40, 3)])
def test_predictor_cuts_images_to_the_size_of_a_file(repeater, tile, shape):
    predictor = Predictor(repeater(size=(16, 48)), tile=tile, overlap=4, ensemble=shape[0] == 5)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(predictor.predict(image), image.repeat(4, 0).repeat(4, 1))
