"""One size for a file that takes any: it computes the same there, and nowhere else."""

import os

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from keras_fsr import pretrained
from keras_fsr.deploy.fixed_size import fix_size
from keras_fsr.deploy.form import Form
from keras_fsr.deploy.metadata import read_metadata
from keras_fsr.deploy.operations import count_operations
from keras_fsr.deploy.tflite import export
from keras_fsr.deploy.verify import count_partitions
from keras_fsr.errors import ModelError
from keras_fsr.inference.engines import LiteRTEngine


@pytest.fixture(scope="module")
def int8_file(edge, many_faces, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "any.tflite"
    export(edge, path, Form("int8", images=many_faces), verified=False)
    return path


def test_fixed_file_computes_the_same_for_its_size_alone(int8_file, tmp_path):
    path = fix_size(int8_file, tmp_path / "m.tflite", (24, 32))
    image = np.random.default_rng(1).random((24, 32, 3), dtype=np.float32)
    fixed = LiteRTEngine(path)
    assert fixed.size == (24, 32)
    np.testing.assert_array_equal(fixed(image), LiteRTEngine(int8_file)(image))
    assert count_operations(path) == count_operations(int8_file)
    assert count_partitions(path, (1, 24, 32, 3)) == 1


def test_no_tensor_is_left_of_any_size(int8_file, tmp_path):
    path = fix_size(int8_file, tmp_path / "m.tflite", (24, 32))
    (graph,) = schema.ModelT.InitFromPackedBuf(path.read_bytes()).subgraphs
    shapes = [list(tensor.shape) for tensor in graph.tensors if tensor.shape is not None]
    assert all(tensor.shapeSignature is None for tensor in graph.tensors)
    assert shapes[graph.inputs[0]] == [1, 24, 32, 3]
    assert shapes[graph.outputs[0]] == [1, 96, 128, 3]
    assert [1, 24, 32, 16] in shapes  # of the trunk


def test_metadata_tell_the_new_size_and_all_else_as_before(int8_file, tmp_path):
    before = read_metadata(int8_file)
    after = read_metadata(fix_size(int8_file, tmp_path / "m.tflite", (24, 32)))
    assert before["input"].pop("shape") == [1, -1, -1, 3]
    assert after["input"].pop("shape") == [1, 24, 32, 3]
    assert after["output"].pop("shape") == [1, 96, 128, 3]
    before["output"].pop("shape")
    assert after == before


def test_shipped_model_without_metadata_is_fixed_too(tmp_path):
    path = tmp_path / "m.tflite"
    assert fix_size("face_x4", path, (16, 20)) == path
    assert LiteRTEngine(path).size == (16, 20)
    assert read_metadata(path) == read_metadata(pretrained.weights("face_x4"))


def test_file_whose_name_is_no_text_is_fixed(tmp_path):
    source = tmp_path / os.fsdecode(b"\xe9.tflite")
    source.write_bytes(pretrained.weights("face_x4").read_bytes())
    assert LiteRTEngine(fix_size(source, tmp_path / "m.tflite", (16, 20))).size == (16, 20)


def test_what_cannot_be_fixed_is_refused_and_nothing_written(int8_file, tmp_path):
    with pytest.raises(ModelError, match="a size of 8x16 is too small"):
        fix_size(int8_file, tmp_path / "m.tflite", (8, 16))
    with pytest.raises(ModelError, match=r"m.bin: a TFLite file ends in .tflite"):
        fix_size(int8_file, tmp_path / "m.bin", (16, 16))
    with pytest.raises(ModelError, match=r"none.tflite: no such model file"):
        fix_size(tmp_path / "none.tflite", tmp_path / "m.tflite", (16, 16))
    (tmp_path / "text.tflite").write_text("no model")
    with pytest.raises(ModelError, match=r"text.tflite: is not a super-resolution model"):
        fix_size(tmp_path / "text.tflite", tmp_path / "m.tflite", (16, 16))
    fixed = fix_size(int8_file, tmp_path / "fixed.tflite", (16, 20))
    with pytest.raises(ModelError, match=r"fixed.tflite: is made for 16x20 pixels; give one for any size"):
        fix_size(fixed, tmp_path / "m.tflite", (16, 16))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fixed.tflite", "text.tflite"]


def test_file_that_would_compute_otherwise_is_not_kept(int8_file, tmp_path, monkeypatch):
    from keras_fsr.deploy import fixed_size

    other = (pretrained.weights("face_x4")).read_bytes()
    monkeypatch.setattr(fixed_size, "resized", lambda source, size: other)
    with pytest.raises(ModelError, match=r"any.tflite: computes otherwise at a fixed size"):
        fix_size(int8_file, tmp_path / "m.tflite", (16, 16))
    assert not list(tmp_path.iterdir())


def test_command(int8_file, tmp_path, capsys):
    from keras_fsr.cli import main

    out = tmp_path / "m.tflite"
    assert main(["export", "fixed", "--model", str(int8_file), "--size", "16x24", "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert LiteRTEngine(out).size == (16, 24)
