"""What the tests share: image files from arrays, networks through a `.keras` file, Keras' dtype
policy, a pair of shipped models."""

import dataclasses
import json
import os
import shutil

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


@pytest.fixture
def shipped_pair(tmp_path, monkeypatch):
    """A folder of shipped models: face_x4, and face_x4_gan, whose int8 weights are 10 % larger."""
    from keras_fsr import pretrained
    from keras_fsr.inference.tflite_file import TFLiteFile, is_quantized

    source, folder = pretrained.FOLDER, tmp_path / "pretrained"
    folder.mkdir()
    for name in ("face_x4.json", "face_x4.tflite"):
        shutil.copy(source / name, folder)
    file = TFLiteFile(folder / "face_x4.tflite")
    scales = [tensor.quantization.scale for tensor in file.tensors() if is_quantized(tensor)]
    gan = folder / "face_x4_gan.tflite"
    gan.write_bytes(file.overwritten([(scale, scale * np.float32(1.1)) for scale in scales]))
    card = dataclasses.asdict(pretrained.card("face_x4"))
    card |= {"name": "face_x4_gan", "fidelity": "face_x4", "sha256": {gan.name: pretrained.digest(gan)}}
    (folder / "face_x4_gan.json").write_text(json.dumps(card), encoding="utf-8")
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    return folder
