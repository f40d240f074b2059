"""The command line: parses, calls, prints. Errors are one line on stderr and exit code 2."""

import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from keras_fsr.arguments import DEFAULT_MODEL, make_parser
from keras_fsr.errors import FSRError
from keras_fsr.files import WEIGHTS_VARIABLE, make_folder
from keras_fsr.quiet import import_tensorflow

# module that is missing -> extra that brings it
EXTRAS = {
    "tensorflow": "train",
    "keras": "train",
    "yaml": "train",
    "litert_quantizer": "train",
    "matplotlib": "train",
    "scipy": "train",
    "skimage": "demo",
    "jinja2": "report",
    "dlib": "identity",
    "face_recognition_models": "identity",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 done in part, 2 not done."""
    arguments = make_parser().parse_args(argv)
    try:
        return COMMANDS[arguments.command](arguments) or 0
    except FSRError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name == "pyiqa":
            return fail("Ma's score, a part of PI, needs pyiqa; pip install pyiqa (it brings PyTorch)")
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


def run_demo(arguments) -> None:
    from keras_fsr.evaluation import demo
    from keras_fsr.upscalers import make_upscaler, name_of

    demo.run(make_upscaler(arguments.model), name_of(arguments.model), arguments.out)


def run_upscale(arguments) -> int:
    from keras_fsr.inference.inputs import upscale_inputs
    from keras_fsr.inference.predictor import Predictor

    predictor = Predictor(
        arguments.model,
        tile=arguments.tile or None,
        overlap=arguments.overlap,
        ensemble=arguments.ensemble,
        threads=arguments.threads,
        max_pixels=arguments.max_pixels,
        strength=arguments.strength,
        fidelity=arguments.fidelity_model,
    )
    report = upscale_inputs(predictor, arguments.inputs, arguments.out, progress_bar, print)
    if len(arguments.inputs) > 1 or arguments.inputs[0].is_dir():
        print(f"{len(report.written)} written, {len(report.failed)} failed")
    for _, reason in report.failed:
        print(f"keras-fsr: failed: {reason}", file=sys.stderr)
    return 1 if report.failed else 0


def run_train(arguments) -> None:
    import_tensorflow()
    from keras_fsr.training.degradation_run import train_degradation
    from keras_fsr.training.recipes import TransferRecipe, load_recipe
    from keras_fsr.training.run import train

    use_weights(arguments.weights)
    saved = arguments.out / "recipe.yaml"
    if arguments.resume and saved.is_file():
        recipe = load_recipe(saved, arguments.set)
    else:
        recipe = load_recipe(arguments.recipe, arguments.set, arguments.budget)
    if isinstance(recipe, TransferRecipe):
        if arguments.lr_data:
            raise FSRError(f"{recipe.name}: makes its own LR images; leave out --lr-data")
        print(train_degradation(recipe, arguments.data, arguments.out, arguments.resume))
        return
    print(train(recipe, arguments.data, arguments.out, lr=arguments.lr_data, resume=arguments.resume))


def run_evaluate(arguments) -> None:
    from keras_fsr.data.folders import list_images
    from keras_fsr.evaluation import choosing, manifest, protocol, report
    from keras_fsr.upscalers import make_upscalers

    if not arguments.report and (arguments.by or arguments.show):
        raise FSRError("--by and --show are of the report; give its folder, too: --report DIR")
    methods = protocol.baselines(arguments.scale)
    models, digests = make_upscalers(
        arguments.models or [DEFAULT_MODEL], methods, arguments.ensemble, arguments.strength, arguments.fidelity_model
    )
    models |= methods
    files = list_images(arguments.data)
    results = report.read_results(arguments.results, arguments.data)
    make_lr = report.read_lr(arguments.lr_data, arguments.data) if arguments.lr_data else None
    shown = report.read_shown(arguments.show, arguments.show_results, arguments.lr_data)
    groups = manifest.read_manifest(arguments.manifest, files, arguments.by)
    sources = choosing.Sources(arguments.weights, arguments.niqe_prior, groups.get(manifest.PERSON))
    measures, left_out = choosing.choose(arguments.metrics, sources)
    if arguments.report:
        report.prepare(arguments.report)
    with progress_bar("measuring") as progress:
        rows = protocol.evaluate(models, files, arguments.scale, progress, results, measures, make_lr)
    originals = protocol.originals(files, arguments.scale, measures)
    print(report.table(rows, arguments.scale, measures, originals, left_out))
    if arguments.report:
        setting = report.describe(arguments.data, files, arguments.scale, arguments.lr_data, digests, left_out)
        groups = {column: groups[column] for column in arguments.by}
        material = report.Material(rows, measures, originals, models, results, make_lr, shown)
        written = report.write_report(arguments.report, setting, groups, material)
        print(f"written: {', '.join(map(str, written))}")


def run_opinion(arguments) -> None:
    from keras_fsr.data.folders import list_images
    from keras_fsr.evaluation import opinion, protocol, ratings, report
    from keras_fsr.upscalers import make_upscalers

    if arguments.ratings:
        if arguments.models or arguments.data:
            raise FSRError("opinion either computes from ratings or makes a page of --models; leave out one")
        ratings.show(arguments.ratings, arguments.out)
        return
    if not (arguments.models and arguments.data and arguments.out):
        raise FSRError(
            "opinion makes a page of --models on --data in the folder -o, or computes from ratings; give one"
        )
    models, _ = make_upscalers(arguments.models, protocol.baselines(arguments.scale))
    files = list_images(arguments.data)
    results = report.read_results(arguments.results, arguments.data)
    make_lr = report.read_lr(arguments.lr_data, arguments.data) if arguments.lr_data else None
    page = make_folder(arguments.out) / "opinion.html"
    design = opinion.Design(arguments.images, arguments.zoom)
    with progress_bar("enlarging") as progress:
        print(opinion.make_page(models, files, arguments.scale, page, design, progress, results, make_lr))


def run_fit_niqe(arguments) -> None:
    from keras_fsr.data.folders import list_images
    from keras_fsr.evaluation.protocol import load_rgb
    from keras_fsr.metrics.niqe import fit_niqe

    files = list_images(arguments.folder)
    prior = fit_niqe(load_rgb(file) for file in files)
    make_folder(arguments.out.parent)
    prior.save(arguments.out)
    print(f"{arguments.out}: NIQE's prior of {len(files)} images")


def run_degrade(arguments) -> int:
    from keras_fsr.data.degraded_folder import degrade_folder, replay_folder
    from keras_fsr.degradations import presets
    from keras_fsr.degradations.second_order import Degrader

    with progress_bar("degrading") as progress:
        if arguments.replay:
            report = replay_folder(arguments.folder, arguments.out, arguments.replay, progress)
        else:
            degrade = Degrader(presets.load(arguments.model, arguments.stages), arguments.scale, arguments.seed)
            report = degrade_folder(arguments.folder, arguments.out, degrade, arguments.model, progress)
    print(f"{len(report.written)} written, {len(report.failed)} failed; parameters: {report.records}")
    for _, reason in report.failed:
        print(f"keras-fsr: failed: {reason}", file=sys.stderr)
    return 1 if report.failed else 0


def run_fit_degradation(arguments) -> None:
    import_tensorflow()
    from keras_fsr.data.folders import pair_images
    from keras_fsr.data.loading import decode
    from keras_fsr.degradations.learned.transfer import fit_degradation

    pairs = [(decode(pair.hr), decode(pair.lr)) for pair in pair_images(arguments.hq, arguments.lq)]
    camera = fit_degradation(pairs, arguments.network)
    make_folder(arguments.out.parent)
    camera.save(arguments.out)
    print(f"{arguments.out}: the camera of {len(pairs)} pairs")


def run_tables(arguments) -> None:
    import_tensorflow()
    from keras_fsr.evaluation import choosing
    from keras_fsr.evaluation.measures import BASIC
    from keras_fsr.tables.make import make_table
    from keras_fsr.tables.papers import TABLES

    for paper in arguments.papers:
        if paper not in TABLES:
            raise FSRError(f"{paper}: no such paper; there are {', '.join(TABLES)}")
    use_weights(arguments.weights)
    measures = [*BASIC, *(choosing.lpips(arguments.weights) if arguments.lpips else [])]
    for paper in arguments.papers or TABLES:
        print(make_table(paper, arguments.data, arguments.out, arguments.steps, measures))


def use_weights(folder: Path | None) -> None:
    """Makes a folder the one in which every network's weights are looked for."""
    if folder:
        os.environ[WEIGHTS_VARIABLE] = str(folder)


def run_models(arguments) -> None:
    import json
    from dataclasses import asdict

    from keras_fsr import pretrained

    if arguments.name:
        print(json.dumps(asdict(pretrained.card(arguments.name)), indent=2))
        return
    print(f"{'name':14} {'scale':>5} {'MB':>6} {'parameters':>11}  {'licence':12} figures")
    for name in [*pretrained.names(), *pretrained.names(pretrained.DEGRADATION)]:
        card = pretrained.card(name)
        size = pretrained.weights(name).stat().st_size / 1e6
        figures = card.figures["headline"]
        print(f"{name:14} {'x' + str(card.scale):>5} {size:6.1f} {card.parameters:11,}  {card.licence:12} {figures}")


def run_export(arguments) -> None:
    from keras_fsr.deploy.form import Form, Tuning

    tuning = Tuning(arguments.steps, arguments.learning_rate, arguments.target, arguments.run, arguments.resume)
    # First, for what is wrong here is told without TensorFlow.
    form = Form(arguments.quantize, arguments.size, arguments.io, arguments.calibration, arguments.lr_data, tuning)
    import_tensorflow()
    from keras_fsr.deploy.tflite import export

    verified = not arguments.no_verify
    report = export(arguments.model, arguments.out, form, arguments.licence, arguments.author, verified)
    print(report or arguments.out)


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


COMMANDS = {
    "demo": run_demo,
    "upscale": run_upscale,
    "train": run_train,
    "evaluate": run_evaluate,
    "opinion": run_opinion,
    "fit-niqe": run_fit_niqe,
    "degrade": run_degrade,
    "fit-degradation": run_fit_degradation,
    "tables": run_tables,
    "models": run_models,
    "export": run_export,
}

if __name__ == "__main__":
    sys.exit(main())
