"""The command line: parses, calls, prints. Errors are one line on stderr and exit code 2."""

import argparse
import os
import sys
from collections.abc import Sequence

import keras_fsr
from keras_fsr.commands import (
    bulk,
    completion,
    degrade,
    demo,
    doctor,
    evaluate,
    export,
    fit_degradation,
    fit_niqe,
    models,
    opinion,
    tables,
    train,
    upscale,
    web,
)
from keras_fsr.commands.extras import EXTRAS
from keras_fsr.errors import FSRError

# In the order of the help.
COMMANDS = (
    demo,
    upscale,
    bulk,
    web,
    train,
    evaluate,
    opinion,
    fit_niqe,
    degrade,
    fit_degradation,
    tables,
    models,
    export,
    doctor,
)


WELCOME = """keras-fsr: face super-resolution, from training to the phone

  keras-fsr demo                                     see what it does, on a portrait in the box
  keras-fsr upscale photo.jpg                        enlarge a photo four times; --faces for small faces in it
  keras-fsr web                                      the same in the browser, on this computer alone
  keras-fsr train face_x4 --data FACES --out RUN     train on your own faces
  keras-fsr export tflite --model RUN -o me.tflite   make it fit a phone

keras-fsr --help lists all commands, keras-fsr COMMAND --help has examples."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 done in part, 2 not done."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        print(WELCOME)
        return 0
    arguments = make_parser().parse_args(argv)
    try:
        return arguments.call(arguments) or 0
    except FSRError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name == "pyiqa":
            return fail("Ma's score, a part of PI, needs pyiqa; pip install pyiqa (it brings PyTorch)")
        if name not in EXTRAS:
            raise
        return fail(f"this command needs {name}; install the extra: pip install '.[{EXTRAS[name]}]' in the checkout")
    except BrokenPipeError:  # whoever read what is printed, such as `head`, has had enough
        return 1
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
    for command in COMMANDS:
        command.add(commands)
    completion.add(commands, parser)
    return parser


def script() -> int:
    """`main` as a shell's command, whose streams may be closed, full, or unable to show the name of a file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed: the next file that is opened would take its place
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    code = main()
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where Python flushes again at its end
        if not isinstance(error, BrokenPipeError):
            return fail(f"what is printed cannot be written ({error.strerror}); check where it goes")
    return code


if __name__ == "__main__":
    sys.exit(script())
