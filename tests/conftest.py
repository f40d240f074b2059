"""What the tests share: image files from arrays, networks through a `.keras` file, Keras' dtype policy."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def save_image(tmp_path):
    """Writes a uint8 array to a file below tmp_path and returns its path."""

    def save(name: str, array: np.ndarray):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
        return path

    return save


@pytest.fixture
def reload(tmp_path):
    """Saves a network as `.keras` and loads it again."""
    import keras

    def save_and_load(network):
        path = tmp_path / "network.keras"
        network.save(path)
        return keras.models.load_model(path)

    return save_and_load


@pytest.fixture
def dtype_policy():
    """Sets Keras' global dtype policy for one test."""
    import keras

    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)
