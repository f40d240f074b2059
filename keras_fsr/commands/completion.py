"""`keras-fsr completion`: what makes a shell complete commands, options and files."""

import argparse
from pathlib import Path

from keras_fsr.commands.shared import add_command


def add(commands, parser: argparse.ArgumentParser) -> None:
    """Args: parser: the whole command line, which is what will be completed."""
    command = add_command(
        commands,
        "completion",
        "print the script by which a shell completes this command",
        'eval "$(keras-fsr completion bash)"       # in ~/.bashrc',
        "keras-fsr completion zsh > ~/.zfunc/_keras-fsr",
    )
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    command.set_defaults(call=lambda arguments: run(arguments, parser))


def run(arguments, parser: argparse.ArgumentParser) -> None:
    import shtab

    for command in parsers(parser):
        for action in command._actions:
            if action.type is Path or action.dest in ("model", "models"):
                action.complete = shtab.FILE  # its own way to be told
    print(shtab.complete(parser, shell=arguments.shell))


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser and those of its commands."""
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found += parsers(command)
    return found
