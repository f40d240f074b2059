"""Generators: low-resolution image in, high-resolution image out. One network a file."""

import importlib

# name in recipes -> (module, class)
_GENERATORS = {
    "edsr": ("baselines", "EDSR"),
    "rrdb": ("rrdb", "RRDB"),
    "srcnn": ("baselines", "SRCNN"),
    "srresnet": ("baselines", "SRResNet"),
    "vdsr": ("baselines", "VDSR"),
}


def names() -> list[str]:
    """Names of the generators, as recipes use them."""
    return sorted(_GENERATORS)


def get(name: str) -> type:
    """The class of a generator by its name (KeyError if there is none); imports Keras."""
    module, kind = _GENERATORS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), kind)


def register_all() -> None:
    """Imports every generator, so that Keras knows the classes that a `.keras` file may hold."""
    for name in _GENERATORS:
        get(name)
