"""The shipped models: for each NAME a card NAME.json, a NAME.tflite to run and a NAME.keras to train on."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_fsr.errors import ModelError

FOLDER = Path(__file__).parent


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


def names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def card(name: str) -> Card:
    """The card of a shipped model.

    Raises:
        ModelError: no model has that name.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise ModelError(f"{name}: no such model; shipped are {', '.join(names())}, or give a file")
    return Card(**json.loads(path.read_text(encoding="utf-8")))


def weights(name: str, suffix: str = ".tflite") -> Path:
    """The file of a shipped model, after its checksum was compared with the card's.

    Raises:
        ModelError: no such model, or the file is missing or changed.
    """
    path = FOLDER / f"{name}{suffix}"
    expected = card(name).sha256.get(path.name)
    if expected is None or not path.is_file():
        raise ModelError(f"{path}: is missing; install the package again")
    if digest(path) != expected:
        raise ModelError(f"{path}: differs from the file that was shipped; install the package again")
    return path


def find(model: str | Path, suffix: str = ".tflite") -> Path:
    """The file of a model that is named: a path as it is, or the shipped model of that name in one of its forms."""
    path = Path(model)
    if path.suffix.lower() in (".tflite", ".keras") or path.is_file():
        return path
    return weights(str(model), suffix)


def digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
