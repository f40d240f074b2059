"""Settings: frozen dataclasses read from YAML, which refuse what they do not know."""

import dataclasses
import difflib
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from keras_fsr.errors import RecipeError, first_line
from keras_fsr.files import read_text

LONGEST = 2**17  # bytes of a file
SHOWN = reprlib.Repr()
SHOWN.maxstring = SHOWN.maxlong = SHOWN.maxother = 80


def read_yaml(path: Path, starts_with: str) -> dict:
    """The mapping in a YAML file, by the safe loader and without aliases, which multiply what they name.

    Raises:
        RecipeError: not YAML, or no mapping; `starts_with` tells how such a file starts.
    """
    import yaml

    try:
        text = read_text(path, LONGEST)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("an alias; write the value again")
        values = load_plain(text)
    except Exception as error:  # a tag that does not fit its value makes PyYAML raise nearly anything
        reason = " ".join(str(error).split())[:500] or first_line(error)
        raise RecipeError(f"{path}: is not plain YAML ({reason}); it starts with '{starts_with}'") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: holds no keys; it starts with '{starts_with}'")
    return values


def load_plain(text: str) -> Any:
    """What a YAML text says; raises nearly anything for what is none."""
    import yaml

    value = yaml.safe_load(text)
    if is_huge(value):
        raise ValueError("a whole number of more than 64 bits")
    return value


def is_huge(value: Any) -> bool:
    """Whether there is a whole number in a value that no setting means, and Python may not even print."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple | set):
        return any(map(is_huge, value))
    return isinstance(value, int) and value.bit_length() > 64


def build(kind: type, values: Any, where: str):
    """A dataclass from a mapping, with every key and type checked."""
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where}: is {SHOWN.repr(values)}, but must be keys and values")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise RecipeError(f"{where}: unknown key {SHOWN.repr(key)}{nearest(str(key), hints)}")
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in values and required(f)]
    if missing:
        raise RecipeError(f"{where}: lacks the key {missing[0]!r}")
    converted = {key: convert(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    try:
        return kind(**converted)
    except ValueError as error:  # of a record that checks itself
        raise RecipeError(f"{where}: {error}") from None


def required(f: dataclasses.Field) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def convert(hint, value, where: str):
    """A YAML value as the type of its field; int passes as float, and "1e-3" (a YAML string) too."""
    if isinstance(hint, types.UnionType):  # of a section that may be absent
        if value is None:
            return None
        hint = typing.get_args(hint)[0]
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        kinds = typing.get_args(hint)
        if kinds[-1] is not ... and len(kinds) != len(value):
            raise RecipeError(f"{where} is {SHOWN.repr(value)}, but must be {len(kinds)} values")
        return tuple(convert(kinds[0], item, where) for item in value)
    if typing.get_origin(hint) is Mapping and isinstance(value, Mapping):
        of = typing.get_args(hint)[1]
        if others := [key for key in value if not isinstance(key, str)]:
            raise RecipeError(f"{where} has the key {SHOWN.repr(others[0])}; keys are text")
        return {key: item if of is Any else convert(of, item, f"{where}.{key}") for key, item in value.items()}
    hint = typing.get_origin(hint) or hint
    if hint is float and isinstance(value, str | int) and not isinstance(value, bool):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{where} is {value}, but must be a finite number")
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise RecipeError(f"{where} is {SHOWN.repr(value)}, but must be of type {hint.__name__.lower()}")


def nearest(key: str, known) -> str:
    """ ", did you mean ...?" with the closest known name, or the list of all."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
