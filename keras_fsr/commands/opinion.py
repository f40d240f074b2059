"""`keras-fsr opinion`: a page on which people rate images, and their DMOS."""

from pathlib import Path

from keras_fsr.commands.shared import Names, add_command, add_results, positive, progress_bar
from keras_fsr.errors import FSRError
from keras_fsr.files import make_folder


def add(commands) -> None:
    parser = add_command(
        commands,
        "opinion",
        "make a page on which people rate images, or compute their DMOS",
        "keras-fsr opinion --models face_x4,face_x4_gan,bicubic --data FACES/val --images 20 -o study",
        "keras-fsr opinion study/*.json",
    )
    parser.add_argument("ratings", nargs="*", type=Path, metavar="JSON", help="files that the page saved: compute")
    parser.add_argument("--model", "--models", nargs="+", action=Names, dest="models", help="make a page of these")
    parser.add_argument("--data", type=Path, help="folder of HR images")
    parser.add_argument("--scale", type=positive, default=4, help="reduction of the HR images (4)")
    parser.add_argument("--lr-data", type=Path, help="folder of LR images of the same names (default: reduce HR)")
    add_results(parser)
    parser.add_argument("--images", type=positive, help="so many of the images, evenly spread (all)")
    parser.add_argument("--zoom", type=positive, default=2, help="show a pixel as so many (2)")
    parser.add_argument("-o", "--out", type=Path, help="folder of the page, or .csv file of the table")
    parser.set_defaults(call=run)


def run(arguments) -> None:
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
