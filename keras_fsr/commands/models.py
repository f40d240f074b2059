"""`keras-fsr models`: what is shipped, and what is known of a model."""

from pathlib import Path

from keras_fsr.commands.shared import add_command
from keras_fsr.errors import FSRError


def add(commands) -> None:
    parser = add_command(
        commands,
        "models",
        "list the shipped models, or show the card of one",
        "keras-fsr models",
        "keras-fsr models face_x4",
        "keras-fsr models mine.tflite",
    )
    parser.add_argument("name", nargs="?", help="show all that is known of this model")
    parser.set_defaults(call=run)


def run(arguments) -> None:
    import json

    from keras_fsr import pretrained

    if arguments.name:
        print(json.dumps(facts_of(arguments.name), indent=2))  # in ASCII: a file's words may command a terminal
        return
    print(f"{'name':20} {'scale':>5} {'MB':>6}  {'licence':12} {'purpose':40} figures")
    for name in [*pretrained.names(), *pretrained.names(pretrained.DEGRADATION)]:
        card = pretrained.card(name)
        size = pretrained.weights(name).stat().st_size / 1e6
        figures = card.figures["headline"]
        print(f"{name:20} {'x' + str(card.scale):>5} {size:6.1f}  {card.licence:12} {card.purpose:40} {figures}")


def facts_of(model: str) -> dict:
    """What is known of a model: the card of a shipped one, or what a .tflite file says of itself."""
    from dataclasses import asdict

    from keras_fsr import pretrained
    from keras_fsr.deploy.metadata import ends_of, read_metadata
    from keras_fsr.inference.engines import check_file

    if not pretrained.is_file(model):
        return asdict(pretrained.card(model))
    check_file(model)
    if Path(model).suffix.lower() != ".tflite":
        raise FSRError(f"{model}: only .tflite files tell of themselves; export it, or name a shipped model")
    return read_metadata(model) or ends_of(model)
