"""The errors keras_fsr raises on purpose.

Each message is one line that names the file or value at fault and the remedy. The command line prints it
and exits with code 2; anything else that escapes is a bug.
"""


class FSRError(Exception):
    """Base of every deliberate error of the package."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A text without what ends a line or commands a terminal, and without the middle of a very long one.

    File names, values in files and other libraries' words have such.
    """
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.splitlines()))
    return line if len(line) <= 1000 else f"{line[:795]} ... {line[-200:]}"


def first_line(error: Exception) -> str:
    """What another library's error says, cut to one line; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class ImageError(FSRError):
    """An image file cannot be read, written or used as it is."""


class OutputError(FSRError):
    """A file or folder cannot be written."""


class DataError(FSRError):
    """A data folder is empty, unpaired, or holds an image that cannot be trained on."""


class RecipeError(FSRError):
    """A recipe has an unknown key, a wrong type or an impossible value."""


class ModelError(FSRError):
    """A model name or file is unknown, damaged, or not a super-resolution model."""


class TrainingError(FSRError):
    """A training cannot start, resume or go on."""


class DivergenceError(TrainingError):
    """A training has lost its way: a loss is not finite, or the generator has become much worse."""
