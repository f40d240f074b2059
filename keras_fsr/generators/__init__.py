"""Generators: low-resolution image in, high-resolution image out. One network a file."""

import importlib

_CLASSES = {"rrdb": "RRDB"}


def names() -> list[str]:
    """Names of the generators, as recipes use them."""
    return sorted(_CLASSES)


def get(name: str) -> type:
    """The class of a generator by its name; imports Keras.

    Raises:
        KeyError: no generator has that name.
    """
    module = name
    return getattr(importlib.import_module(f"{__name__}.{module}"), _CLASSES[name])
