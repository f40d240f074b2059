"""What a TFLite file is made of: its operations, where LiteRT runs them, and whether they are the wanted ones."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from keras_fsr.errors import ModelError


def operations(path: Path | str) -> list[tuple[str, set[str]]]:
    """(name, types of its tensors) of each operation, but for the tensors that are the file's input and output.

    The name of an operation that is no TFLite builtin is the one that it was given.
    """
    return list(_operations(Path(path).read_bytes()))


def _operations(content: bytes) -> Iterator[tuple[str, set[str]]]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            inner = {i for i in (*operator.inputs, *operator.outputs) if i >= 0} - ends
            # Old files have the kind in the deprecated field alone.
            kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
            yield code.customCode.decode() if code.customCode else kind, {types[graph.tensors[i].type] for i in inner}


def is_builtin(name: str) -> bool:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return hasattr(BuiltinOperator, name)


def check_operations(path: Path | str, name: str, integer: bool) -> None:
    """Refuses a file that a phone could not run as meant.

    Args:
        name: of the model, for the error.
        integer: all must compute with integers; floats may come in and go out.

    Raises:
        ModelError: an operation is no TFLite builtin, or computes with floats where it must not.
    """
    for operation, types in operations(path):
        if not is_builtin(operation):
            raise ModelError(
                f"{name}: needs the operation {operation}, which is no TFLite builtin; change that layer"
            )
        if integer and types & {"FLOAT32", "FLOAT16"}:
            raise ModelError(
                f"{name}: its {operation} stays float, so that it is no int8 network; use --quantize dynamic"
            )


def count_operations(path: Path | str) -> dict[str, int]:
    """Operation -> how often it occurs, the most frequent first."""
    return dict(Counter(name for name, _ in operations(path)).most_common())
