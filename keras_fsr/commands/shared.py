"""What several commands share: kinds of arguments, options, a progress bar."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from keras_fsr.errors import OutputError
from keras_fsr.files import WEIGHTS_VARIABLE, make_folder

DEFAULT_MODEL = "face_x4"


def add_command(commands, name: str, purpose: str, *examples: str) -> argparse.ArgumentParser:
    """Adds a command; its help ends with examples."""
    epilog = "\n  ".join(["examples:", *examples]) if examples else None
    layout = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(name, help=purpose, description=f"{purpose}.", epilog=epilog, formatter_class=layout)


def check_output(path: Path) -> None:
    """Makes the folder of a file that is to be written: before the work, not after it.

    Raises:
        OutputError: no such file can be.
    """
    if path.is_dir() or not os.access(make_folder(path.parent), os.W_OK):
        raise OutputError(f"{path}: is a folder, or lies in one that cannot be written to; name a file")


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


def add_tag(parser) -> None:
    parser.add_argument(
        "--no-tag", dest="tag", action="store_false", help="do not write into results that they are AI-enhanced"
    )


def add_results(parser) -> None:
    parser.add_argument(
        "--results",
        action="append",
        default=[],
        type=named_folder,
        metavar="NAME=DIR",
        help="images that another model made of the reduced ones, under the names of --data; repeatable",
    )


def add_weights(parser) -> None:
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="folder of VGG, LPIPS and PieAPP weights (KERAS_FSR_WEIGHTS)"
    )


def use_weights(folder: Path | None) -> None:
    """Makes a folder the one in which every network's weights are looked for."""
    if folder:
        os.environ[WEIGHTS_VARIABLE] = str(folder)


@contextmanager
def progress_bar(label: str):
    """Yields a callable (done, total) that draws a bar with the time left, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def number_to(most: int) -> Callable[[str], int]:
    """A kind of argument: a whole number of 1 to `most`."""

    def number(text: str) -> int:
        if positive(text) > most:
            raise argparse.ArgumentTypeError(f"{text} is above {most}")
        return int(text)

    return number


threads = number_to(1024)  # LiteRT counts in 32 bits, and starts them all


def natural(text: str) -> int:
    """An argument that is a whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def image_size(text: str) -> tuple[int, int]:
    """An argument HxW: height and width in pixels."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not HxW, e.g. 64x64")
    return int(height), int(width)


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
