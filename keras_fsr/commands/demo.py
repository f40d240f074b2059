"""`keras-fsr demo`: a portrait, reduced and enlarged again."""

from pathlib import Path

from keras_fsr.commands.shared import DEFAULT_MODEL, add_command


def add(commands) -> None:
    parser = add_command(
        commands,
        "demo",
        "upscale a reduced portrait and show before and after",
        "keras-fsr demo",
        "keras-fsr demo --model face_x4_gan -o faces",
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("keras-fsr-demo"), help="output folder")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped model or file")
    parser.set_defaults(call=run)


def run(arguments) -> None:
    from keras_fsr.evaluation import demo
    from keras_fsr.upscalers import make_upscaler, name_of

    demo.run(make_upscaler(arguments.model), name_of(arguments.model), arguments.out)
