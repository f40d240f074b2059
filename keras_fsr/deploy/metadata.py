"""What a `.tflite` file says of itself: JSON in a metadata buffer of its own. Reading needs LiteRT alone.

The schema's `description` holds the one line that viewers show.
"""

import json
from pathlib import Path

import numpy as np

import keras_fsr
from keras_fsr.deploy.source import Source
from keras_fsr.errors import ModelError
from keras_fsr.inference.tflite_file import TFLiteFile

BUFFER = "keras_fsr"  # name of the metadata entry
ALIGNMENT = 16  # bytes; kernels read constants where they lie


def describe(source: Source, quantization: str, path: Path | str) -> dict:
    """The metadata of an exported file: who made what, and the contract of its tensors.

    Args:
        quantization: mode of the export.
        path: the file, from which the tensors are read.
    """
    config = {key: value for key, value in source.model.get_config().items() if key != "name"}
    # A model that is no generator of the package has its whole graph there.
    plain = {key: value for key, value in config.items() if isinstance(value, bool | int | float | str)}
    inputs, outputs = (tensor_facts(*tensor) for tensor in TFLiteFile(path).ends())
    return {
        "name": source.name,
        "version": keras_fsr.__version__,
        "architecture": {"class": type(source.model).__name__, **plain},
        "scale": source.scale,
        "quantization": quantization,
        "channels": "RGB, NHWC, one image a call",
        "normalisation": "RGB in [0, 1]: pixels / 255; integer tensors hold round(value / scale) + zero_point",
        "input": inputs,
        "output": outputs,
        "licence": source.licence,
        "author": source.author,
        "source": {"file": source.file, "sha256": source.sha256},
    }


def tensor_facts(tensor, kind: str) -> dict:
    """Name, type and shape of an input or output; -1 stands for any size."""
    shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    facts = {"name": tensor.name.decode(), "type": kind.lower(), "shape": [int(side) for side in shape]}
    if kind == "FLOAT32":
        return facts | {"range": [0.0, 1.0]}
    scheme = tensor.quantization
    scale, zero_point = float(scheme.scale[0]), int(scheme.zeroPoint[0])
    return facts | {"range": [0, 255] if kind == "UINT8" else [-128, 127], "scale": scale, "zero_point": zero_point}


def write_metadata(path: Path | str, metadata: dict) -> None:
    """Puts metadata into a TFLite file, in the place of earlier metadata."""
    from ai_edge_litert import schema_py_generated as schema

    file = TFLiteFile(path)
    model = schema.ModelT.InitFromPackedBuf(file.content)
    constants = [file.bytes_of(buffer) for buffer in model.buffers]
    model.description = f"{metadata['name']} x{metadata['scale']}, {metadata['quantization']}, keras_fsr"
    model.metadata = [entry for entry in model.metadata or [] if entry.name != BUFFER.encode()]
    entry = schema.MetadataT()
    entry.name, entry.buffer = BUFFER, len(constants)
    model.metadata.append(entry)
    model.buffers.append(schema.BufferT())
    constants.append(np.frombuffer(json.dumps(metadata, indent=1).encode(), np.uint8))
    Path(path).write_bytes(packed(model, constants))


def read_metadata(path: Path | str) -> dict:
    """The metadata of a TFLite file; empty if it has none of this package's.

    Raises:
        ModelError: the file is missing, is no super-resolution model, or its metadata are damaged.
    """
    content = TFLiteFile(path).metadata(BUFFER)
    try:
        return json.loads(content.tobytes()) if content.size else {}
    except ValueError:
        raise ModelError(f"{path}: its metadata are damaged; export it again") from None


def packed(model, constants: list[np.ndarray]) -> bytes:
    """The file of a model of the schema's: metadata in its tables, tensors behind them.

    LiteRT's own tools put tensors there; the schema's code for Python would not align them within the tables.
    """
    inside = {entry.buffer for entry in model.metadata}
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
