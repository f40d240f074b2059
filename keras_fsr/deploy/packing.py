"""TFLite files taken apart by the schema's own code for Python, and put together again."""

from pathlib import Path

import numpy as np

from keras_fsr.inference.tflite_file import TFLiteFile

ALIGNMENT = 16  # bytes; kernels read constants where they lie


def unpacked(path: Path | str) -> tuple:
    """The model of a file, as the schema has it, and the bytes of its buffers.

    Raises:
        ModelError: the file is missing or is no super-resolution model.
    """
    from ai_edge_litert import schema_py_generated as schema

    file = TFLiteFile(path)
    model = schema.ModelT.InitFromPackedBuf(file.content)
    return model, [file.bytes_of(buffer) for buffer in model.buffers]


def packed(model, constants: list[np.ndarray]) -> bytes:
    """The file of a model of the schema's: metadata in its tables, tensors behind them.

    LiteRT's own tools put tensors there; the schema's code for Python would not align them within the tables.
    """
    inside = {entry.buffer for entry in model.metadata or []}
    tensors = []
    for index, (buffer, constant) in enumerate(zip(model.buffers, constants, strict=True)):
        buffer.data, buffer.offset, buffer.size = (constant, 0, 0) if index in inside else (None, 0, 0)
        if constant.size and index not in inside:
            tensors.append((buffer, constant))
            buffer.offset = buffer.size = 2  # a table has no room for a number that is its default
    end = len(serialized(model))
    for buffer, constant in tensors:
        buffer.offset, buffer.size = -(-end // ALIGNMENT) * ALIGNMENT, constant.size
        end = buffer.offset + constant.size
    content = bytearray(serialized(model).ljust(end, b"\0"))
    for buffer, constant in tensors:
        content[buffer.offset : buffer.offset + buffer.size] = constant.tobytes()
    return bytes(content)


def serialized(model) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
