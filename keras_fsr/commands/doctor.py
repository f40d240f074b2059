"""`keras-fsr doctor`: what is installed and what this machine can do, to paste into an issue."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import keras_fsr
from keras_fsr import machine, pretrained
from keras_fsr.commands.extras import EXTRAS
from keras_fsr.commands.shared import add_command
from keras_fsr.errors import FSRError
from keras_fsr.files import WEIGHTS_VARIABLE

LIGHT = ("numpy", "cv2", "PIL", "ai_edge_litert", "rich")
"""Modules of the light install."""


def add(commands) -> None:
    purpose = "print versions, extras, weights and what this machine can do"
    parser = add_command(commands, "doctor", purpose, "keras-fsr doctor > doctor.txt")
    parser.set_defaults(call=run)


def run(arguments) -> int:
    good = True
    for label, text, well in facts():
        print(f"{label:20} {text}")
        good &= well
    return 0 if good else 1


def facts() -> Iterator[tuple[str, str, bool]]:
    """(label, what was found, whether the package can work with it)."""
    yield "keras_fsr", f"{keras_fsr.__version__}, {Path(keras_fsr.__file__).parent}", True
    yield "Python", f"{platform.python_version()}, {sys.executable}", sys.version_info >= (3, 11)
    yield "system", platform.platform(), True
    yield "CPU", f"{machine.cpu_name() or platform.processor() or 'unknown'}, {machine.available_cores()} cores", True
    flags = sorted(machine.BFLOAT16_FLAGS & machine.cpu_flags())
    yield "bfloat16", f"yes ({', '.join(flags)})" if flags else "no: training runs in float32 on this CPU", True
    for name in LIGHT:
        found = version_of(name)
        yield name, found or "MISSING: install the package again", bool(found)
    for extra in dict.fromkeys(EXTRAS.values()):
        yield f"extra {extra}", describe_extra(extra), True
    yield "ffmpeg", shutil.which("ffmpeg") or "not found: videos lose their sound", True
    folder = os.environ.get(WEIGHTS_VARIABLE)
    yield WEIGHTS_VARIABLE, describe_folder(folder), not folder or Path(folder).is_dir()
    for name in [*pretrained.names(), *pretrained.names(pretrained.DEGRADATION)]:
        try:
            yield name, f"{pretrained.weights(name).stat().st_size / 1e6:.1f} MB, unchanged", True
        except FSRError as error:
            yield name, str(error), False


def describe_extra(extra: str) -> str:
    modules = [name for name, brought_by in EXTRAS.items() if brought_by == extra]
    found = {name: version_of(name) for name in modules}
    lacking = [name for name, text in found.items() if not text]
    there = ", ".join(f"{name} {text}" for name, text in found.items() if text)
    if not lacking:
        return there
    without = f"without {', '.join(lacking)}: pip install '.[{extra}]' in the checkout"
    return f"{there}; {without}" if there else without


def version_of(module: str) -> str:
    """The version of the package that a module came with, without importing it; empty if it is not there."""
    from importlib.metadata import PackageNotFoundError, version  # here: all commands import this file

    if importlib.util.find_spec(module) is None:
        return ""
    for distribution in distributions().get(module, ()):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "(no version)"


@cache
def distributions() -> dict[str, list[str]]:
    """Module -> the packages that have it; takes a while to find out."""
    from importlib.metadata import packages_distributions

    return packages_distributions()


def describe_folder(folder: str | None) -> str:
    if not folder:
        return "not set: other networks' weights are downloaded when they are needed"
    if not Path(folder).is_dir():
        return f"{folder} is no folder"
    return f"{folder}: {', '.join(sorted(path.name for path in Path(folder).iterdir())) or 'empty'}"
