"""Export to TFLite: the exported file does what the Keras model does, in every mode, or is not there."""

import json

import numpy as np
import pytest

from keras_fsr.deploy import verify
from keras_fsr.deploy.form import FLOAT_MODES, Form
from keras_fsr.deploy.metadata import read_metadata
from keras_fsr.deploy.operations import count_operations, operations
from keras_fsr.deploy.tflite import export, export_tflite
from keras_fsr.errors import DataError, ModelError
from keras_fsr.inference.engines import KerasEngine, LiteRTEngine


@pytest.mark.parametrize(("mode", "tolerance"), [("none", 1e-5), ("float16", 2e-3), ("dynamic", 2e-2)])
def test_exported_equals_keras_at_two_sizes(rrdb, tmp_path, mode, tolerance):
    exported = LiteRTEngine(export_tflite(rrdb, tmp_path / "m.tflite", mode))
    reference = KerasEngine(rrdb)
    assert exported.scale == reference.scale == 4
    assert exported.size is None
    for shape in ((16, 16, 3), (19, 33, 3)):
        image = np.random.default_rng(1).random(shape, dtype=np.float32)
        np.testing.assert_allclose(exported(image), reference(image), atol=tolerance)


def test_smaller_arithmetic_makes_smaller_files(rrdb, tmp_path):
    sizes = {mode: export_tflite(rrdb, tmp_path / f"{mode}.tflite", mode).stat().st_size for mode in FLOAT_MODES}
    assert sizes["dynamic"] < sizes["float16"] < sizes["none"]


def test_wide_network_is_folded_and_compared_with_what_was_trained(edge, tmp_path):
    report = export(edge, tmp_path / "m.tflite", Form("none"))
    # Golden: conv_first, two of the trunk, conv_image, conv_last; two joins of four for x4.
    assert report.operations["CONV_2D"] == 5
    assert report.operations["CONCATENATION"] == 2
    assert set(report.operations) <= {"CONV_2D", "CONCATENATION", "ADD", "MINIMUM", "RELU", "DEPTH_TO_SPACE"}
    assert 0 < report.largest_difference < 1e-5
    assert report.partitions == 1
    assert report.psnr_y_loss == pytest.approx(0, abs=1e-3)
    assert read_metadata(tmp_path / "m.tflite")["architecture"]["reparameterized"] is False


@pytest.mark.parametrize("network", ["edge", "rrdb"])
def test_int8_is_one_partition_of_int8_kernels_for_pixels(network, many_faces, tmp_path, request):
    model = request.getfixturevalue(network)
    report = export(model, tmp_path / "m.tflite", Form("int8", images=many_faces))
    assert report.partitions == 1
    assert report.operations["QUANTIZE"] == 2  # uint8 to int8 and back
    assert not {"DEQUANTIZE", "MINIMUM", "RELU"} & set(report.operations)
    assert all(types <= {"INT8", "UINT8", "INT32"} for _, types in operations(tmp_path / "m.tflite"))

    (source,), (target,) = ends(tmp_path / "m.tflite")
    for end in (source, target):  # pixels as they are
        assert end["dtype"] == np.uint8
        assert end["quantization"] == (pytest.approx(1 / 255), 0)
    image = np.random.default_rng(3).random((20, 28, 3), dtype=np.float32)
    exported, reference = LiteRTEngine(tmp_path / "m.tflite")(image), np.clip(KerasEngine(model)(image), 0, 1)
    assert np.abs(exported - reference).mean() < 0.02
    assert np.corrcoef(exported.ravel(), reference.ravel())[0, 1] > 0.99


def ends(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    return interpreter.get_input_details(), interpreter.get_output_details()


def test_int8_takes_floats_where_that_is_asked_for(edge, many_faces, tmp_path):
    report = export(edge, tmp_path / "m.tflite", Form("int8", images=many_faces, io_type="float"))
    (source,), (target,) = ends(tmp_path / "m.tflite")
    assert source["dtype"] == target["dtype"] == np.float32
    assert report.operations["QUANTIZE"] == report.operations["DEQUANTIZE"] == 1


@pytest.mark.parametrize("mode", ["none", "int8"])
def test_fixed_size_is_the_files_only_size(edge, many_faces, tmp_path, mode):
    images = many_faces if mode == "int8" else None
    report = export(edge, tmp_path / "m.tflite", Form(mode, size=(24, 40), images=images))
    engine = LiteRTEngine(tmp_path / "m.tflite")
    assert engine.size == (24, 40)
    assert report.timed == "40x24 pixels"
    assert report.partitions == 1
    image = np.random.default_rng(3).random((24, 40, 3), dtype=np.float32)
    np.testing.assert_allclose(engine(image), KerasEngine(edge)(image), atol=1e-5 if mode == "none" else 0.1)


def test_report_lies_beside_the_file(edge, tmp_path):
    report = export(edge, tmp_path / "m.tflite", Form("none"))
    saved = json.loads((tmp_path / "m.tflite.report.json").read_text())
    assert saved["file"] == str(tmp_path / "m.tflite")
    assert saved["size"] == (tmp_path / "m.tflite").stat().st_size == report.size
    assert saved["operations"] == count_operations(tmp_path / "m.tflite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.tflite", "m.tflite.report.json"]


def test_file_that_fails_takes_nobodys_place(edge, tmp_path, monkeypatch):
    (tmp_path / "m.tflite").write_bytes(b"the file of before")
    monkeypatch.setitem(verify.TOLERANCES, "float16", ("largest_difference", 1e-9))
    with pytest.raises(
        ModelError, match=r"m.tflite: differs by .* astronaut .*, more than the 1e-09 that float16 may"
    ):
        export(edge, tmp_path / "m.tflite", Form("float16"))
    assert (tmp_path / "m.tflite").read_bytes() == b"the file of before"
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_unverified_export_has_no_report(edge, tmp_path):
    assert export(edge, tmp_path / "m.tflite", Form("none"), verified=False) is None
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_compared_is_on_the_images_that_were_given(edge, faces, tmp_path):
    report = export(edge, tmp_path / "m.tflite", Form("none", images=faces))
    assert report.images == f"{faces} (9 of up to 64x64 LR pixels)"


def test_bad_requests_are_refused_before_anything_is_written(edge, faces, tmp_path):
    with pytest.raises(ModelError, match="int3"):
        export_tflite(edge, tmp_path / "m.tflite", "int3")
    with pytest.raises(ModelError, match=r"m.bin: a TFLite file ends in .tflite"):
        export_tflite(edge, tmp_path / "m.bin")
    with pytest.raises(ModelError, match="none.keras"):
        export_tflite(tmp_path / "none.keras", tmp_path / "m.tflite")
    with pytest.raises(DataError, match="has 9 calibration patches of 48x48 LR pixels, 32 are needed"):
        export(edge, tmp_path / "m.tflite", Form("int8", images=faces))
    assert not list(tmp_path.iterdir())


def test_layer_that_tflite_lacks_is_named(tmp_path):
    import keras
    import tensorflow as tf

    class Strange(keras.layers.Layer):
        def call(self, x):
            return tf.linalg.matmul(tf.math.erfinv(x * 0.5), tf.eye(3))

    inputs = keras.Input((None, None, 3))
    with pytest.raises(ModelError, match="needs the operation Erfinv, which is no TFLite builtin") as caught:
        export_tflite(keras.Model(inputs, Strange()(inputs)), tmp_path / "m.tflite", "none")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [1, 2])
def test_generators_that_unshuffle_take_any_size_through_the_predictor(tmp_path, scale):
    from keras_fsr.generators.rrdb import RRDB
    from keras_fsr.inference.predictor import Predictor

    network = RRDB(scale, num_features=8, growth_channels=4, num_blocks=1, anchor=True)
    network.save(tmp_path / "m.keras")
    image = np.random.default_rng(0).integers(0, 256, (13, 9, 3), np.uint8)
    out = Predictor(tmp_path / "m.keras").predict(image)
    # A fresh anchored network returns the nearest enlargement.
    assert np.array_equal(out, image.repeat(scale, 0).repeat(scale, 1))


def test_command_prints_the_table(edge, tmp_path, capsys):
    from keras_fsr.cli import main

    edge.save(tmp_path / "small.keras")
    out = tmp_path / "m.tflite"
    assert (
        main(["export", "tflite", "--model", str(tmp_path / "small.keras"), "--quantize", "none", "-o", str(out)])
        == 0
    )
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith(f"file        {out}, ")
    assert "XNNPACK     1 partition\n" in printed
    assert read_metadata(out)["name"] == "small"


def test_command_refuses_in_one_line(tmp_path, capsys):
    from keras_fsr.cli import main

    assert main(["export", "tflite", "--quantize", "int8", "-o", str(tmp_path / "m.tflite")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "keras-fsr: error: int8 needs images; name a folder of HR images (--calibration, for qat --data)"
    ]
