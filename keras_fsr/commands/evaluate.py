"""`keras-fsr evaluate`: models measured beside bicubic and Lanczos, and the report."""

from pathlib import Path

from keras_fsr.commands.shared import (
    DEFAULT_MODEL,
    Names,
    add_command,
    add_results,
    add_strength,
    add_weights,
    named_folder,
    positive,
    progress_bar,
)
from keras_fsr.errors import FSRError


def add(commands) -> None:
    parser = add_command(
        commands,
        "evaluate",
        "measure models beside bicubic and Lanczos",
        "keras-fsr evaluate --models face_x4,face_x4_gan --data FACES/val",
        "keras-fsr evaluate --model mine.keras --data FACES/val --metrics all --report report",
    )
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
    parser.set_defaults(call=run)


def run(arguments) -> None:
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
