"""Metadata of a file: they are in it, and nothing else of it changes."""

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_fsr
from keras_fsr import pretrained
from keras_fsr.deploy.fixed_size import fix_size
from keras_fsr.deploy.form import Form
from keras_fsr.deploy.metadata import BUFFER, ends_of, read_metadata, write_metadata
from keras_fsr.deploy.packing import ALIGNMENT, packed, unpacked
from keras_fsr.deploy.tflite import export, export_tflite
from keras_fsr.errors import ModelError
from keras_fsr.inference.engines import LiteRTEngine
from keras_fsr.inference.tflite_file import TFLiteFile, dequantized, is_quantized

SURROGATE = rb'{"name": "\ud800", "scale": 4, "quantization": "none"}'
FACTS = {"name": "face", "scale": 4, "quantization": "none", "author": "Zoë"}


def raw(path):
    return schema.ModelT.InitFromPackedBuf(path.read_bytes())


def copy_of_shipped(tmp_path):
    """face_x4.tflite: its weights lie behind the tables, others within."""
    path = tmp_path / "m.tflite"
    path.write_bytes((pretrained.FOLDER / "face_x4.tflite").read_bytes())
    return path


def test_written_metadata_are_read_and_the_file_computes_the_same(tmp_path):
    path = copy_of_shipped(tmp_path)
    image = np.random.default_rng(0).random((12, 20, 3), dtype=np.float32)
    before, graph = LiteRTEngine(path)(image), list(TFLiteFile(path).graph())
    write_metadata(path, FACTS)
    assert read_metadata(path) == FACTS
    np.testing.assert_array_equal(LiteRTEngine(path)(image), before)
    assert list(TFLiteFile(path).graph()) == graph
    assert raw(path).description == b"face x4, none, keras_fsr"


def test_metadata_of_others_stay_and_our_own_are_replaced(tmp_path):
    path = copy_of_shipped(tmp_path)
    others = {entry.name for entry in raw(path).metadata} - {BUFFER.encode()}
    assert b"min_runtime_version" in others
    for name in ("first", "second"):
        write_metadata(path, FACTS | {"name": name})
    assert read_metadata(path)["name"] == "second"
    model = raw(path)
    assert sorted(entry.name for entry in model.metadata) == sorted([*others, BUFFER.encode()])
    for entry in model.metadata:  # within the tables, where every reader looks
        assert len(model.buffers[entry.buffer].data) > 0


def test_constants_are_aligned_and_can_be_overwritten(tmp_path):
    path = copy_of_shipped(tmp_path)
    original = TFLiteFile(path)
    weights = [
        dequantized(original.data(t), t) for t in original.tensors() if is_quantized(t) and original.data(t).size
    ]
    write_metadata(path, FACTS)
    file = TFLiteFile(path)
    constants = [t for t in file.tensors() if is_quantized(t) and file.data(t).size]
    for tensor, expected in zip(constants, weights, strict=True):
        np.testing.assert_array_equal(dequantized(file.data(tensor), tensor), expected)
    outside = [buffer.offset for buffer in raw(path).buffers if buffer.offset]
    assert len(outside) > len(constants)
    assert all(offset % ALIGNMENT == 0 for offset in outside)
    scales = [tensor.quantization.scale for tensor in constants]
    LiteRTEngine("patched", content=file.overwritten([(scale, scale * np.float32(2)) for scale in scales]))


def test_file_without_metadata_has_none(tmp_path):
    path = copy_of_shipped(tmp_path)
    model = raw(path)
    model.metadata = [entry for entry in model.metadata if entry.name != BUFFER.encode()]
    path.write_bytes(packed(model, [TFLiteFile(path).bytes_of(buffer) for buffer in model.buffers]))
    assert read_metadata(path) == {}


def test_damaged_metadata_and_other_files_are_told(tmp_path):
    path = copy_of_shipped(tmp_path)
    write_metadata(path, FACTS)
    path.write_bytes(path.read_bytes().replace(b'"name"', b'"name '))
    with pytest.raises(ModelError, match=r"m.tflite: its metadata are damaged"):
        read_metadata(path)
    with pytest.raises(ModelError, match=r"none.tflite: no such model file"):
        read_metadata(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"[" * 200_000, b"[1]", b"[]", b'{"a": 1}', SURROGATE, None])
def test_metadata_of_another_form_are_damaged(tmp_path, content):
    path = copy_of_shipped(tmp_path)
    write_metadata(path, FACTS)
    model, constants = unpacked(path)
    entry = next(entry for entry in model.metadata if entry.name == BUFFER.encode())
    if content is None:
        entry.buffer = 9999
    else:
        constants[entry.buffer] = np.frombuffer(content, np.uint8)
    path.write_bytes(packed(model, constants))
    with pytest.raises(ModelError, match=r"m.tflite: its metadata are damaged"):
        read_metadata(path)
    with pytest.raises(ModelError, match=r"m.tflite: its metadata are damaged"):
        fix_size(path, tmp_path / "fixed.tflite", (16, 16))


def test_tensors_need_no_name(tmp_path):
    path = copy_of_shipped(tmp_path)
    model, constants = unpacked(path)
    (graph,) = model.subgraphs
    graph.tensors[graph.inputs[0]].name = None
    path.write_bytes(packed(model, constants))
    assert ends_of(path)["input"]["name"] == ""


def test_export_states_the_contract(edge, many_faces, tmp_path):
    edge.save(tmp_path / "phone.keras")
    form = Form("int8", images=many_faces, size=(24, 32))
    export(tmp_path / "phone.keras", tmp_path / "m.tflite", form, licence="MIT", author="Me")
    found = read_metadata(tmp_path / "m.tflite")
    pixels = {"type": "uint8", "range": [0, 255], "scale": pytest.approx(1 / 255), "zero_point": 0}
    assert found.pop("input").items() >= (pixels | {"shape": [1, 24, 32, 3]}).items()
    assert found.pop("output").items() >= (pixels | {"shape": [1, 96, 128, 3]}).items()
    assert "pixels / 255" in found.pop("normalisation")
    assert found == {
        "name": "phone",
        "version": keras_fsr.__version__,
        "architecture": {"class": "Edge", "scale": 4, "num_features": 16, "num_blocks": 2, "reparameterized": False},
        "scale": 4,
        "quantization": "int8",
        "channels": "RGB, NHWC, one image a call",
        "licence": "MIT",
        "author": "Me",
        "source": {"file": "phone.keras", "sha256": pretrained.digest(tmp_path / "phone.keras")},
    }


def test_any_size_is_minus_one_and_floats_have_no_scale(edge, tmp_path):
    found = read_metadata(export_tflite(edge, tmp_path / "m.tflite", "none"))
    assert found["input"]["shape"] == found["output"]["shape"] == [1, -1, -1, 3]
    assert found["input"]["type"] == "float32"
    assert found["input"]["range"] == [0, 1]
    assert "scale" not in found["input"]


def test_model_of_no_class_of_ours_states_no_graph(tmp_path):
    import keras

    from keras_fsr.layers import PixelShuffle

    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(12, 3, padding="same")(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    network = keras.Model(inputs, PixelShuffle(2)(x))
    found = read_metadata(export_tflite(network, tmp_path / "m.tflite", "dynamic"))
    assert found["architecture"]["class"] == "Functional"
    assert len(json.dumps(found)) < 2000
