"""`keras-fsr export`: models in other forms."""

from pathlib import Path

from keras_fsr.commands.shared import DEFAULT_MODEL, add_command, image_size, positive
from keras_fsr.quiet import import_tensorflow

MODEL = "shipped model, .keras file or run folder"


def add(commands) -> None:
    parser = add_command(commands, "export", "write a model in another form")
    forms = parser.add_subparsers(required=True, metavar="FORM")
    for form in (add_tflite, add_fixed, add_onnx, add_tf_trt):
        form(forms)


def add_tflite(forms) -> None:
    from keras_fsr.deploy.form import MODES, TARGETS, Tuning

    parser = add_command(
        forms,
        "tflite",
        "TFLite, compared with the Keras model before it is kept",
        "keras-fsr export tflite --model mine.keras -o mine.tflite",
        "keras-fsr export tflite --model face_x4 --quantize int8 --calibration FACES -o face_x4.tflite",
        "keras-fsr export tflite --model runs/mine --quantize qat --data FACES --run runs/qat -o mine.tflite",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help=MODEL)
    parser.add_argument(
        "--quantize",
        default="dynamic",
        choices=MODES,
        help="float32, float16 weights, int8 weights (dynamic), int8 throughout by calibration, or by training (qat)",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to write, and FILE.report.json beside it")
    parser.add_argument("--size", type=image_size, metavar="HxW", help="the only image size it takes (any)")
    parser.add_argument(
        "--io", choices=("float", "uint8"), help="values in [0, 1] or pixels in and out (uint8 of int8 and qat)"
    )
    parser.add_argument(
        "--calibration",
        "--data",
        type=Path,
        metavar="DIR",
        help="HR images: int8 calibrates on them, qat trains on them, all are compared on them (a portrait)",
    )
    parser.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    parser.add_argument("--steps", type=positive, default=Tuning.steps, help=f"of qat ({Tuning.steps})")
    parser.add_argument("--learning-rate", type=float, default=Tuning.learning_rate, help="of qat, at first (1e-4)")
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default=Tuning.target,
        help=f"what qat learns: the HR images, or the float model's own output ({Tuning.target})",
    )
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of qat's state, for --resume")
    parser.add_argument("--resume", action="store_true", help="go on with the qat in --run")
    parser.add_argument("--licence", help="of the model, as the file states it (that of a shipped model)")
    parser.add_argument("--author", help="the same")
    parser.add_argument("--no-verify", action="store_true", help="do not compare it with the Keras model")
    parser.set_defaults(call=run_tflite)


def add_fixed(forms) -> None:
    parser = add_command(
        forms,
        "fixed",
        "a TFLite file for any size as one for a fixed size, for browsers and phones",
        "keras-fsr export fixed --model face_x4_edge --size 64x64 -o phone.tflite",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped model or .tflite file")
    parser.add_argument("--size", type=image_size, required=True, metavar="HxW", help="the only image size it takes")
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to write")
    parser.set_defaults(call=run_fixed)


def add_onnx(forms) -> None:
    parser = add_command(
        forms,
        "onnx",
        "ONNX, compared with the Keras model before it is kept",
        "keras-fsr export onnx --model face_x4 -o face_x4.onnx --trtexec",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help=MODEL)
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to write")
    parser.add_argument("--trtexec", action="store_true", help="print the commands that make a TensorRT engine of it")
    parser.set_defaults(call=run_onnx)


def add_tf_trt(forms) -> None:
    parser = add_command(
        forms,
        "tf-trt",
        "a SavedModel for TensorRT, where TensorFlow still has it (up to 2.17)",
        "keras-fsr export tf-trt --model face_x4 --precision int8 --calibration FACES -o face_x4_trt",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help=MODEL)
    parser.add_argument("--precision", default="fp16", help="fp32, fp16 or int8 (fp16)")
    parser.add_argument("--calibration", type=Path, metavar="DIR", help="of int8: images like those to be enlarged")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the SavedModel to write")
    parser.set_defaults(call=run_tf_trt)


def run_tflite(arguments) -> None:
    from keras_fsr.deploy.form import Form, Tuning

    tuning = Tuning(arguments.steps, arguments.learning_rate, arguments.target, arguments.run, arguments.resume)
    # First, for what is wrong here is told without TensorFlow.
    form = Form(arguments.quantize, arguments.size, arguments.io, arguments.calibration, arguments.lr_data, tuning)
    import_tensorflow()
    from keras_fsr.deploy.tflite import export

    verified = not arguments.no_verify
    report = export(arguments.model, arguments.out, form, arguments.licence, arguments.author, verified)
    print(report or arguments.out)


def run_fixed(arguments) -> None:
    from keras_fsr.deploy.fixed_size import fix_size

    print(fix_size(arguments.model, arguments.out, arguments.size))


def run_onnx(arguments) -> None:
    import_tensorflow()
    from keras_fsr.deploy.onnx_file import export_onnx, trtexec

    print(export_onnx(arguments.model, arguments.out))
    if arguments.trtexec:
        print(trtexec(arguments.out))


def run_tf_trt(arguments) -> None:
    import_tensorflow()
    from keras_fsr.deploy.tf_trt import export_tf_trt

    print(export_tf_trt(arguments.model, arguments.out, arguments.precision, arguments.calibration))
