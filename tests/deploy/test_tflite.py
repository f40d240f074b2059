"""Export to TFLite: the exported file does what the Keras model does, at any size."""

import numpy as np
import pytest

from keras_fsr.deploy.tflite import MODES, export_tflite
from keras_fsr.errors import ModelError
from keras_fsr.generators.rrdb import RRDB
from keras_fsr.inference.engines import KerasEngine, LiteRTEngine


@pytest.fixture(scope="module")
def model():
    import keras

    keras.utils.set_random_seed(0)
    model = RRDB(4, num_features=16, growth_channels=8, num_blocks=1, hardware=True, activation="relu", anchor=True)
    last = model.get_layer("conv_last")
    kernel, bias = last.get_weights()
    last.set_weights([np.random.default_rng(0).normal(0, 0.02, kernel.shape), bias])
    return model


@pytest.mark.parametrize(("mode", "tolerance"), [("none", 1e-5), ("float16", 2e-3), ("dynamic", 2e-2)])
def test_exported_equals_keras_at_two_sizes(model, tmp_path, mode, tolerance):
    exported = LiteRTEngine(export_tflite(model, tmp_path / "m.tflite", mode))
    reference = KerasEngine(model)
    assert exported.scale == reference.scale == 4
    for shape in ((16, 16, 3), (19, 33, 3)):
        image = np.random.default_rng(1).random(shape, dtype=np.float32)
        np.testing.assert_allclose(exported(image), reference(image), atol=tolerance)


def test_smaller_arithmetic_makes_smaller_files(model, tmp_path):
    sizes = {mode: export_tflite(model, tmp_path / f"{mode}.tflite", mode).stat().st_size for mode in MODES}
    assert sizes["dynamic"] < sizes["float16"] < sizes["none"]


def test_only_own_operations_are_used(model, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    path = export_tflite(model, tmp_path / "m.tflite")
    names = {op["op_name"] for op in Interpreter(str(path))._get_ops_details()}
    assert {"CONV_2D", "DEPTH_TO_SPACE"} <= names
    assert not any(name.startswith("Flex") for name in names)


def test_unknown_mode_and_missing_model_are_refused(model, tmp_path):
    with pytest.raises(ModelError, match="int3"):
        export_tflite(model, tmp_path / "m.tflite", "int3")
    with pytest.raises(ModelError, match="none.keras"):
        export_tflite(tmp_path / "none.keras", tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [1, 2])
def test_generators_that_unshuffle_take_any_size_through_the_predictor(tmp_path, scale):
    from keras_fsr.inference.predictor import Predictor

    network = RRDB(scale, num_features=8, growth_channels=4, num_blocks=1, anchor=True)
    network.save(tmp_path / "m.keras")
    image = np.random.default_rng(0).integers(0, 256, (13, 9, 3), np.uint8)
    out = Predictor(tmp_path / "m.keras").predict(image)
    # A fresh anchored network returns the nearest enlargement.
    assert np.array_equal(out, image.repeat(scale, 0).repeat(scale, 1))
