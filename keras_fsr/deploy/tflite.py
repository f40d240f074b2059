"""Keras generator -> TFLite file with dynamic height and width, in one of three arithmetics.

`none` keeps float32; `float16` halves the file; `dynamic` stores int8 weights and quantizes activations as it
runs, which on CPU is about three times as fast as float32. The convolutions that read and write pixels stay float
there: they are cheap, and cost more of the quality than all the others together (`docs/training.md`).
"""

import io
from contextlib import redirect_stdout
from pathlib import Path

from keras_fsr.errors import ModelError
from keras_fsr.files import whole_file
from keras_fsr.quiet import quiet

MODES = ("none", "float16", "dynamic")


def export_tflite(model, path: Path | str, quantize: str = "dynamic") -> Path:
    """Writes the TFLite form of a generator.

    Args:
        model: Keras generator, or path of its `.keras` file; images (1, H, W, 3) float32 in [0, 1].
        path: file to write; replaced whole or not at all.
        quantize: "none", "float16" or "dynamic".

    Raises:
        ModelError: unknown mode or file name, an unreadable model.
        OutputError: the file cannot be written.
    """
    if quantize not in MODES:
        raise ModelError(f"quantize {quantize!r} is unknown; use {', '.join(MODES)}")
    path = Path(path)
    if path.suffix != ".tflite":
        raise ModelError(f"{path}: a TFLite file ends in .tflite; rename the output")
    import keras
    import tensorflow as tf

    from keras_fsr import generators

    if not isinstance(model, keras.Model):
        model = generators.load(model)
    options = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    if quantize == "float16":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
        options["target_spec"]["supported_types"] = [tf.float16]
    signature = [keras.InputSpec(shape=(1, None, None, 3), dtype="float32")]
    # Converter and quantizer tell their progress on stderr and stdout; what fails is raised all the same.
    with whole_file(path) as temporary, quiet(), redirect_stdout(io.StringIO()):
        model.export(temporary, format="litert", input_signature=signature, verbose=False, **options)
        if quantize == "dynamic":
            quantize_inner_convolutions(temporary, model)
    return path


def quantize_inner_convolutions(path: Path, model) -> None:
    """Gives a float TFLite file int8 weights, but for the first and last convolution of its Keras model."""
    import keras
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
