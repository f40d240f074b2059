"""Generators: low-resolution image in, high-resolution image out. One network a file."""

import importlib
from pathlib import Path

from keras_fsr.archives import load_keras

# name in recipes -> (module, class)
_GENERATORS = {
    "edge": ("edge", "Edge"),
    "edsr": ("baselines", "EDSR"),
    "rds": ("rds", "RDS"),
    "residual_shuffle": ("residual_shuffle", "ResidualShuffle"),
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


def load(path: Path | str):
    """A generator from its `.keras` file; imports Keras.

    Raises:
        ModelError: the file is missing or is no Keras model.
    """
    for name in _GENERATORS:
        get(name)  # registers the classes that the file may name
    return load_keras(path)
