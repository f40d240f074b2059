"""QAT itself, in the process that knows Keras 2: twins, ranges, rounding, training, resume, the file.

tfmot must have a process of its own, and each costs seconds to start: what the tests look at is computed by two
scripts, which print it as JSON.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_fsr
from keras_fsr.data.folders import pair_images
from keras_fsr.deploy import qat
from keras_fsr.deploy.calibration import calibration_patches
from keras_fsr.deploy.form import QAT_PACKAGES, Form, Tuning
from keras_fsr.deploy.operations import operations
from keras_fsr.deploy.source import load_source
from keras_fsr.deploy.tflite import export
from keras_fsr.inference.engines import LiteRTEngine

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in QAT_PACKAGES), reason="needs the extra qat (tfmot)"
)

GRAPHS = """
import json, numpy as np
from keras_fsr.deploy.twin import *
from keras_fsr.generators.edge import Edge, fold
from keras_fsr.generators.rrdb import RRDB

rng = np.random.default_rng(0)
x = np.rint(rng.random((2, 8, 12, 3)) * 255).astype(np.float32) / 255
tiny = dict(num_features=8, growth_channels=4, num_blocks=1)
small = dict(num_features=8, num_blocks=1)
found = {}

def randomised(network):
    network.set_weights([rng.normal(0, 0.1, w.shape) for w in network.get_weights()])
    return network

def twin_of(network, clip):
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    return make_twin(type(network).__name__, network.get_config(), weights, clip)

def inner(model, name):
    return tf_keras.Model(model.inputs, model.get_layer(name).output)

networks = {f"edge x{scale}": Edge(scale, **small) for scale in (2, 4, 8)}
networks["wide edge"] = fold(randomised(Edge(4, reparameterized=True, **small)))
for scale in (1, 2, 4):
    for hardware in (False, True):
        networks[f"rrdb x{scale} {hardware}"] = RRDB(scale, hardware=hardware, anchor=hardware, **tiny)
networks["relu"] = RRDB(4, activation="relu", hardware=True, **tiny | {"num_blocks": 3})
found["twins"] = {}
for name, network in networks.items():
    expected = np.asarray(randomised(network)(x))
    found["twins"][name] = [float(np.abs(twin_of(network, False)(x) - expected).max()), float(np.std(expected))]

network = randomised(RRDB(4, hardware=True, anchor=True, **tiny))
plain, limited = twin_of(network, False), twin_of(network, True)
fold_residuals(limited)
found["limited"] = float(np.abs(limited(x) - np.clip(plain(x), 0, 1)).max())
found["scales"] = sorted(layer.scale for layer in limited.layers if isinstance(layer, ScaledResidual))

edge, batches = twin_of(networks["edge x2"], True), [x, x / 2]
found["edge"] = measure_ranges(edge, batches)
found["act1"] = float(np.mean([inner(edge, "act1")(batch).numpy().max() for batch in batches]))
found["rrdb"] = measure_ranges(twin_of(networks["relu"], True), batches)
found["leaky"] = measure_ranges(limited, batches)

quantized = simulate_int8(edge, batches)
difference = np.abs(quantized(x, training=True) - edge(x))
kernel = np.asarray(quantized.get_layer("quant_conv1").layer.kernel)
original = edge.get_layer("conv1").get_weights()[0]
steps = np.abs(original).max(axis=(0, 1, 2)) / 127
levels = np.asarray(inner(quantized, "quant_act1")(x)) / (found["edge"]["act1"][1] / 255)
found["rounding"] = {
    "kernel": float(np.abs(kernel / steps - np.rint(kernel / steps)).max()),
    "moved": float(np.abs((kernel - original) / steps).max()),
    "activation": float(np.abs(levels - np.rint(levels)).max()),
    "greatest": float(levels.max()),
    "output": float(difference.max()),
    "trained": sorted(v.shape.rank for v in quantized.trainable_variables),
}
print(json.dumps(found))
"""

TRAINING = """
import sys
from pathlib import Path
from keras_fsr.deploy import quantize

quantize.SAVE_EVERY = 2
for run in map(Path, sys.argv[1:]):
    quantize.main(run, run / "whole.tflite", None, "uint8")
    state = run / "state" / "checkpoint"
    newest = state.read_text()
    state.write_text(newest.replace("ckpt-20", "ckpt-18"))  # as if it had been killed after step 19
    quantize.main(run, run / "resumed.tflite", None, "uint8")
    state.write_text(newest)
    quantize.main(run, run / "again.tflite", None, "uint8")  # nothing is left to do
"""


def run_script(code: str, *arguments: str) -> str:
    """The last line that a script prints in a process like that of QAT."""
    environment = {**os.environ, "PYTHONPATH": str(Path(keras_fsr.__file__).parents[1]), "TF_USE_LEGACY_KERAS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def graphs() -> dict:
    return json.loads(run_script(GRAPHS))


def test_twin_computes_bit_for_bit_what_the_generator_does(graphs):
    assert len(graphs["twins"]) == 11
    for name, (difference, deviation) in graphs["twins"].items():
        assert difference == 0, name
        assert deviation > 0.01, name


def test_limits_and_folded_residuals_leave_the_twin_as_it_is(graphs):
    assert graphs["limited"] <= 0.5 / 255 + 1e-5  # half a step, and a little
    # The three dense blocks' are folded; the block's own, whose branch is no convolution, is not.
    assert graphs["scales"] == [0.2, 1.0, 1.0, 1.0]


def test_ranges_are_measured_where_int8_rounds(graphs):
    # The ReLUs, and the convolution before the sum; that sum itself ends in the limits.
    assert set(graphs["edge"]) == {"act_first", "act1", "act_image", "conv_last"}
    assert graphs["edge"]["act1"] == [0.0, pytest.approx(graphs["act1"])]
    assert graphs["edge"]["conv_last"][0] < 0
    # A leaky ReLU is no part of the convolution before it.
    assert {"block0_dense1_conv1", "block0_dense1_act1"} <= set(graphs["leaky"])


def test_ranges_are_shared_by_what_is_joined(graphs):
    ranges = graphs["rrdb"]
    joined = {tuple(ranges[f"block0_dense2_act{i}"]) for i in range(1, 5)}
    joined.add(tuple(ranges["block0_dense1_residual"]))
    assert len(joined) == 1
    assert ranges["conv_first"] == ranges["block0_dense1_act1"]
    assert tuple(ranges["block0_dense2_residual"]) not in joined
    assert not {"block0_dense1_conv1", "block0_dense1_concat1", "pixels", "clip", "shuffle"} & set(ranges)
    assert all(low <= 0 < high for low, high in ranges.values())


def test_simulation_rounds_kernels_by_channel_and_activations(graphs):
    rounding = graphs["rounding"]
    assert rounding["kernel"] < 1e-3  # of a level
    assert 0.3 < rounding["moved"] < 0.501
    assert rounding["activation"] < 1e-2
    assert rounding["greatest"] == pytest.approx(255, abs=0.01)
    assert 0 < rounding["output"] < 0.2
    assert rounding["trained"] == [1, 1, 1, 1, 4, 4, 4, 4]  # biases and kernels, no ranges


@pytest.mark.parametrize("network", ["edge", "rrdb"])
def test_file_is_one_partition_of_int8_kernels(network, many_faces, tmp_path, request, capfd):
    form = Form("qat", images=many_faces, tuning=Tuning(steps=2))
    report = export(request.getfixturevalue(network), tmp_path / "m.tflite", form)
    assert report.partitions == 1
    assert report.operations["QUANTIZE"] == 2
    assert not {"DEQUANTIZE", "MINIMUM", "RELU"} & set(report.operations)
    assert all(types <= {"INT8", "UINT8", "INT32"} for _, types in operations(tmp_path / "m.tflite"))
    assert capfd.readouterr().out.startswith("step 2/2  loss 0.")


@pytest.fixture(scope="module")
def runs(edge, many_faces, tmp_path_factory) -> dict[str, Path]:
    """Target -> folder of a training towards it, with the files of the whole, of a resumed and of a finished one."""
    source, pairs = load_source(edge), pair_images(many_faces)
    folders = {target: tmp_path_factory.mktemp(target) / "run" for target in ("original", "model")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qat, "run_process", lambda name, arguments: None)
        for target, run in folders.items():
            tuning = Tuning(steps=20, learning_rate=1e-3, target=target, run=run)
            qat.quantize_aware(source, Path("unused"), None, "uint8", pairs, calibration_patches(pairs, 4), tuning)
    run_script(TRAINING, *map(str, folders.values()))
    return folders


def enlarged(path: Path) -> np.ndarray:
    return LiteRTEngine(path)(np.random.default_rng(0).random((24, 32, 3), dtype=np.float32))


@pytest.mark.parametrize("target", ["original", "model"])
def test_resumed_training_ends_as_an_uninterrupted_one(runs, target):
    whole, resumed, again = (enlarged(runs[target] / f"{name}.tflite") for name in ("whole", "resumed", "again"))
    np.testing.assert_array_equal(resumed, whole)
    np.testing.assert_array_equal(again, whole)
    assert np.std(whole) > 0.1


def test_training_learns_what_it_is_told(runs, edge):
    image = np.random.default_rng(0).random((24, 32, 3), dtype=np.float32)
    float_model = np.clip(np.asarray(edge(image[None]))[0], 0, 1)
    distance = {target: np.abs(enlarged(run / "whole.tflite") - float_model).mean() for target, run in runs.items()}
    # The random network is far from the originals.
    assert distance["original"] > 2 * distance["model"] > 0
