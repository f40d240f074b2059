"""Gives a TFLite file for images of any size one fixed size, as browsers and phones want it. Needs LiteRT alone."""

from pathlib import Path

import numpy as np

from keras_fsr import pretrained
from keras_fsr.deploy.form import check_size
from keras_fsr.deploy.metadata import ends_of, read_metadata, write_metadata
from keras_fsr.deploy.packing import packed, unpacked
from keras_fsr.errors import ModelError
from keras_fsr.files import whole_file
from keras_fsr.inference.engines import LiteRTEngine


def fix_size(model: str | Path, path: Path | str, size: tuple[int, int]) -> Path:
    """Writes a TFLite file anew for images of one size; it is compared with the original there.

    Args:
        model: shipped model or `.tflite` file that takes any size.
        path: file to write; replaced whole or not at all.
        size: (height, width) of the images.

    Raises:
        ModelError: a file that is missing, is no super-resolution model or has another fixed size; a size that is too
            small or that the network cannot take.
        OutputError: the file cannot be written.
    """
    path, source = Path(path), pretrained.find(model)
    if path.suffix != ".tflite":
        raise ModelError(f"{path}: a TFLite file ends in .tflite; rename the output")
    check_size(size)
    original = LiteRTEngine(source)
    if original.size:
        raise ModelError(f"{source}: is made for {original.size[0]}x{original.size[1]} pixels; give one for any size")
    metadata = read_metadata(source)
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    expected = original(image)
    with whole_file(path) as temporary:
        temporary.write_bytes(resized(source, size))
        if metadata:
            write_metadata(temporary, metadata | ends_of(temporary))
        if not np.array_equal(LiteRTEngine(temporary)(image), expected):
            raise ModelError(f"{source}: computes otherwise at a fixed size; export it from its .keras file")
    return path


def resized(source: Path, size: tuple[int, int]) -> bytes:
    """The file with the shapes that its tensors have for images of a size (height, width)."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # With delegates most tensors would have no shape.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=source.read_bytes(), experimental_op_resolver_type=plain)
    (tensor,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(tensor["index"], (1, *size, 3))
    interpreter.allocate_tensors()
    shapes = {details["index"]: details["shape"] for details in interpreter.get_tensor_details()}
    model, constants = unpacked(source)
    (graph,) = model.subgraphs
    for index, tensor in enumerate(graph.tensors):
        tensor.shape, tensor.shapeSignature = shapes[index].astype(np.int32), None
    return packed(model, constants)
