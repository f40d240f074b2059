"""What hostile model files are made of, and what must be said of them."""

from pathlib import Path

import pytest

from keras_fsr.errors import ModelError
from keras_fsr.inference.engines import load_engine


class Evil:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def refused(path: Path, *words: str) -> str:
    """What is said of a model file that is not loaded, in one line."""
    with pytest.raises(ModelError) as caught:
        load_engine(path, threads=1)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert told.isprintable()
    assert all(word in told for word in words), told
    return told


def layer(kind: str, module: str = "keras.layers", /, **config) -> dict:
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def network(*layers: dict) -> dict:
    start = layer("InputLayer", batch_shape=[None, None, None, 3], dtype="float32", name="input")
    return layer("Sequential", "keras", name="model", layers=[start, *layers])


def function(name: str, module: str) -> dict:
    return {"class_name": "function", "config": name, "module": module, "registered_name": f"{module}.{name}"}
