"""Checkpoints and arrays of strangers: no pickles, no files elsewhere, and one line on what is damaged."""

import io
import os
import tracemalloc
from pathlib import Path

import corpus
import numpy as np
import pytest
from hostile import Evil, layer, network
from targets import checkpoint, checkpoint_files

from keras_fsr import generators
from keras_fsr.degradations.learned.transfer import LearnedDegradation
from keras_fsr.errors import ModelError, TrainingError
from keras_fsr.metrics.niqe_prior import read_prior
from keras_fsr.training import run


@pytest.fixture
def state(tmp_path):
    """A run's folder with a saved state."""
    (tmp_path / "state").mkdir()
    for name, content in checkpoint_files().items():
        (tmp_path / "state" / name).write_bytes(content)
    return tmp_path


def not_resumed(folder: Path) -> str:
    with pytest.raises(TrainingError) as caught:
        run.restore(checkpoint(), folder)
    assert str(caught.value).startswith(f"{folder}: its saved state is damaged or does not fit this recipe (")
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_sound_state_is_restored(state):
    assert run.restore(checkpoint(), state).latest_checkpoint == str(state / "state" / "ckpt-1")


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_state_that_was_cut_is_refused(state, suffix, kept):
    (path,) = (state / "state").glob(f"*.{suffix}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    not_resumed(state)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"model_checkpoint_path: 5", b"rubbish {"])
def test_a_run_with_a_damaged_list_of_states_does_not_begin_anew(state, content):
    (state / "state" / "checkpoint").write_bytes(content)
    not_resumed(state)


def test_a_run_without_a_list_of_states_begins(state):
    # As one that was killed while it saved its first.
    (state / "state" / "checkpoint").unlink()
    assert run.restore(checkpoint(), state).latest_checkpoint is None


@pytest.mark.parametrize("field", ["model_checkpoint_path", "all_model_checkpoint_paths"])
def test_states_in_other_folders_are_not_taken_and_not_removed(state, tmp_path_factory, field):
    other = tmp_path_factory.mktemp("other")
    for name, content in checkpoint_files().items():
        (other / name).write_bytes(content)
    path = state / "state" / "checkpoint"
    lines = path.read_text().splitlines()
    lines = [f'{field}: "{other / "ckpt-1"}"' if line.startswith(f"{field}:") else line for line in lines]
    path.write_text("\n".join(lines))
    assert "names files in other folders" in not_resumed(state)


def pickled(mark: Path, **others) -> bytes:
    file = io.BytesIO()
    np.savez(file, **dict.fromkeys(others, np.array([Evil(mark)], object)))
    return file.getvalue()


@pytest.mark.parametrize("read", [LearnedDegradation.load, read_prior])
def test_pickles_in_arrays_are_not_loaded(tmp_path, read):
    path = tmp_path / "a.npz"
    names = dict.fromkeys(("omegas", "network", "scale", "mu_pris_param", "cov_pris_param"))
    path.write_bytes(pickled(tmp_path / "harm", **names))
    with pytest.raises(ModelError, match="a.npz: "):
        read(path)
    assert os.listdir(tmp_path) == ["a.npz"]


def camera(**changes) -> bytes:
    file = io.BytesIO()
    fields = {"omegas": np.zeros((2, 64), np.float32), "network": "degradation_x4", "scale": 4}
    np.savez(file, **fields | changes)
    return file.getvalue()


def test_an_array_of_terabytes_is_refused(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    path = tmp_path / "a.npz"
    path.write_bytes(corpus.zip_file({"omegas.npy": file.getvalue(), "network.npy": b"", "scale.npy": b""}))
    with pytest.raises(ModelError, match=r"a\.npz: is no file of a learned degradation"):
        LearnedDegradation.load(path)


@pytest.mark.parametrize("read", [LearnedDegradation.load, read_prior])
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused_unread(tmp_path, read):
    path = tmp_path / "a.npz"
    names = ("omegas", "network", "scale", "mu_pris_param", "cov_pris_param")
    np.savez_compressed(path, **dict.fromkeys(names, np.zeros(5_000_000)))
    tracemalloc.start()
    with pytest.raises(ModelError, match="it unpacks to 2000"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "changes",
    [{"network": "nobody"}, {"network": "a\0b"}, {"scale": 2**40}, {"scale": 2}, {"omegas": np.full((1, 64), 1e30)}],
)
def test_a_camera_that_cannot_be_is_refused_when_it_is_loaded(tmp_path, changes):
    path = tmp_path / "a.npz"
    path.write_bytes(camera(**changes))
    with pytest.raises(ModelError, match=r"a\.npz: is no file of a learned degradation") as caught:
        LearnedDegradation.load(path)
    assert str(caught.value).isprintable()


def test_what_numpys_parser_raises_of_a_header_is_told_in_a_line(tmp_path):
    path = tmp_path / "a.npz"
    members = corpus.unzipped(camera())
    members["scale.npy"] = members["scale.npy"].replace(b"}", b" ")  # a TokenError
    path.write_bytes(corpus.zip_file(members))
    with pytest.raises(ModelError, match=r"a\.npz: is no file of a learned degradation"):
        LearnedDegradation.load(path)


def test_a_degradation_network_is_loaded_as_safely_as_a_generator(make_keras):
    from keras_fsr.degradations.learned.transfer import load_network

    for path in (make_keras(network(layer("Conv2D", filters=60_000, kernel_size=[60_000, 1]))), make_keras()):
        with pytest.raises(ModelError, match=r"model\.keras: "):
            load_network(str(path))
    assert generators.load(make_keras()).count_params() > 0
