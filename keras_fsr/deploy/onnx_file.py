"""Keras generator -> ONNX file with dynamic batch, height and width, compared with Keras in ONNX Runtime.

It is what today's TensorRT reads, beside ONNX Runtime, OpenVINO and others. Pixel shuffles become DepthToSpace nodes.
Sources: `keras.Model.export`, which uses tf2onnx; TensorRT's manual on `trtexec` and on migrating from 10 to 11.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_fsr.deploy.source import load_source
from keras_fsr.errors import ModelError, first_line
from keras_fsr.files import whole_file
from keras_fsr.quiet import quiet

OPSET = 15  # tf2onnx' default; all that the generators need, and old runtimes know it
INPUT, OUTPUT = "lr", "sr"
CHECKED = ((1, 32, 48), (2, 20, 28))  # (N, H, W); multiples of 4, since RRDB unshuffles its input
TOLERANCE = 1e-4  # of values in [0, 1]; measured are 2e-6 and less
PROFILE = {"min": 16, "opt": 64, "max": 512}  # sides of the images that a TensorRT engine is made for


@dataclass(frozen=True)
class OnnxReport:
    """What was written, and how far it is from Keras."""

    path: Path
    size: int  # bytes
    opset: int
    operators: Counter[str]  # kind -> how many nodes
    difference: float  # largest absolute one, of random images in [0, 1]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.operators.most_common())
        return (
            f"{self.path}: {self.size / 1e6:.1f} MB, opset {self.opset}, {INPUT} (N, H, W, 3) -> {OUTPUT}, RGB in "
            f"[0, 1]; {self.difference:.1e} from Keras at most\noperators: {kinds}"
        )


def export_onnx(model, path: Path | str) -> OnnxReport:
    """Writes the ONNX form of a generator, after it was compared with Keras at two sizes.

    The file maps `lr` to `sr`, both (N, H, W, 3) float32 RGB in [0, 1], N, H and W dynamic.

    Args:
        model: as `load_source` takes it; the wide form of an Edge is folded.
        path: file to write; replaced whole or not at all.

    Raises:
        ModelError: another ending of the name, an unreadable model, one that ONNX cannot express, or a file that
            differs from Keras by more than `TOLERANCE`.
        OutputError: the file cannot be written.
        ModuleNotFoundError: onnx, onnxruntime, tf2onnx, Keras or TensorFlow is not installed.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: an ONNX file ends in .onnx; rename the output")
    # Imported first: Keras would not name the one that is missing.
    import onnx
    import onnxruntime
    import tf2onnx  # noqa: F401

    source = load_source(model)
    with whole_file(path) as temporary:
        try:
            convert(source.model, temporary)
            session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
            worst = difference(source.trained, session)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # tf2onnx and ONNX Runtime raise kinds of their own
            raise ModelError(f"{source.name}: cannot be expressed in ONNX ({first_line(error)})") from None
        if not worst <= TOLERANCE:  # NaN too
            raise ModelError(
                f"{source.name}: its ONNX form is {worst:.1e} from Keras, over {TOLERANCE}; nothing was written"
            )
        operators = Counter(node.op_type for node in onnx.load(temporary).graph.node)
        return OnnxReport(path, temporary.stat().st_size, OPSET, operators, worst)


def convert(generator, path: Path) -> None:
    """Writes the ONNX file of a generator, inputs, outputs and their dimensions named."""
    import keras
    import onnx
    from onnx.tools.update_model_dims import update_inputs_outputs_dims

    signature = [keras.InputSpec(shape=(None, None, None, 3), dtype="float32", name=INPUT)]
    with quiet():  # tf2onnx tells its progress on stderr
        generator.export(path, format="onnx", input_signature=signature, opset_version=OPSET, verbose=False)
    proto = onnx.load(path)
    (output,) = proto.graph.output
    for node in proto.graph.node:
        node.output[:] = [OUTPUT if name == output.name else name for name in node.output]
    output.name = OUTPUT
    sizes = [{name: ["batch", f"{name}_height", f"{name}_width", 3]} for name in (INPUT, OUTPUT)]
    onnx.save(update_inputs_outputs_dims(proto, *sizes), path)


def difference(generator, session) -> float:
    """Largest absolute difference between a generator and its ONNX Runtime session on random images."""
    random = np.random.default_rng(0)
    worst = []
    for shape in CHECKED:
        images = random.random((*shape, 3), np.float32)
        (found,) = session.run([OUTPUT], {INPUT: images})
        worst.append(np.abs(found - np.asarray(generator(images))).max())
    return float(np.max(worst))


def trtexec(path: Path | str) -> str:
    """The commands that make a float16 TensorRT engine of an exported file, for sides of 16 to 512 pixels.

    TensorRT 11 has no --fp16 any more: the precision is the file's, which NVIDIA's ModelOpt lowers.
    """
    path = Path(path)
    half = path.with_name(f"{path.stem}_fp16.onnx")
    shapes = " ".join(f"--{kind}Shapes={INPUT}:1x{side}x{side}x3" for kind, side in PROFILE.items())
    build = f"trtexec --onnx={{}} --saveEngine={path.with_suffix('.engine')} {shapes}"
    return "\n".join(
        [
            "# TensorRT 10 or older; without --fp16 in float32",
            f"{build.format(path)} --fp16",
            "# TensorRT 11; the second line alone, with the file exported here, in float32",
            f"python -m modelopt.onnx.autocast --onnx_path {path} --output_path {half} --keep_io_types",
            build.format(half),
        ]
    )
