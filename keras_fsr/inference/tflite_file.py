"""A `.tflite` file taken apart: its graph as text, its constants where they lie. Needs LiteRT alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_fsr.errors import ModelError
from keras_fsr.inference.engines import LiteRTEngine, check_file


class TFLiteFile:
    """A super-resolution model as LiteRT has verified it: the parser in Python checks nothing.

    Raises:
        ModelError: the file is missing or is no super-resolution model.
    """

    def __init__(self, path: Path | str):
        # Imported here: the schema is longer than this whole package.
        from ai_edge_litert import schema_py_generated as schema

        check_file(path)
        self.path = path
        self.content = Path(path).read_bytes()
        LiteRTEngine(path, content=self.content)
        self._model = schema.ModelT.InitFromPackedBuf(self.content)
        self._types = _names_of(schema.TensorType)
        self._operators = _names_of(schema.BuiltinOperator)

    def tensors(self) -> Iterator:
        """All tensors, as the schema has them."""
        for graph in self._model.subgraphs:
            yield from graph.tensors

    def type_of(self, tensor) -> str:
        """FLOAT32, INT8 and the like."""
        return self._types[tensor.type]

    def ends(self) -> list[tuple]:
        """Input and output of the model: (tensor, its type)."""
        (graph,) = self._model.subgraphs
        return [
            (tensor, self.type_of(tensor)) for tensor in (graph.tensors[i] for i in (*graph.inputs, *graph.outputs))
        ]

    def metadata(self, name: str) -> np.ndarray:
        """The bytes of a metadata entry; none if the file has no such entry."""
        for entry in self._model.metadata or []:
            if entry.name == name.encode():
                return self.bytes_of(self._model.buffers[entry.buffer])
        return np.empty(0, np.uint8)

    def data(self, tensor) -> np.ndarray:
        """The bytes of a constant where they lie in the file; none for an activation."""
        return self.bytes_of(self._model.buffers[tensor.buffer])

    def bytes_of(self, buffer) -> np.ndarray:
        """The bytes of a buffer of the schema's where they lie in the file."""
        if buffer.offset > 1:  # the weights of all but tiny models lie behind the tables
            return np.frombuffer(self.content, np.uint8, buffer.size, buffer.offset)
        return np.empty(0, np.uint8) if buffer.data is None else buffer.data

    def overwritten(self, pieces: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
        """The file with new values in some places, which nothing else moves for.

        Args:
            pieces: (place, values) of the same number of bytes; a place is an array of `data` or of the schema.

        Raises:
            ModelError: two pieces of different values have the same place.
        """
        start = np.frombuffer(self.content, np.uint8).ctypes.data
        result = bytearray(self.content)
        written = []
        for place, values in pieces:
            first = place.ctypes.data - start
            where, value = slice(first, first + place.nbytes), values.tobytes()
            if len(value) != place.nbytes:
                raise ValueError(f"{len(value)} bytes for a place of {place.nbytes}")
            result[where] = value
            written.append((where, value))
        if any(result[where] != value for where, value in written):
            raise ModelError(f"{self.path}: has weights that share their bytes or scales; export it again")
        return bytes(result)

    def graph(self) -> Iterator[str]:
        """All of the model, line by line, but for the constants' values and the network's own name."""
        codes = [(max(c.builtinCode, c.deprecatedBuiltinCode), c.customCode) for c in self._model.operatorCodes]
        for graph in self._model.subgraphs:
            yield f"{len(graph.tensors)} tensors and {len(graph.operators)} operators"
            yield f"tensors {_text(graph.inputs)} as inputs and {_text(graph.outputs)} as outputs"
            for index, tensor in enumerate(graph.tensors):
                yield f"tensor {index} {self._line_of(tensor)}"
            for index, operator in enumerate(graph.operators):
                code, custom = codes[operator.opcodeIndex]
                yield (
                    f"operator {index} {self._operators[code]} {custom or ''} from {_text(operator.inputs)} to "
                    f"{_text(operator.outputs)}, {_text(operator.builtinOptions)} {_text(operator.customOptions)}"
                )

    def _line_of(self, tensor) -> str:
        size = self.data(tensor).size
        line = f"({name_of(tensor)}): {self.type_of(tensor)} {_text(tensor.shape)}"
        if tensor.shapeSignature is not None:
            line += f", of any size {_text(tensor.shapeSignature)}"
        if size:
            line += f", {size} bytes"
        if is_quantized(tensor):
            scales = tensor.quantization.scale
            # Those of constants may differ, those of activations may not.
            scales = f"{len(scales)} scales" if size else f"the scales {_text(scales)}"
            line += f", quantized by {scales} along axis {tensor.quantization.quantizedDimension}"
        return line


def name_of(tensor) -> str:
    """A tensor's name as any network of its architecture has it: "rrdb_1/conv_2/add;rrdb_1/act" -> "conv/add;act".

    Without the network's name and without the numbers by which Keras tells the objects of one process apart.
    """
    names = (tensor.name or b"").decode(errors="replace").split(";")
    return re.sub(r"(_\d+)+(?=[/;:]|$)", "", ";".join(name.partition("/")[2] or name for name in names))


def is_quantized(tensor) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def dequantized(data: np.ndarray, tensor) -> np.ndarray:
    """What int8 weights stand for: float64, in the tensor's shape."""
    scheme = tensor.quantization
    shape = [1] * len(tensor.shape)
    if len(scheme.scale) > 1:
        shape[scheme.quantizedDimension] = -1
    zero = 0 if scheme.zeroPoint is None else scheme.zeroPoint.reshape(shape)
    return (data.view(np.int8).reshape(tensor.shape) - zero) * scheme.scale.astype(np.float64).reshape(shape)


def quantized(weights: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 levels and their float32 scales: one for each index along an axis, or one for all.

    A scale is the largest absolute value / 127, as in the exporter; 1 where all is zero.
    """
    others = tuple(i for i in range(weights.ndim) if i != axis)
    peak = np.abs(weights).max(axis=others, keepdims=True)
    scale = np.where(peak > 0, peak / 127, 1).astype(np.float32)
    return np.rint(weights / scale).clip(-127, 127).astype(np.int8), scale.ravel()


def _names_of(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _text(value) -> str:
    """A value of the schema's, arrays and tables written out."""
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    if hasattr(value, "__dict__"):
        return f"{type(value).__name__}({', '.join(f'{key}={_text(v)}' for key, v in vars(value).items())})"
    return "" if value is None else str(value)
