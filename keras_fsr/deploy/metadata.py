"""What a `.tflite` file says of itself: JSON in a metadata buffer of its own. Reading needs LiteRT alone.

The schema's `description` holds the one line that viewers show.
"""

import json
from pathlib import Path

import numpy as np

import keras_fsr
from keras_fsr.deploy.packing import packed, unpacked
from keras_fsr.deploy.source import Source
from keras_fsr.errors import ModelError
from keras_fsr.inference.tflite_file import TFLiteFile

BUFFER = "keras_fsr"  # name of the metadata entry


def describe(source: Source, quantization: str, path: Path | str) -> dict:
    """The metadata of an exported file: who made what, and the contract of its tensors.

    Args:
        quantization: mode of the export.
        path: the file, from which the tensors are read.
    """
    config = {key: value for key, value in source.model.get_config().items() if key != "name"}
    # A model that is no generator of the package has its whole graph there.
    plain = {key: value for key, value in config.items() if isinstance(value, bool | int | float | str)}
    return {
        "name": source.name,
        "version": keras_fsr.__version__,
        "architecture": {"class": type(source.model).__name__, **plain},
        "scale": source.scale,
        "quantization": quantization,
        "channels": "RGB, NHWC, one image a call",
        "normalisation": "RGB in [0, 1]: pixels / 255; integer tensors hold round(value / scale) + zero_point",
        **ends_of(path),
        "licence": source.licence,
        "author": source.author,
        "source": {"file": source.file, "sha256": source.sha256},
    }


def ends_of(path: Path | str) -> dict[str, dict]:
    """The contract of a file's tensors: of its `input` and its `output`."""
    return {
        end: tensor_facts(*tensor) for end, tensor in zip(("input", "output"), TFLiteFile(path).ends(), strict=True)
    }


def tensor_facts(tensor, kind: str) -> dict:
    """Name, type and shape of an input or output; -1 stands for any size."""
    shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    name = (tensor.name or b"").decode()
    facts = {"name": name, "type": kind.lower(), "shape": [int(side) for side in shape]}
    if kind == "FLOAT32":
        return facts | {"range": [0.0, 1.0]}
    scheme = tensor.quantization
    scale, zero_point = float(scheme.scale[0]), int(scheme.zeroPoint[0])
    return facts | {"range": [0, 255] if kind == "UINT8" else [-128, 127], "scale": scale, "zero_point": zero_point}


def write_metadata(path: Path | str, metadata: dict) -> None:
    """Puts metadata into a TFLite file, in the place of earlier metadata."""
    from ai_edge_litert import schema_py_generated as schema

    model, constants = unpacked(path)
    model.description = _description(metadata)
    model.metadata = [entry for entry in model.metadata or [] if entry.name != BUFFER.encode()]
    entry = schema.MetadataT()
    entry.name, entry.buffer = BUFFER, len(constants)
    model.metadata.append(entry)
    model.buffers.append(schema.BufferT())
    constants.append(np.frombuffer(json.dumps(metadata, indent=1).encode(), np.uint8))
    Path(path).write_bytes(packed(model, constants))


def _description(metadata: dict) -> str:
    return f"{metadata['name']} x{metadata['scale']}, {metadata['quantization']}, keras_fsr"


def read_metadata(path: Path | str) -> dict:
    """The metadata of a TFLite file; empty if it has none of this package's.

    Raises:
        ModelError: the file is missing, is no super-resolution model, or its metadata are damaged.
    """
    file = TFLiteFile(path)
    try:
        content = file.metadata(BUFFER)
        metadata = json.loads(content.tobytes()) if content.size else {}
        if content.size:
            _description(metadata).encode()  # what every writer has put there
    except (ValueError, RecursionError, IndexError, TypeError, KeyError):
        raise ModelError(f"{path}: its metadata are damaged; export it again") from None
    return metadata
