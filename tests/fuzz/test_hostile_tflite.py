"""`.tflite` files of strangers. They are code-like: what LiteRT does with a file made for it, no check rules out."""

from pathlib import Path

import corpus
import mutate
import numpy as np
import pytest
from hostile import refused

from keras_fsr import pretrained
from keras_fsr.errors import ModelError
from keras_fsr.inference.engines import LiteRTEngine, load_engine
from keras_fsr.inference.predictor import Predictor

MODEL = "face_x4_edge.tflite"


@pytest.fixture
def make_tflite(tmp_path):
    """Writes face_x4_edge.tflite with changed tables."""
    from ai_edge_litert import schema_py_generated as schema

    from keras_fsr.deploy import packing

    def make(change) -> Path:
        content = corpus.shipped(MODEL)
        model = schema.ModelT.InitFromPackedBuf(content)
        constants = corpus.constants_of(model, content)
        mutate.thaw(model)
        change(model, model.subgraphs[0])
        path = tmp_path / "changed.tflite"
        path.write_bytes(packing.packed(model, constants))
        return path

    return make


def test_the_tables_as_they_are_make_a_sound_file(make_tflite):
    assert load_engine(make_tflite(lambda model, graph: None)).scale == 4


# In the graph operators 1 and 2 are CONCATENATION, 3 to 8 CONV_2D, 9 is ADD; tensor 1 is the input's integers.
def no_graph(model, graph):
    model.subgraphs = None


def constant_written(model, graph):
    graph.operators[9].outputs[0] = graph.operators[3].inputs[1]


def weights_missing(model, graph):
    graph.operators[3].inputs[1] = -1


def joined_with_nothing(model, graph):
    graph.operators[1].inputs[2] = -1


def a_split_of_two(model, graph):
    rename(model, graph.operators[9], 49)


def strided_slice_of_three(model, graph):
    rename(model, graph.operators[3], 45)


def assign_variable(model, graph):
    rename(model, graph.operators[0], 144)


def zero_point_beyond(model, graph):
    graph.tensors[1].quantization.zeroPoint[0] = -129


def negative_scale(model, graph):
    graph.tensors[1].quantization.scale[0] = -1


def scale_of_a_million(model, graph):
    graph.tensors[21].quantization.scale[0] = 1e6


def two_graphs(model, graph):
    model.subgraphs = [graph, graph]


def constant_as_activation(model, graph):
    graph.tensors[6].buffer = graph.tensors[4].buffer


def read_before_written(model, graph):
    graph.operators[9].inputs[0] = graph.operators[9].inputs[1] = 24


def written_nowhere(model, graph):
    graph.operators[2].outputs[0] = -1


def terabytes(model, graph):
    graph.tensors[6].shape = np.array([1, 2**20, 2**20, 2**10], np.int32)


def variable(model, graph):
    graph.tensors[6].isVariable = True


def nothing_comes_out(model, graph):
    graph.operators.pop()


def rename(model, operator, code: int) -> None:
    kind = model.operatorCodes[operator.opcodeIndex]
    kind.builtinCode, kind.deprecatedBuiltinCode = code, min(code, 127)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # These ended the process by a signal, with ai-edge-litert 2.3.0.
        (no_graph, "it has 0 graphs"),
        (constant_written, "writes tensor 4, which has its values"),
        (weights_missing, "is a CONV_2D that lacks an input"),
        (joined_with_nothing, "is a CONCATENATION that lacks an input"),
        (a_split_of_two, "along an axis that is no constant"),
        (strided_slice_of_three, "is a STRIDED_SLICE of 3 inputs"),
        (assign_variable, "ASSIGN_VARIABLE"),
        (zero_point_beyond, "has a zero point beyond INT8"),
        (negative_scale, "impossible scale -1.0"),
        (scale_of_a_million, "impossible scale 1000000.0"),
        # These did not, but are the same kinds of mistake.
        (two_graphs, "it has 2 graphs"),
        (constant_as_activation, "writes tensor 6, which has its values"),
        (read_before_written, "which nothing has written"),
        (written_nowhere, "writes tensor -1"),
        (terabytes, "has the impossible shape [1, 1048576, 1048576, 1024]"),
        (variable, "of a kind that image networks do not have"),
        (nothing_comes_out, "is never written"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_graph_that_litert_takes_for_granted_is_refused(make_tflite, change, message):
    refused(make_tflite(change), "is not a super-resolution model", message)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x18\0\0\0TFL3" + bytes(40), b"\xff" * 64, bytes(10**6)])
def test_what_is_no_flatbuffer_is_refused(tmp_path, content):
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    refused(path)


def test_files_of_strangers_are_checked_shipped_ones_were_by_their_digest(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("keras_fsr.inference.engines.check_graph", seen.append)
    Predictor("face_x4_edge", threads=1)
    assert seen == []
    (tmp_path / MODEL).write_bytes(corpus.shipped(MODEL))
    engine = load_engine(tmp_path / MODEL, threads=2)
    assert seen == [corpus.shipped(MODEL)]
    engine.copies(2)
    LiteRTEngine("in memory", content=corpus.shipped(MODEL))
    assert len(seen) == 2


def test_a_shipped_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    for name in (MODEL, "face_x4_edge.json"):
        (tmp_path / name).write_bytes(corpus.shipped(name))
    content = bytearray(corpus.shipped(MODEL))
    content[-1] ^= 1
    (tmp_path / MODEL).write_bytes(content)
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    with pytest.raises(ModelError, match="differs from the file that was shipped"):
        Predictor("face_x4_edge")
