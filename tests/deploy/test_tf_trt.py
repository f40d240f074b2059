"""Export to TF-TRT around a stand-in for TensorFlow's converter, which current TensorFlow has without TensorRT."""

import inspect
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.deploy import tf_trt
from keras_fsr.deploy.tf_trt import export_tf_trt
from keras_fsr.errors import DataError, ModelError, OutputError
from keras_fsr.generators.edge import Edge

SCRIPT = Path(__file__).parents[2] / "export/tf_trt.py"


@pytest.fixture(scope="module")
def model():
    import keras

    keras.utils.set_random_seed(0)
    model = Edge(2, num_features=16, num_blocks=1, reparameterized=True)
    for weight in model.get_layer("conv_last").weights:
        weight.assign(np.random.default_rng(0).normal(0, 0.05, weight.shape))
    return model


@pytest.fixture
def converters(monkeypatch):
    """The stand-ins that were made; they take what TensorFlow's converter takes, and copy the SavedModel."""
    import tensorflow as tf

    real = tf.experimental.tensorrt.Converter
    made = []

    class StandIn:
        def __init__(self, **arguments):
            inspect.signature(real.__init__).bind(self, **arguments)
            self.arguments, self.calibrated, self.built = arguments, [], []
            made.append(self)

        def convert(self, **arguments):
            inspect.signature(real.convert).bind(self, **arguments)
            # TensorFlow's own rule
            assert bool(arguments["calibration_input_fn"]) == (self.arguments["precision_mode"] == "INT8")
            self.run = tf.saved_model.load(self.arguments["input_saved_model_dir"]).signatures["serving_default"]
            for inputs in (arguments["calibration_input_fn"] or list)():
                self.calibrated.append(inputs)

        def build(self, **arguments):
            inspect.signature(real.build).bind(self, **arguments)
            for (images,) in arguments["input_fn"]():
                (result,) = self.run(tf.constant(images)).values()
                self.built.append((images.shape, tuple(result.shape)))

        def save(self, folder):
            shutil.copytree(self.arguments["input_saved_model_dir"], folder)

    monkeypatch.setattr(tf.experimental.tensorrt, "Converter", StandIn)
    return made


def test_saved_model_does_what_keras_does(model, tmp_path, converters):
    import tensorflow as tf

    folder = export_tf_trt(model, tmp_path / "new" / "trt")
    (converter,) = converters
    assert converter.arguments["precision_mode"] == "FP16"
    assert converter.arguments["use_dynamic_shape"]
    assert converter.built == [((1, s, s, 3), (1, 2 * s, 2 * s, 3)) for s in (16, 512)]
    images = np.random.default_rng(1).random((1, 19, 33, 3), np.float32)
    saved = tf.saved_model.load(str(folder))
    assert len(saved.variables) == 8  # kernels and biases of the plain network
    (found,) = saved.signatures["serving_default"](lr=images).values()
    np.testing.assert_allclose(found, model(images), atol=1e-5)
    assert [path.name for path in folder.parent.iterdir()] == ["trt"]


def test_int8_is_calibrated_with_the_middle_of_each_image(model, tmp_path, converters, save_image):
    large = np.random.default_rng(0).integers(0, 256, (70, 101, 3), np.uint8)
    small = np.random.default_rng(1).integers(0, 256, (40, 64, 3), np.uint8)
    save_image("images/a.png", large)
    save_image("images/b.png", small)
    export_tf_trt(model, tmp_path / "trt", "int8", tmp_path / "images")
    (converter,) = converters
    (first,), (second,) = converter.calibrated
    assert first.dtype == np.float32
    np.testing.assert_allclose(first[0], large[3:67, 18:82] / 255, atol=1e-6)
    np.testing.assert_allclose(second[0], np.concatenate([small, small[:15:-1]]) / 255, atol=1e-6)


def test_no_more_images_are_read_than_needed(model, tmp_path, converters, save_image, monkeypatch):
    monkeypatch.setattr(tf_trt, "CALIBRATION_IMAGES", 2)
    for i in range(3):
        save_image(f"images/{i}.png", np.full((64, 64, 3), i, np.uint8))
    export_tf_trt(model, tmp_path / "trt", "int8", tmp_path / "images")
    assert len(converters[0].calibrated) == 2


def test_failed_conversion_is_one_line_and_leaves_nothing(model, tmp_path, converters, monkeypatch):
    def fail(*_, **__):
        raise ValueError("Specified device is not a GPU\nand more")

    import tensorflow as tf

    monkeypatch.setattr(tf.experimental.tensorrt.Converter, "build", fail)
    with pytest.raises(ModelError, match=r"TensorRT cannot convert it \(Specified device is not a GPU\)$"):
        export_tf_trt(model, tmp_path / "trt")
    assert not list(tmp_path.iterdir())


def test_full_disk_is_one_line_and_leaves_nothing(model, tmp_path, converters, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    import tensorflow as tf

    monkeypatch.setattr(tf.experimental.tensorrt.Converter, "save", fail)
    with pytest.raises(OutputError, match=r"trt: cannot be written \(No space left on device\)"):
        export_tf_trt(model, tmp_path / "trt")
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_refused(model, tmp_path, converters):
    with pytest.raises(ModelError, match="'int4'.*fp32, fp16, int8"):
        export_tf_trt(model, tmp_path / "trt", "int4")
    with pytest.raises(ModelError, match="^int8: .*folder of images"):
        export_tf_trt(model, tmp_path / "trt", "int8")
    with pytest.raises(ModelError, match="^fp32: .*take none"):
        export_tf_trt(model, tmp_path / "trt", "fp32", tmp_path)
    with pytest.raises(ModelError, match="exists already"):
        export_tf_trt(model, tmp_path)
    with pytest.raises(DataError, match="holds no image"):
        export_tf_trt(model, tmp_path / "trt", "int8", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        export_tf_trt(model, tmp_path / "file" / "trt")
    assert not converters


def test_without_tensorrt_the_script_says_in_one_line_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["tf_trt.py", "--model", str(tmp_path / "none.keras"), "-o", str(tmp_path / "t")]
    )
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("tensorflow 2.17 (Linux, CUDA)", "nvcr.io/nvidia/tensorflow:", "export/to_onnx.py"):
        assert part in line
    assert not list(tmp_path.iterdir())
