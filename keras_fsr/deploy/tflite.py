"""Keras generator -> TFLite file: convert, describe, compare with Keras, and only then put it in its place.

`none` keeps float32; `float16` halves the file; `dynamic` stores int8 weights and quantizes activations as it
runs, which on CPU is about three times as fast as float32. The convolutions that read and write pixels stay float
there: they are cheap, and cost more of the quality than all the others together (`docs/training.md`). `int8` computes
with int8 alone, in ranges measured on images, `qat` after a training under that rounding besides (`quantize`).
"""

from pathlib import Path

from keras_fsr.deploy.calibration import calibration_patches, compared_pairs, portrait_pairs, read_folder
from keras_fsr.deploy.form import FLOAT_MODES, INT8_MODES, Form
from keras_fsr.deploy.metadata import describe, write_metadata
from keras_fsr.deploy.operations import check_operations
from keras_fsr.deploy.qat import quantize_aware
from keras_fsr.deploy.source import Source, load_source
from keras_fsr.deploy.verify import Report, verify, write_report
from keras_fsr.errors import ModelError
from keras_fsr.files import whole_file


def export_tflite(model, path: Path | str, quantize: str = "dynamic") -> Path:
    """Writes the TFLite form of a generator for images of any size, float in and out, without comparing it.

    Args:
        model, path: as in `export`.
        quantize: "none", "float16" or "dynamic".

    Raises:
        As `export`.
    """
    export(model, path, Form(quantize), verified=False)
    return Path(path)


def export(
    model,
    path: Path | str,
    form: Form,
    licence: str | None = None,
    author: str | None = None,
    verified: bool = True,
) -> Report | None:
    """Writes the TFLite form of a generator and FILE.report.json, if it does what the Keras model does.

    Compared is on the images of the form, on those of its folder `val` if it has one, or on a portrait.

    Args:
        model, licence, author: as `load_source` takes them.
        path: file to write; replaced whole or not at all.
        verified: compare it; without, there is no report.

    Raises:
        ModelError: a wrong form, model or file name, an operation that TFLite or int8 lacks, or a file that differs
            from the model by more than `verify.TOLERANCES`.
        DataError: images that are missing, damaged, or too few to calibrate with.
        TrainingError: QAT cannot start, resume or go on.
        OutputError: the file cannot be written.
        ModuleNotFoundError: TensorFlow, or scikit-image where no images are named, is not installed.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise ModelError(f"{path}: a TFLite file ends in .tflite; rename the output")
    source = load_source(model, licence, author)
    pairs, images = pairs_to_compare(form, source.scale) if verified else ([], "")
    with whole_file(path) as temporary:
        write(source, temporary, form)
        report = verify(source.trained, temporary, path, form.quantize, pairs, images) if verified else None
    if report:
        write_report(report, path)
    return report


def write(source: Source, path: Path, form: Form) -> None:
    """Converts a generator, checks its operations and puts the metadata in."""
    from keras_fsr.deploy.convert import convert, convert_int8

    if form.quantize in FLOAT_MODES:
        convert(source, path, form.quantize, form.size)
    else:
        pairs, _ = read_folder(form.images, form.lr_images, trained=form.quantize == "qat")
        patches = calibration_patches(pairs, source.scale)
        if form.quantize == "int8":
            convert_int8(source, path, form.size, form.io_type, patches)
        else:
            quantize_aware(source, path, form.size, form.io_type, pairs, patches, form.tuning)
    check_operations(path, source.name, integer=form.quantize in INT8_MODES)
    write_metadata(path, describe(source, form.quantize, path))


def pairs_to_compare(form: Form, scale: int) -> tuple[list, str]:
    """(LR, HR) uint8 pairs, and what they are in words."""
    if form.images is None:
        return portrait_pairs(scale), "scikit-image's astronaut"
    _, pairs = read_folder(form.images, form.lr_images, trained=form.quantize == "qat")
    return compared_pairs(pairs, scale), str(form.images)
