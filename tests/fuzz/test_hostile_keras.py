"""`.keras` files of strangers: nothing in them runs, and none asks for a terabyte and gets it."""

import base64
import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import corpus
import h5py
import keras
import pytest
from hostile import Evil, function, layer, network, refused

from keras_fsr.inference.engines import load_engine


def test_a_sound_file_is_loaded(make_keras):
    assert load_engine(make_keras()).scale == 2


def test_python_code_in_a_keras_file_is_not_run(make_keras, tmp_path):
    mark, path, inputs = str(tmp_path / "harm"), make_keras(), keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda image: open(mark, "w").close() or image)(inputs)).save(path)
    os.remove(mark)
    refused(path, "is not a Keras model", "Python lambda")
    assert not os.path.exists(mark)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("TorchModuleWrapper", {"module": "PICKLE"}),
        ("TFSMLayer", {"filepath": "FOLDER", "call_endpoint": "serve"}),
        ("StringLookup", {"vocabulary": "FOLDER/vocabulary"}),
        ("Lambda", {"function": function("system", "os"), "arguments": {"command": "touch FOLDER/harm"}}),
        ("Activation", {"activation": function("get_file", "keras.utils")}),
        ("Activation", {"activation": function("load_model", "keras.models")}),
        ("Activation", {"activation": function("enable_unsafe_deserialization", "keras.config")}),
        ("Activation", {"activation": {"class_name": "__lambda__", "config": {"value": ["4wAA", None, None]}}}),
    ],
)
def test_layers_that_load_code_or_files_are_refused(make_keras, tmp_path, name, config):
    (tmp_path / "vocabulary").write_text("a\nb\n")
    filled = json.dumps(config).replace("FOLDER", str(tmp_path))
    filled = filled.replace("PICKLE", base64.b64encode(pickle.dumps(Evil(tmp_path / "harm"))).decode())
    refused(make_keras(network(layer(name, **json.loads(filled)))), "is not a Keras model")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(("name", "module"), [("system", "os"), ("Popen", "subprocess"), ("eval", "builtins")])
def test_modules_of_python_are_not_imported_by_name(make_keras, name, module):
    refused(make_keras(layer(name, module, name="x")), "is not a Keras model")


def test_a_registered_name_gives_no_other_class(make_keras):
    edge = layer("Edge", "os", scale=2, num_features=4, num_blocks=1, reparameterized=False)
    edge["registered_name"] = "keras_fsr>FoldedConv2D"
    refused(make_keras(edge))


@pytest.mark.parametrize("config", [b"", b"[1]", b'"x"', b"[" * 100_000, b'{"a": 1}', b"\xff\xfe", b"null"])
def test_a_configuration_that_is_no_model_is_refused(make_keras, config):
    refused(make_keras(config), "is not a Keras model")


@pytest.mark.parametrize(("name", "module"), [("ReLU", "keras.layers"), ("Zeros", "keras.initializers")])
def test_an_object_that_is_no_model_is_refused(make_keras, name, module):
    refused(make_keras(layer(name, module)))


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "assets/../../evil", "model.weights.h5/x", "assets/x.txt"])
def test_members_that_no_generator_has_are_refused_and_not_unpacked(make_keras, tmp_path, name):
    path = make_keras(**{name: b"evil"})
    refused(path, "which no generator has")
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["model.weights.h5", "config.json"])
def test_a_zip_bomb_is_refused_unread(make_keras, name):
    path = make_keras()
    members = corpus.unzipped(path.read_bytes()) | {name: bytes(50_000_000)}
    path.write_bytes(corpus.zip_file(members, zipfile.ZIP_DEFLATED))
    refused(path, "it unpacks to 50")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_arrays_that_are_not_in_the_file_are_refused_before_they_are_read(make_keras, tmp_path, elsewhere):
    file = io.BytesIO(corpus.unzipped(corpus.keras_models()["plain.keras"])["model.weights.h5"])
    with h5py.File(file, "r+") as weights:
        names = []
        weights.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        del weights[names[0]]
        if elsewhere:
            (tmp_path / "secret").write_bytes(bytes(64))
            weights.create_dataset(names[0], (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
        else:
            weights.create_dataset(names[0], (700_000_000,), "f4", chunks=True)  # of which nothing is there
    tracemalloc.start()
    path = make_keras(**{"model.weights.h5": file.getvalue()})
    refused(path, "lies in another file" if elsewhere else "it unpacks to 2800")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "options",
    [
        {"filters": 60_000, "kernel_size": [60_000, 60_000]},  # a petabyte
        {"filters": 10_000, "kernel_size": [1, 1]},  # more than the file holds, if only by little
        {"filters": 20_000, "kernel_size": [40, 40], "kernel_initializer": layer("Orthogonal", "keras.initializers")},
    ],
)
def test_weights_that_are_not_in_the_file_are_refused_before_they_are_made(make_keras, options):
    before = keras.layers.Layer.add_weight
    refused(make_keras(network(layer("Conv2D", **options))), "more weights than its")
    assert keras.layers.Layer.add_weight is before


@pytest.mark.parametrize("options", [{"num_blocks": 2**63}, {"num_features": 2**17}, {"scale": -(10**6)}])
def test_counts_beyond_all_networks_are_refused_before_anything_counts_to_them(make_keras, options):
    config = {"scale": 2, "num_features": 4, "num_blocks": 1, "reparameterized": False, "name": "edge", **options}
    edge = {**layer("Edge", "keras_fsr.generators.edge", **config), "registered_name": "keras_fsr>Edge"}
    refused(make_keras(edge), f"its {next(iter(options))} is {next(iter(options.values()))}")


def test_seeds_may_be_large(make_keras):
    uniform = layer("RandomUniform", "keras.initializers", seed=2**40)
    folder = make_keras(network(layer("Conv2D", filters=3, kernel_size=[1, 1], kernel_initializer=uniform)))
    assert "its seed" not in refused(folder)


def test_a_network_whose_answer_takes_all_memory_is_refused(make_keras, tmp_path):
    # In a process with little memory; elsewhere the system may end it, which only a limit from outside prevents.
    path = make_keras(network(layer("UpSampling2D", size=[20_000, 20_000])))
    code = (
        "import resource, sys; from keras_fsr.errors import ModelError; from keras_fsr.inference import engines\n"
        "import keras; resource.setrlimit(resource.RLIMIT_DATA, (2**33, 2**33))\n"
        "try: engines.load_engine(sys.argv[1])\n"
        "except ModelError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=100)
    assert done.stdout.startswith(f"{path}: is not a super-resolution model"), done.stderr
    assert done.stdout.count("\n") == 1
