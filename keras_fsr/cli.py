"""The command line: parses, calls, prints. Errors are one line on stderr and exit code 2."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras_fsr
from keras_fsr.errors import FSRError, OutputError
from keras_fsr.files import make_folder
from keras_fsr.quiet import import_tensorflow

DEFAULT_MODEL = "face_x4"
# module that is missing -> extra that brings it
EXTRAS = {
    "tensorflow": "train",
    "keras": "train",
    "yaml": "train",
    "litert_quantizer": "train",
    "matplotlib": "train",
    "skimage": "demo",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 done in part, 2 not done."""
    arguments = make_parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except FSRError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRAS:
            raise
        return fail(f"this command needs {name}; install the extra: pip install '.[{EXTRAS[name]}]' in the checkout")
    except OSError as error:  # a disk that fills up, a folder that goes away
        return fail(f"{error.filename or 'a file'}: {error.strerror or error}; check the disk and permissions")
    except MemoryError:
        return fail("not enough memory; use smaller images, tiles or batches")
    except KeyboardInterrupt:
        print("keras-fsr: interrupted", file=sys.stderr)
        return 130


def fail(message: str) -> int:
    print(f"keras-fsr: error: {message}", file=sys.stderr)
    return 2


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-fsr", description="Face super-resolution, from training to the phone."
    )
    parser.add_argument("--version", action="version", version=f"keras-fsr {keras_fsr.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_demo, add_upscale, add_train, add_evaluate, add_models, add_export):
        add(commands)
    return parser


def add_demo(commands) -> None:
    parser = commands.add_parser("demo", help="upscale a reduced portrait and show before and after")
    parser.add_argument("-o", "--out", type=Path, default=Path("keras-fsr-demo"), help="output folder")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="shipped model or file")
    parser.set_defaults(run=run_demo)


def run_demo(arguments) -> None:
    from keras_fsr.evaluation import demo

    demo.run(make_upscaler(arguments.model), name_of(arguments.model), arguments.out)


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
    parser.set_defaults(run=run_upscale)


def run_upscale(arguments) -> int:
    from keras_fsr.inference.predictor import CONTINUABLE, FolderReport, Predictor, describe

    predictor = Predictor(
        arguments.model,
        tile=arguments.tile or None,
        overlap=arguments.overlap,
        ensemble=arguments.ensemble,
        threads=arguments.threads,
        max_pixels=arguments.max_pixels,
    )
    single = len(arguments.inputs) == 1
    report = FolderReport()
    targets = set()
    for path in arguments.inputs:
        try:
            out = output_for(path, arguments.out, predictor.scale, single)
            if out.resolve() in targets:
                raise OutputError(f"{path}: would overwrite {out}, the result of another input; rename one")
            targets.add(out.resolve())
            with progress_bar(path.name) as progress:
                done = predictor.predict(path, out, progress)
        except CONTINUABLE as error:
            if single:
                raise
            report.failed.append((path, describe(path, error)))
            continue
        if isinstance(done, FolderReport):
            report.written += done.written
            report.failed += done.failed
        else:
            report.written.append(done)
            print(done)
    if not single or arguments.inputs[0].is_dir():
        print(f"{len(report.written)} written, {len(report.failed)} failed")
    for _, reason in report.failed:
        print(f"keras-fsr: failed: {reason}", file=sys.stderr)
    return 1 if report.failed else 0


def output_for(path: Path, out: Path | None, scale: int, single: bool) -> Path:
    """Where the result of an input goes: beside it, to the named file, or into the named folder."""
    if path.name in ("", ".."):  # the current folder or the one above: find out what they are called
        path = path.resolve()
    name = f"{path.name}_x{scale}" if path.is_dir() else f"{path.stem}_x{scale}{path.suffix.lower()}"
    if out is None:
        return path.parent / name
    if path.is_dir():
        return out if single else out / path.name
    if out.is_dir() or not single:
        if not single:
            make_folder(out)
        return out / name
    return out


def add_train(commands) -> None:
    parser = commands.add_parser("train", help="train a recipe on a folder of images")
    parser.add_argument("recipe", help="name of a recipe in the package, or a .yaml file")
    parser.add_argument("--data", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, by its own recipe")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value, e.g. training.steps=1000",
    )
    parser.set_defaults(run=run_train)


def run_train(arguments) -> None:
    import_tensorflow()
    from keras_fsr.training.recipes import load_recipe
    from keras_fsr.training.run import train

    saved = arguments.out / "recipe.yaml"
    recipe = load_recipe(saved if arguments.resume and saved.is_file() else arguments.recipe, arguments.set)
    print(train(recipe, arguments.data, arguments.out, lr=arguments.lr_data, resume=arguments.resume))


def add_evaluate(commands) -> None:
    parser = commands.add_parser("evaluate", help="measure models beside bicubic and Lanczos")
    parser.add_argument(
        "--model", action="append", dest="models", help=f"shipped model or file, repeatable ({DEFAULT_MODEL})"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--scale", type=int, default=4, help="reduction of the HR images (4)")
    parser.add_argument("--ensemble", action="store_true", help="average 8 flips and turns")
    parser.add_argument("--report", type=Path, help="folder for figures.csv and sheet.png (default: none)")
    parser.set_defaults(run=run_evaluate)


def run_evaluate(arguments) -> None:
    from keras_fsr.data.folders import list_images
    from keras_fsr.evaluation import protocol, sheet

    names = arguments.models or [DEFAULT_MODEL]
    short = [name_of(name) for name in names]
    labels = [name if short.count(label) > 1 else label for name, label in zip(names, short, strict=True)]
    models = {label: make_upscaler(name, arguments.ensemble) for label, name in zip(labels, names, strict=True)}
    files = list_images(arguments.data)
    if arguments.report:
        make_folder(arguments.report)
    with progress_bar("measuring") as progress:
        rows = protocol.evaluate({**models, **protocol.baselines(arguments.scale)}, files, arguments.scale, progress)
    print(f"{len(files)} images, x{arguments.scale}, {arguments.scale} pixels cut from each side")
    print(protocol.format_table(protocol.summarize(rows)))
    if arguments.report:
        protocol.write_csv(rows, arguments.report / "figures.csv")
        sheet.evaluation_sheet(rows, models, arguments.scale, arguments.report / "sheet.png")
        print(f"written: {arguments.report}/figures.csv, {arguments.report}/sheet.png")


def add_models(commands) -> None:
    parser = commands.add_parser("models", help="list the shipped models, or show the card of one")
    parser.add_argument("name", nargs="?", help="show all that is known of this model")
    parser.set_defaults(run=run_models)


def run_models(arguments) -> None:
    import json
    from dataclasses import asdict

    from keras_fsr import pretrained

    if arguments.name:
        print(json.dumps(asdict(pretrained.card(arguments.name)), indent=2))
        return
    print(f"{'name':12} {'scale':>5} {'MB':>6} {'parameters':>11}  {'licence':12} figures")
    for name in pretrained.names():
        card = pretrained.card(name)
        size = pretrained.weights(name).stat().st_size / 1e6
        figures = card.figures["headline"]
        print(f"{name:12} {'x' + str(card.scale):>5} {size:6.1f} {card.parameters:11,}  {card.licence:12} {figures}")


def add_export(commands) -> None:
    from keras_fsr.deploy.tflite import MODES

    parser = commands.add_parser("export", help="write a model in another form")
    forms = parser.add_subparsers(required=True, metavar="FORM")
    tflite = forms.add_parser("tflite", help="TFLite with dynamic height and width")
    tflite.add_argument("--model", default=DEFAULT_MODEL, help="shipped model or .keras file")
    tflite.add_argument(
        "--quantize",
        default="dynamic",
        choices=MODES,
        help="float32, float16 weights, or int8 weights (dynamic)",
    )
    tflite.add_argument("-o", "--out", type=Path, required=True, help="file to write")
    tflite.set_defaults(run=run_export_tflite)


def run_export_tflite(arguments) -> None:
    import_tensorflow()
    from keras_fsr import pretrained
    from keras_fsr.deploy.tflite import export_tflite

    print(export_tflite(pretrained.find(arguments.model, ".keras"), arguments.out, arguments.quantize))


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def name_of(model: str) -> str:
    """A model's name in tables: files by their own name."""
    return Path(model).name


def make_upscaler(model: str, ensemble: bool = False) -> Callable:
    from keras_fsr.inference.predictor import Predictor

    return Predictor(model, ensemble=ensemble).predict


@contextmanager
def progress_bar(label: str):
    """Yields a callable (done, total) that draws a bar with the time left, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
