"""The shipped models: for each NAME a card NAME.json, a NAME.tflite to run and a NAME.keras to train on.

An int8 form of another model has no NAME.keras of its own. A degradation model also has a NAME.npz of the cameras it
knows; its NAME.tflite is its SynNet.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_fsr.errors import ModelError

FOLDER = Path(__file__).parent
UPSCALER, DEGRADATION = "upscaler", "degradation"


@dataclass(frozen=True)
class Card:
    """What is known of a shipped model: how it was made and what it was measured to do."""

    name: str
    description: str
    scale: int
    parameters: int
    licence: str
    sha256: dict[str, str]  # file name -> digest
    architecture: dict[str, Any]
    training: dict[str, Any]  # data, recipe, commands, hours, machine
    figures: dict[str, Any]  # protocol numbers beside bicubic's and the peers'
    limits: list[str]
    subgroups: dict[str, Any] = field(default_factory=dict)
    fidelity: str = ""  # of a perceptual model: the shipped model that it was tuned from
    kind: str = UPSCALER  # or DEGRADATION
    purpose: str = ""  # what it is for, in a few words
    float_model: str = ""  # of an int8 form: the shipped model whose NAME.keras it was made of


def names(kind: str = UPSCALER) -> list[str]:
    """Names of the shipped models of a kind."""
    return [name for name in sorted(path.stem for path in FOLDER.glob("*.json")) if card(name).kind == kind]


def card(name: str) -> Card:
    """The card of a shipped model.

    Raises:
        ModelError: no model has that name.
    """
    path = FOLDER / f"{name}.json"
    if Path(name).name != name or not path.is_file():
        raise ModelError(f"{name}: no such model; shipped are {', '.join(names())}, or give a file")
    return Card(**json.loads(path.read_text(encoding="utf-8")))


def weights(name: str, suffix: str = ".tflite") -> Path:
    """The file of a shipped model, after its checksum was compared with the card's.

    Raises:
        ModelError: no such model, or the file is missing or changed.
    """
    if suffix == ".keras" and card(name).float_model:
        name = card(name).float_model
    path = FOLDER / f"{name}{suffix}"
    expected = card(name).sha256.get(path.name)
    if expected is None or not path.is_file():
        raise ModelError(f"{path}: is missing; install the package again")
    if digest(path) != expected:
        raise ModelError(f"{path}: differs from the file that was shipped; install the package again")
    return path


def find(model: str | Path, suffix: str = ".tflite") -> Path:
    """The file of a model that is named: a path as it is, or the shipped model of that name in one of its forms."""
    return Path(model) if is_file(model) else weights(str(model), suffix)


def is_shipped(path: str | Path) -> bool:
    """Whether a file is one of the package's, whose SHA-256 `weights` compares."""
    return Path(path).parent == FOLDER


def is_file(model: str | Path) -> bool:
    """Whether a model is named by its path, not as one of the shipped."""
    return Path(model).suffix.lower() in (".tflite", ".keras") or Path(model).is_file()


def fidelity_of(model: str | Path) -> Path:
    """The `.tflite` file of the fidelity model that a shipped perceptual model was tuned from.

    Raises:
        ModelError: the model is a file, or was tuned from none.
    """
    if is_file(model):
        raise ModelError(
            f"{model}: a strength needs the fidelity model too (--fidelity-model); give its file or name"
        )
    if not card(str(model)).fidelity:
        others = ", ".join(name for name in names() if card(name).fidelity) or "none is shipped yet"
        raise ModelError(
            f"{model}: takes no strength, for it was not tuned from a fidelity model; leave the strength out, "
            f"or use a perceptual model ({others})"
        )
    return weights(card(str(model)).fidelity)


def digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
