"""Keras generator -> TFLite file with dynamic height and width, in one of three arithmetics.

`none` keeps float32; `float16` halves the file; `dynamic` stores int8 weights and quantizes activations as it
runs, which on CPU is several times faster than float32 at a loss of some thousandths of a dB.
"""

from pathlib import Path

from keras_fsr.errors import ModelError
from keras_fsr.files import whole_file

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
    import keras
    import tensorflow as tf

    from keras_fsr import generators

    if not isinstance(model, keras.Model):
        model = generators.load(model)
    options = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    if quantize != "none":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        options["target_spec"]["supported_types"] = [tf.float16]
    path = Path(path)
    if path.suffix != ".tflite":
        raise ModelError(f"{path}: a TFLite file ends in .tflite; rename the output")
    signature = [keras.InputSpec(shape=(1, None, None, 3), dtype="float32")]
    with whole_file(path) as temporary:
        model.export(temporary, format="litert", input_signature=signature, verbose=False, **options)
    return path
