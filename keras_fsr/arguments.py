"""What the command line takes: its commands and their options. `cli` runs them."""

import argparse
from pathlib import Path

import keras_fsr

DEFAULT_MODEL = "face_x4"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-fsr", description="Face super-resolution, from training to the phone."
    )
    parser.add_argument("--version", action="version", version=f"keras-fsr {keras_fsr.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for add in (
        add_demo,
        add_upscale,
        add_train,
        add_evaluate,
        add_opinion,
        add_fit_niqe,
        add_degrade,
        add_fit_degradation,
        add_tables,
        add_models,
        add_export,
    ):
        add(commands)
    return parser


def add_demo(commands) -> None:
    parser = commands.add_parser("demo", help="upscale a reduced portrait and show before and after")
    parser.add_argument("-o", "--out", type=Path, default=Path("keras-fsr-demo"), help="output folder")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped model or file")


def add_upscale(commands) -> None:
    parser = commands.add_parser("upscale", help="enlarge images and folders of images")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="image files or folders")
    parser.add_argument(
        "-o", "--out", type=Path, help="output file, or folder for several inputs (default: beside the input)"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped model or .tflite/.keras file")
    parser.add_argument("--tile", type=int, default=256, help="pixels a side at once; 0 = whole (256)")
    parser.add_argument("--overlap", type=int, default=32, help="pixels that tiles share (32)")
    parser.add_argument("--ensemble", action="store_true", help="average 8 flips and turns: better, slower")
    parser.add_argument("--threads", type=positive, help="CPU threads (all)")
    parser.add_argument("--max-pixels", type=int, default=64_000_000, help="refuse larger inputs (64000000)")
    add_strength(parser, metavar="0..1")


def add_strength(parser, **options) -> None:
    parser.add_argument(
        "--strength",
        type=float,
        help="draw a perceptual model towards its fidelity model: 0 faithful, 1 as it is (as it is)",
        **options,
    )
    parser.add_argument(
        "--fidelity-model", metavar="MODEL", help="what --strength draws towards; a shipped model knows its own"
    )


def add_train(commands) -> None:
    parser = commands.add_parser("train", help="train a recipe on a folder of images")
    parser.add_argument("recipe", help="name of a recipe in the package, or a .yaml file")
    parser.add_argument("--data", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, by its own recipe")
    parser.add_argument("--budget", action="store_true", help="scale a published recipe down to a CPU, as it says")
    add_weights(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value, e.g. training.steps=1000",
    )


def add_evaluate(commands) -> None:
    parser = commands.add_parser("evaluate", help="measure models beside bicubic and Lanczos")
    parser.add_argument(
        "--model",
        "--models",
        nargs="+",
        action=Names,
        dest="models",
        help=f"shipped models or files ({DEFAULT_MODEL}); bicubic and lanczos are always measured",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--scale", type=positive, default=4, help="reduction of the HR images (4)")
    parser.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    add_results(parser)
    parser.add_argument("--ensemble", action="store_true", help="average 8 flips and turns")
    add_strength(parser, nargs="+", metavar="0..1")
    parser.add_argument(
        "--metrics",
        nargs="+",
        action=Names,
        default=[],
        metavar="METRIC",
        help="besides PSNR, SSIM, grid and colour: lpips, lpips-vgg, lpips-alex, pieapp, niqe, pi, identity, or all "
        "that this machine has the weights and extras for",
    )
    add_weights(parser)
    parser.add_argument("--niqe-prior", type=Path, metavar="FILE", help="of fit-niqe (default: the published one)")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="folder for report.html, report.md and the figures"
    )
    parser.add_argument("--manifest", type=Path, metavar="CSV", help="table with a column file, for --by")
    parser.add_argument(
        "--by",
        nargs="+",
        action=Names,
        default=[],
        metavar="COLUMN",
        help="columns of the manifest whose groups the report keeps apart",
    )
    parser.add_argument(
        "--show", type=Path, metavar="DIR", help="HR images to draw instead of measured ones, e.g. free to publish"
    )
    parser.add_argument(
        "--show-results",
        action="append",
        default=[],
        type=named_folder,
        metavar="NAME=DIR",
        help="what another model made of those of --show; repeatable",
    )


def add_opinion(commands) -> None:
    parser = commands.add_parser("opinion", help="make a page on which people rate images, or compute their DMOS")
    parser.add_argument("ratings", nargs="*", type=Path, metavar="JSON", help="files that the page saved: compute")
    parser.add_argument("--model", "--models", nargs="+", action=Names, dest="models", help="make a page of these")
    parser.add_argument("--data", type=Path, help="folder of HR images")
    parser.add_argument("--scale", type=positive, default=4, help="reduction of the HR images (4)")
    parser.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    add_results(parser)
    parser.add_argument("--images", type=positive, help="so many of the images, evenly spread (all)")
    parser.add_argument("--zoom", type=positive, default=2, help="show a pixel as so many (2)")
    parser.add_argument("-o", "--out", type=Path, help="folder of the page, or .csv file of the table")


def add_results(parser) -> None:
    parser.add_argument(
        "--results",
        action="append",
        default=[],
        type=named_folder,
        metavar="NAME=DIR",
        help="images that another model made of the reduced ones, under the names of --data; repeatable",
    )


def add_fit_niqe(commands) -> None:
    parser = commands.add_parser("fit-niqe", help="fit NIQE's model of pristine images on a folder of yours")
    parser.add_argument("folder", type=Path, metavar="DIR", help="undistorted images, the larger the better")
    parser.add_argument("-o", "--out", type=Path, required=True, help=".npz file, for evaluate --niqe-prior")


def add_degrade(commands) -> None:
    parser = commands.add_parser("degrade", help="make an LR set of a folder of HR images")
    parser.add_argument("folder", type=Path, metavar="DIR", help="HR images")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of LR images and their parameters")
    parser.add_argument(
        "--model",
        default="real-esrgan",
        metavar="DEGRADATION",
        help="real-esrgan, bsrgan, face, camera, jiang, bicubic, learned, a YAML file, or the .npz of "
        "fit-degradation (real-esrgan)",
    )
    parser.add_argument("--scale", type=positive, default=4, help="HR side / LR side (4)")
    parser.add_argument("--stages", type=positive, help="of a preset with stages: 1 to 4 (as it has)")
    parser.add_argument("--seed", type=natural, default=0, help="fixes every parameter and all noise (0)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="repeat the degradations.jsonl of another run")


def add_fit_degradation(commands) -> None:
    parser = commands.add_parser("fit-degradation", help="learn a camera's degradation from pairs of images")
    parser.add_argument("--hq", type=Path, required=True, help="folder of originals")
    parser.add_argument("--lq", type=Path, required=True, help="folder of what the camera made of them, same names")
    parser.add_argument("--network", default="degradation_x4", help="shipped degradation model or .keras file")
    parser.add_argument("-o", "--out", type=Path, required=True, help=".npz file, for degrade --model and recipes")


def add_tables(commands) -> None:
    parser = commands.add_parser("tables", help="train the rows of the papers' tables again, small, and print them")
    parser.add_argument("papers", nargs="*", metavar="A|B|C|D", help="which papers' tables (all)")
    parser.add_argument("--data", type=Path, required=True, help="folder with train, val and test/SIZE")
    parser.add_argument("--out", type=Path, default=Path("tables"), help="folder of runs and tables; goes on in it")
    parser.add_argument("--steps", type=positive, default=600, help="of every trained row, a multiple of 4 (600)")
    parser.add_argument("--lpips", action="store_true", help="measure LPIPS too; needs its weights")
    add_weights(parser)


def add_weights(parser) -> None:
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="folder of VGG, LPIPS and PieAPP weights (KERAS_FSR_WEIGHTS)"
    )


def add_models(commands) -> None:
    parser = commands.add_parser("models", help="list the shipped models, or show the card of one")
    parser.add_argument("name", nargs="?", help="show all that is known of this model")


def add_export(commands) -> None:
    from keras_fsr.deploy.form import MODES, TARGETS, Tuning

    parser = commands.add_parser("export", help="write a model in another form")
    forms = parser.add_subparsers(required=True, metavar="FORM", dest="form")
    tflite = forms.add_parser("tflite", help="TFLite, compared with the Keras model before it is kept")
    tflite.add_argument("--model", default=DEFAULT_MODEL, help="shipped model, .keras file or run folder")
    tflite.add_argument(
        "--quantize",
        default="dynamic",
        choices=MODES,
        help="float32, float16 weights, int8 weights (dynamic), int8 throughout by calibration, or by training (qat)",
    )
    tflite.add_argument("-o", "--out", type=Path, required=True, help="file to write, and FILE.report.json beside it")
    tflite.add_argument("--size", type=image_size, metavar="HxW", help="the only image size it takes (any)")
    tflite.add_argument(
        "--io", choices=("float", "uint8"), help="values in [0, 1] or pixels in and out (uint8 of int8 and qat)"
    )
    tflite.add_argument(
        "--calibration",
        "--data",
        type=Path,
        metavar="DIR",
        help="HR images: int8 calibrates on them, qat trains on them, all are compared on them (a portrait)",
    )
    tflite.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    tflite.add_argument("--steps", type=positive, default=Tuning.steps, help=f"of qat ({Tuning.steps})")
    tflite.add_argument("--learning-rate", type=float, default=Tuning.learning_rate, help="of qat, at first (1e-4)")
    tflite.add_argument(
        "--target",
        choices=TARGETS,
        default=Tuning.target,
        help=f"what qat learns: the HR images, or the float model's own output ({Tuning.target})",
    )
    tflite.add_argument("--run", type=Path, metavar="DIR", help="folder of qat's state, for --resume")
    tflite.add_argument("--resume", action="store_true", help="go on with the qat in --run")
    tflite.add_argument("--licence", help="of the model, as the file states it (that of a shipped model)")
    tflite.add_argument("--author", help="the same")
    tflite.add_argument("--no-verify", action="store_true", help="do not compare it with the Keras model")


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def image_size(text: str) -> tuple[int, int]:
    """An argument HxW: height and width in pixels."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not HxW, e.g. 64x64")
    return int(height), int(width)


def natural(text: str) -> int:
    """An argument that is a whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


class Names(argparse.Action):
    """Collects names with spaces or commas between them, of repeated options too."""

    def __call__(self, parser, namespace, values, option_string=None):
        found = [name for text in values for name in text.split(",") if name]
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), *found])


def named_folder(text: str) -> tuple[str, Path]:
    """An argument NAME=DIR."""
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=DIR")
    return name, Path(folder)
