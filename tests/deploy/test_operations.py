"""What a TFLite file is made of, and which files are refused for it."""

import pytest
from ai_edge_litert import schema_py_generated as schema

from keras_fsr.deploy.operations import check_operations, count_operations, operations
from keras_fsr.errors import ModelError


def file_of(tmp_path, *kinds, inner=schema.TensorType.INT8):
    """A file whose operations follow each other, from a float input to a float output; a name is a custom one."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [], [schema.BufferT()]
    graph.tensors, graph.operators = [schema.TensorT() for _ in range(len(kinds) + 1)], []
    for index, tensor in enumerate(graph.tensors):
        tensor.type = schema.TensorType.FLOAT32 if index in (0, len(kinds)) else inner
    graph.inputs, graph.outputs = [0], [len(kinds)]
    for index, kind in enumerate(kinds):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = schema.BuiltinOperator.CUSTOM if isinstance(kind, str) else kind
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = kind if isinstance(kind, str) else None
        operator.opcodeIndex, operator.inputs, operator.outputs = index, [index, -1], [index + 1]
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    from keras_fsr.deploy.packing import serialized

    path = tmp_path / "m.tflite"
    path.write_bytes(serialized(model))
    return path


KIND = schema.BuiltinOperator


def test_operations_are_counted_with_the_types_within(tmp_path):
    path = file_of(tmp_path, KIND.QUANTIZE, KIND.GELU, KIND.GELU, KIND.DEQUANTIZE)
    # GELU's number is above 127, where the old field ends.
    assert operations(path) == [
        ("QUANTIZE", {"INT8"}),
        ("GELU", {"INT8"}),
        ("GELU", {"INT8"}),
        ("DEQUANTIZE", {"INT8"}),
    ]
    assert list(count_operations(path).items()) == [("GELU", 2), ("QUANTIZE", 1), ("DEQUANTIZE", 1)]


def test_integers_between_float_ends_pass(tmp_path):
    check_operations(file_of(tmp_path, KIND.QUANTIZE, KIND.CONV_2D, KIND.DEQUANTIZE), "face", integer=True)


@pytest.mark.parametrize("inner", [schema.TensorType.FLOAT32, schema.TensorType.FLOAT16])
def test_floats_within_are_refused_where_integers_are_wanted(tmp_path, inner):
    path = file_of(tmp_path, KIND.CONV_2D, KIND.ADD, inner=inner)
    check_operations(path, "face", integer=False)
    with pytest.raises(ModelError, match="^face: its CONV_2D stays float, so that it is no int8 network"):
        check_operations(path, "face", integer=True)


def test_operation_that_is_no_builtin_is_named(tmp_path):
    path = file_of(tmp_path, KIND.CONV_2D, "FlexErfinv")
    assert count_operations(path) == {"CONV_2D": 1, "FlexErfinv": 1}
    with pytest.raises(ModelError, match="^face: needs the operation FlexErfinv, which is no TFLite builtin"):
        check_operations(path, "face", integer=False)
