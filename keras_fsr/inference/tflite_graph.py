"""What LiteRT takes for granted of the graph in a `.tflite` file.

LiteRT verifies that offsets stay inside the file, and its kernels check most of what they are asked for. A graph that
reads what nothing has written, or writes into a constant, ends the process; so do the others that are refused here.
They were found by changing numbers in the tables of shipped files.
"""

import math
import struct
from typing import Any

import numpy as np

LARGEST = 2**33  # bytes of a tensor
SCALES = 1e-12, 1e3  # of an activation's integers; 8-bit images have 1 / 255
BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Operators that may lack an input, and which."""
INPUTS = {"BATCH_MATMUL": 2, "SLICE": 3, "SPLIT": 2, "SPLIT_V": 3, "STRIDED_SLICE": 4}
"""How many inputs operators have whose kernels do not count them."""
REFUSED = {"ASSIGN_VARIABLE", "FAKE_QUANT"}  # neither is in a file that was made to run


def check_root(content: bytes) -> None:
    """Raises ValueError for what LiteRT breaks down on before it has verified it: a file without a graph."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        count = schema.Model.GetRootAs(content).SubgraphsLength()
    except (struct.error, TypeError, ValueError):
        count = 0
    if count != 1:
        raise ValueError(f"it has {count} graphs instead of one")


def check_graph(content: bytes) -> None:
    """Raises ValueError for a graph on which LiteRT may break down.

    Args:
        content: of a file that LiteRT has loaded, and so verified; the parser in Python checks nothing.
    """
    # Imported here: the schema is longer than this whole package.
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    (graph,) = model.subgraphs
    operators = graph.operators or []
    types, kinds = (
        {value: name for name, value in vars(names).items() if isinstance(value, int)}
        for names in (schema.TensorType, schema.BuiltinOperator)
    )
    constants = {index for index, tensor in enumerate(graph.tensors) if is_constant(model, tensor)}
    for index, tensor in enumerate(graph.tensors):
        check_tensor(tensor, f"tensor {index}")
        check_quantization(tensor.quantization, types[tensor.type], index in constants, f"tensor {index}")
    for index, operator in enumerate(operators):
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        check_operator(kind, operator, constants, f"operator {index}")
    check_order(graph, operators, constants)


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether a tensor's values are in the file."""
    buffer = model.buffers[tensor.buffer]
    return buffer.offset > 1 or (buffer.data is not None and len(buffer.data) > 0)


def check_tensor(tensor: Any, name: str) -> None:
    shape = [] if tensor.shape is None else [int(side) for side in tensor.shape]
    if min(shape, default=0) < 0 or math.prod(shape) * 8 > LARGEST:
        raise ValueError(f"{name} has the impossible shape {shape}")
    if tensor.isVariable or tensor.sparsity or tensor.externalBuffer or tensor.variantTensors:
        raise ValueError(f"{name} is of a kind that image networks do not have")


def check_quantization(scheme: Any, kind: str, constant: bool, name: str) -> None:
    """Refuses scales of activations far from those of images, and zero points that the integers do not reach."""
    if scheme is None or kind not in ("INT8", "UINT8"):
        return
    limits = np.iinfo(kind.lower())
    if scheme.zeroPoint is not None and not np.all(
        (limits.min <= scheme.zeroPoint) & (scheme.zeroPoint <= limits.max)
    ):
        raise ValueError(f"{name} has a zero point beyond {kind}")
    scale = np.ones(1) if scheme.scale is None or constant else scheme.scale
    if not np.all((SCALES[0] <= scale) & (scale <= SCALES[1])):
        raise ValueError(f"{name} has the impossible scale {scale[0]}")


def check_operator(kind: str, operator: Any, constants: set[int], name: str) -> None:
    count = len(indices(operator.inputs))
    if kind in REFUSED or count != INPUTS.get(kind, count):
        raise ValueError(f"{name} is a {kind} of {count} inputs, which cannot be run")
    if kind == "SPLIT" and operator.inputs[0] not in constants:
        raise ValueError(f"{name} is a SPLIT along an axis that is no constant")
    if any(index == -1 and place != BIAS.get(kind) for place, index in enumerate(indices(operator.inputs))):
        raise ValueError(f"{name} is a {kind} that lacks an input")


def indices(vector: Any) -> list[int]:
    """Numbers of tensors; a vector that is missing has none."""
    return [] if vector is None else [int(index) for index in vector]


def check_order(graph: Any, operators: list, constants: set[int]) -> None:
    """Refuses operators that read what nothing before has written, or write what is there already."""
    known = set(indices(graph.inputs))
    if known & constants:
        raise ValueError("an input of it is a constant")
    known |= constants | {-1}  # -1 stands for none
    for number, operator in enumerate(operators):
        for index in indices(operator.inputs):
            if index not in known:
                raise ValueError(f"operator {number} reads tensor {index}, which nothing has written")
        for index in indices(operator.outputs):
            if index in known or not 0 <= index < len(graph.tensors):
                raise ValueError(f"operator {number} writes tensor {index}, which has its values")
            known.add(index)
    if not known.issuperset(indices(graph.outputs)):
        raise ValueError("an output of it is never written")
