"""`keras-fsr tables`: the papers' tables, trained again."""

from pathlib import Path

from keras_fsr.commands.shared import add_command, add_weights, positive, use_weights
from keras_fsr.errors import FSRError
from keras_fsr.quiet import import_tensorflow


def add(commands) -> None:
    parser = add_command(
        commands,
        "tables",
        "train the rows of the papers' tables again, small, and print them",
        "keras-fsr tables A --data FACES --steps 400",
        "keras-fsr tables --data FACES --lpips --weights WEIGHTS",
    )
    parser.add_argument("papers", nargs="*", metavar="A|B|C|D", help="which papers' tables (all)")
    parser.add_argument("--data", type=Path, required=True, help="folder with train, val and test/SIZE")
    parser.add_argument("--out", type=Path, default=Path("tables"), help="folder of runs and tables; goes on in it")
    parser.add_argument("--steps", type=positive, default=600, help="of every trained row, a multiple of 4 (600)")
    parser.add_argument("--lpips", action="store_true", help="measure LPIPS too; needs its weights")
    add_weights(parser)
    parser.set_defaults(call=run)


def run(arguments) -> None:
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
