"""Keras generator -> SavedModel whose graph TensorRT runs (TF-TRT), where TensorFlow still has it.

TensorFlow left TensorRT out with version 2.18; `onnx_file` is the way for newer ones. NOT RUN AGAINST TENSORRT HERE:
the tests put a stand-in in the place of TensorFlow's converter, which takes the arguments that the true one takes.
The wheel of TensorFlow 2.17.1 was seen to load and save shipped models under Keras 3.15, and to be linked with
TensorRT 8.6.1; NVIDIA's container was not tried.

Source: `tf.experimental.tensorrt.Converter` (TrtGraphConverterV2) and the TF-TRT user guide, dynamic shape mode.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from keras_fsr.data.folders import list_images
from keras_fsr.data.loading import decode
from keras_fsr.deploy.source import load_source
from keras_fsr.errors import FSRError, ModelError, OutputError, first_line
from keras_fsr.files import make_folder
from keras_fsr.quiet import quiet

PRECISIONS = ("fp32", "fp16", "int8")
SIDES = (16, 512)  # pixels; of the smallest and the largest image that the engine is built for
CALIBRATION_SIDE = 64  # TensorRT wants all images of a calibration to have one size
CALIBRATION_IMAGES = 200


def export_tf_trt(model, folder: Path | str, precision: str = "fp16", calibration: Path | str | None = None) -> Path:
    """Writes the TF-TRT form of a generator, a SavedModel; its engines are built for the GPU of this machine.

    The signature `serving_default` maps `lr`, (1, H, W, 3) float32 RGB in [0, 1] with sides of 16 to 512 pixels, to
    (1, H * scale, W * scale, 3).

    Args:
        model: as `load_source` takes it; the wide form of an Edge is folded.
        folder: SavedModel to write; must not exist, and appears when it is complete.
        precision: "fp32", "fp16" or "int8".
        calibration: of int8, folder of images like those to be enlarged; the middle 64x64 pixels of 200 are used.

    Raises:
        ModelError: unknown precision, int8 without calibration or calibration without int8, an output that exists,
            an unreadable model, a TensorFlow without TensorRT, or a conversion that fails.
        DataError: the calibration folder holds no image, or a damaged one.
        OutputError: the folder cannot be written.
        ModuleNotFoundError: Keras or TensorFlow is not installed.
    """
    folder = Path(folder)
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r} is unknown; use {', '.join(PRECISIONS)}")
    if (precision == "int8") != (calibration is not None):
        raise ModelError(f"{precision}: int8 takes a folder of images to calibrate with, fp32 and fp16 take none")
    if folder.exists():
        raise ModelError(f"{folder}: exists already; name a new folder")
    images = list_images(calibration)[:CALIBRATION_IMAGES] if calibration else None
    make_folder(folder.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as work:
            convert(model, Path(work), precision, images).rename(folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another output"
        ) from error
    return folder


def convert(model, work: Path, precision: str, images: list[Path] | None) -> Path:
    """Makes the converted SavedModel in a work folder and returns its path."""
    start, target = work / "keras", work / "tensorrt"
    converter = make_converter(start, precision)  # reads nothing yet, but knows whether it could
    source = load_source(model)
    save_model(source.model, start)
    try:
        converter.convert(calibration_input_fn=images and partial(patches, images))
        converter.build(input_fn=extremes)
        converter.save(str(target))
    except (FSRError, OSError, MemoryError):
        raise
    except Exception as error:  # TensorFlow's own kinds beside ValueError and RuntimeError
        raise ModelError(f"{source.name}: TensorRT cannot convert it ({first_line(error)})") from None
    return target


def make_converter(start: Path, precision: str):
    """TensorFlow's converter of a SavedModel that is yet to be written.

    Raises:
        ModelError: this TensorFlow has no TensorRT.
    """
    import tensorflow as tf

    try:
        with quiet():
            return tf.experimental.tensorrt.Converter(
                input_saved_model_dir=str(start),
                precision_mode=precision.upper(),
                use_dynamic_shape=True,
                dynamic_shape_profile_strategy="Range",
            )
    except (AttributeError, RuntimeError):
        raise ModelError(
            f"TensorFlow {tf.__version__} finds no TensorRT; use the wheel tensorflow 2.17 (Linux, CUDA) with the "
            f"libraries of TensorRT 8.6, or NVIDIA's container nvcr.io/nvidia/tensorflow:25.02-tf2-py3; for newer "
            f"ones export/to_onnx.py --trtexec is the way to TensorRT"
        ) from None


def save_model(generator, folder: Path) -> None:
    """Writes a generator as a SavedModel for images of any size."""
    import keras

    signature = [keras.InputSpec(shape=(None, None, None, 3), dtype="float32", name="lr")]
    with quiet():
        generator.export(folder, format="tf_saved_model", input_signature=signature, verbose=False)


def patches(files: list[Path], side: int = CALIBRATION_SIDE) -> Iterator[tuple[np.ndarray]]:
    """The middle of each image as a converter's input, ((1, side, side, 3) float32,); smaller ones are mirrored."""
    for file in files:
        pixels = decode(file)
        short = [max(0, side - length) for length in pixels.shape[:2]]
        pixels = np.pad(pixels, [(0, short[0]), (0, short[1]), (0, 0)], mode="symmetric")
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        yield (pixels[None, top : top + side, left : left + side].astype(np.float32) / 255,)


def extremes() -> Iterator[tuple[np.ndarray]]:
    """Inputs of the smallest and the largest size, between which the engine's profile lies."""
    for side in SIDES:
        yield (np.zeros((1, side, side, 3), np.float32),)
