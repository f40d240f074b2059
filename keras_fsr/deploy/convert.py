"""Keras generator -> TFLite file: float32, float16 weights, int8 weights, or int8 throughout by calibration."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_fsr.deploy.source import Source
from keras_fsr.errors import ModelError, first_line
from keras_fsr.generators.edge import Edge, build
from keras_fsr.layers import PixelShuffle
from keras_fsr.quiet import quiet


class UnitRange(keras.layers.Layer):
    """Limits to [0, 1] in 255 steps, which tells the converter the range of pixels."""

    def call(self, x):
        return tf.quantization.fake_quant_with_min_max_args(x, 0.0, 1.0)


def convert(source: Source, path: Path, quantize: str, size: tuple[int, int] | None) -> None:
    """Writes a file that takes and gives float32.

    Args:
        quantize: "none", "float16" (weights) or "dynamic": int8 weights, activations quantized as it runs.
        size: (height, width) of the images, None for any.

    Raises:
        ModelError: the network has an operation that TFLite lacks.
    """
    options = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    if quantize == "float16":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
        options["target_spec"]["supported_types"] = [tf.float16]
    export(source.name, source.model, path, size, **options)
    if quantize == "dynamic":
        with quiet(), redirect_stdout(io.StringIO()):
            quantize_inner_convolutions(path, source.model)


def convert_int8(source: Source, path: Path, size: tuple[int, int] | None, io_type: str, patches: np.ndarray) -> None:
    """Writes a file of int8 kernels alone, whose ranges are those that LR patches cause.

    Args:
        size: (height, width) of the images, None for any.
        io_type: "uint8" or "float": what the file takes and gives.
        patches: (N, H, W, 3) uint8.

    Raises:
        ModelError: the network has an operation that int8 lacks.
    """
    patches = np.array(patches)
    patches[0, 0, 0], patches[0, 0, 1] = 0, 255  # or the input would be scaled to the least and greatest that occur
    kind = tf.uint8 if io_type == "uint8" else tf.float32
    export(
        source.name,
        int8_form(source.model),
        path,
        size,
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: ([patch[None].astype(np.float32) / 255] for patch in patches),
        inference_input_type=kind,
        inference_output_type=kind,
    )


def int8_form(model: keras.Model) -> keras.Model:
    """The network with its output in a `UnitRange`, which takes the place of an Edge's clip (`edge.build`)."""
    if not isinstance(model, Edge):
        return keras.Model(model.inputs, UnitRange()(model.outputs[0]))
    sizes = {key: getattr(model, key) for key in ("scale", "num_features", "num_blocks")}
    form = keras.Model(*build(keras.layers, **sizes, shuffle=PixelShuffle(model.scale), clip=UnitRange()))
    form.set_weights(model.get_weights())
    return form


def export(name: str, model: keras.Model, path: Path, size: tuple[int, int] | None, **options) -> None:
    """Keras' own export, with options for TensorFlow's converter."""
    signature = [keras.InputSpec(shape=(1, *(size or (None, None)), 3), dtype="float32")]
    try:
        # Converter and quantizer tell their progress on stderr and stdout.
        with quiet(), redirect_stdout(io.StringIO()):
            model.export(path, format="litert", input_signature=signature, verbose=False, **options)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the converter has kinds of its own
        raise ModelError(f"{name}: {cause(error)}") from None


def cause(error: Exception) -> str:
    """Why a conversion failed: the operations that TFLite lacks, or what the converter says first."""
    lacking = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(error))))
    if lacking:
        return f"needs the operation {', '.join(lacking)}, which is no TFLite builtin; change that layer"
    return f"cannot be converted to TFLite ({first_line(error)})"


def quantize_inner_convolutions(path: Path, model: keras.Model) -> None:
    """Gives a float TFLite file int8 weights, but for the first and last convolution of its Keras model."""
    from litert_quantizer import qtyping, quantizer

    convolutions = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    work = quantizer.Quantizer(str(path))
    work.add_dynamic_config(regex=".*", operation_name=qtyping.TFLOperationName.CONV_2D, num_bits=8)
    for name in (convolutions[0], convolutions[-1]):
        work.update_quantization_recipe(
            regex=rf".*\b{name}(_\d+)?/.*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            algorithm_key="no_quantize",
        )
    work.quantize().export_model(str(path), overwrite=True)
