"""Where the generator of an export comes from."""

import csv
import shutil

import numpy as np
import pytest

from keras_fsr import pretrained
from keras_fsr.deploy.source import AUTHOR, find, load_source
from keras_fsr.errors import ModelError
from keras_fsr.training.recipes import load_recipe, save_recipe


@pytest.fixture
def run(tmp_path):
    """A run of three epochs, of which the second was best."""
    folder = tmp_path / "my_run"
    (folder / "best").mkdir(parents=True)
    save_recipe(load_recipe("face_x4_edge"), folder / "recipe.yaml")
    with open(folder / "log.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["epoch", "val_psnr_y"], [1, 20.0], [2, 22.0], [3, 21.0]])
    for epoch in (2, 3):
        (folder / "best" / f"epoch_{epoch:04d}.keras").touch()
    return folder


def test_finished_run_is_its_own_file(run):
    (run / "face_x4_edge.keras").touch()
    assert find(run) == run / "face_x4_edge.keras"


def test_unfinished_run_is_its_best_epoch_that_is_left(run):
    assert find(run) == run / "best" / "epoch_0002.keras"
    (run / "best" / "epoch_0002.keras").unlink()
    assert find(run) == run / "best" / "epoch_0003.keras"


def test_run_without_an_epoch_and_folder_without_a_run_are_refused(run, tmp_path):
    shutil.rmtree(run / "best")
    with pytest.raises(ModelError, match="my_run: its run has finished no epoch yet"):
        find(run)
    (run / "log.csv").unlink()
    with pytest.raises(ModelError, match="my_run: its run has finished no epoch yet"):
        find(run)
    with pytest.raises(ModelError, match="is no run folder; name a .keras file, a run or a shipped model"):
        find(tmp_path)


def test_file_that_is_no_keras_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such model"):
        find("no_such_model")
    with pytest.raises(ModelError, match=r"face_x4.tflite: is no .keras file"):
        find(pretrained.FOLDER / "face_x4.tflite")
    (tmp_path / "bad.keras").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"bad.keras: is not a Keras model"):
        load_source(tmp_path / "bad.keras")


def test_shipped_model_brings_its_licence():
    source = load_source("face_x4")
    assert (source.name, source.scale) == ("face_x4", 4)
    assert (source.licence, source.author) == ("Apache-2.0", AUTHOR)
    assert source.file == "face_x4.keras"
    assert source.sha256 == pretrained.card("face_x4").sha256["face_x4.keras"]
    assert load_source("face_x4", licence="MIT").licence == "MIT"


def test_own_model_states_what_it_is_told(edge, tmp_path):
    edge.save(tmp_path / "mine.keras")
    source = load_source(tmp_path / "mine.keras", author="A. Nother")
    assert (source.name, source.file) == ("mine", "mine.keras")
    assert (source.licence, source.author) == ("not stated", "A. Nother")
    assert source.sha256 == pretrained.digest(tmp_path / "mine.keras")


def test_model_in_memory_is_folded(edge):
    source = load_source(edge)
    assert (source.name, source.file, source.sha256) == ("small_edge", "", "")
    assert source.trained is edge
    assert not source.model.reparameterized
    x = np.random.default_rng(0).random((1, 8, 8, 3), dtype=np.float32)
    np.testing.assert_allclose(source.model(x), edge(x), atol=1e-5)


def test_model_that_does_not_enlarge_is_refused():
    import keras

    inputs = keras.Input((None, None, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(3, 3, strides=2, padding="same")(inputs))
    with pytest.raises(ModelError, match="not a super-resolution model"):
        load_source(network)
