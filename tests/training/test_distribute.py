"""Two worker processes on loopback: the same curve as one process, equal weights, resume after a death."""

import csv
import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from keras_fsr.data.folders import pair_images
from keras_fsr.data.patches import Patches
from keras_fsr.errors import DataError, TrainingError
from keras_fsr.training import distribute
from keras_fsr.training.recipes import load_recipe, save_recipe

STEPS, STEPS_PER_EPOCH = 6, 2
OPTIONS = json.dumps({"num_features": 8, "growth_channels": 4, "num_blocks": 1, "hardware": True})
SMALL = {
    "generator.options": OPTIONS,
    "training.steps": STEPS,
    "training.steps_per_epoch": STEPS_PER_EPOCH,
    "training.precision": "float32",
    "training.ema_decay": 0.9,
    "data.batch_size": 4,
    "data.patch_size": 16,
    "data.validation_limit": 1,
    "perceptual.weights": "random",
    "perceptual.width": 0.05,
    "adversarial.options": json.dumps({"num_features": 4}),
}
RECIPES = {
    # B: batch normalisation in the discriminator, relativistic averages over the batch, Adam.
    "esrgan_pieapp_x4": {"pieapp": "null"},
    # D: spectral normalisation, per-pixel logits, degraded patches; with Muon and with gradients that are clipped.
    "degradation_esrgan_x4": {
        "training.optimizer": "muon",
        "training.clip_norm": 0.01,
        "adversarial.warmup_steps": 1,
        "degradation.presets": json.dumps({"real-esrgan": 1.0}),
    },
}

# Trains as `keras-fsr train` does, then writes all that a next step would depend on.
CODE = """
import sys
from pathlib import Path
from keras_fsr.quiet import import_tensorflow
import_tensorflow()
from keras_fsr.training.distribute import choose
workers = choose("auto")
import numpy as np
from keras_fsr.errors import FSRError
from keras_fsr.training import run
from keras_fsr.training.recipes import load_recipe
build, kept = run.build_trainer, []
run.build_trainer = lambda recipe: kept.append(build(recipe)) or kept[0]
recipe, data, out, state, resume = sys.argv[1:]
try:
    run.train(load_recipe(recipe), data, out, resume=resume == "resume", workers=workers)
except FSRError as error:
    print(error)
    sys.exit(2)
values = [np.array(v) for v in run.variables_of(kept[0])]
np.savez(state, *values)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for i in range(6):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 11, 3), np.uint8))
        coarse.resize((88, 96), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module", params=sorted(RECIPES))
def recipe(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    changes = [f"{key}={value}" for key, value in {**SMALL, **RECIPES[request.param]}.items()]
    save_recipe(load_recipe(request.param, changes), path)
    return path


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start(count, recipe, data, out, resume=""):
    """The processes of a training; worker i writes its state to OUT.i.npz and says why it stopped in OUT.i.txt."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    processes = []
    for i in range(count):
        environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if count > 1:
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
            environment["TF_CONFIG"] = json.dumps(task)
        state = out.with_name(f"{out.name}.{i}.npz")
        with open(out.with_name(f"{out.name}.{i}.txt"), "w") as said:
            own = recipe[i] if isinstance(recipe, list) else recipe
            arguments = [sys.executable, "-c", CODE, own, data, out, state, resume]
            processes.append(subprocess.Popen(arguments, env=environment, stdout=said, stderr=subprocess.STDOUT))
    return processes


def finish(processes) -> list[int]:
    try:
        return [process.wait(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()


def said(out, worker: int) -> str:
    return out.with_name(f"{out.name}.{worker}.txt").read_text()


def state(out, worker: int) -> list[np.ndarray]:
    with np.load(out.with_name(f"{out.name}.{worker}.npz")) as arrays:
        return [arrays[name] for name in arrays.files]


def curve(out) -> list[dict[str, float]]:
    with open(out / "log.csv", newline="") as file:
        return [{key: float(row[key]) for key in row if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def together(recipe, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("together") / "run"
    assert finish(start(2, recipe, data, out)) == [0, 0], said(out, 0) + said(out, 1)
    return out


def test_two_workers_end_with_equal_weights_to_the_last_bit(together):
    ours, theirs = state(together, 0), state(together, 1)
    assert ours[0] == STEPS
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_two_workers_have_the_curve_of_one_process(recipe, data, together, tmp_path):
    out = tmp_path / "run"
    assert finish(start(1, recipe, data, out)) == [0], said(out, 0)
    alone, shared = curve(out), curve(together)
    assert [row["step"] for row in shared] == [2, 4, 6]
    assert alone[0].keys() == shared[0].keys()
    for one, two in zip(alone, shared, strict=True):
        for key in one:
            assert two[key] == pytest.approx(one[key], rel=1e-4, abs=1e-4), key


def test_killed_worker_stops_the_others_and_all_resume_from_the_last_epoch(recipe, data, together, tmp_path):
    out = tmp_path / "run"
    workers = start(2, recipe, data, out)
    try:
        deadline = time.monotonic() + 200
        while not (out / "state" / "checkpoint").is_file() and time.monotonic() < deadline:
            time.sleep(0.02)
        workers[1].kill()
        assert workers[0].wait(timeout=100) == 2
    finally:
        finish(workers)
    assert "another worker was lost" in said(out, 0)
    assert "--resume" in said(out, 0).splitlines()[-1]
    assert curve(out)[-1]["step"] < STEPS

    assert finish(start(2, recipe, data, out, "resume")) == [0, 0], said(out, 0) + said(out, 1)
    assert all(np.array_equal(a, b) for a, b in zip(state(out, 0), state(together, 0), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(state(out, 1), state(together, 1), strict=True))
    assert curve(out) == curve(together)


def test_workers_that_were_given_different_recipes_are_refused(recipe, data, tmp_path):
    other = tmp_path / "other.yaml"
    save_recipe(load_recipe(recipe, ["training.learning_rate=0.5"]), other)
    out = tmp_path / "run"
    assert finish(start(2, [recipe, other], data, out)) == [2, 2]
    for worker in (0, 1):
        assert "worker 1 has another recipe than worker 0" in said(out, worker)
    assert not out.exists()


def test_shares_of_the_workers_are_the_batch_in_its_order(data):
    patches = Patches(pair_images(data), 2, batch_size=6, patch_size=8)
    whole = list(patches.dataset(3).take(3).as_numpy_iterator())
    shares = [list(patches.dataset(3, worker, 3).take(3).as_numpy_iterator()) for worker in range(3)]
    for step, batch in enumerate(whole):
        for part in (0, 1):
            np.testing.assert_array_equal(np.concatenate([share[step][part] for share in shares]), batch[part])


def test_batch_that_has_no_equal_shares_is_refused(data):
    with pytest.raises(DataError, match="batch_size 4 cannot be shared by 3 workers"):
        Patches(pair_images(data), 2, batch_size=4, patch_size=8).dataset(0, 0, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no cluster"),
        ("{", "names no cluster"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "names no cluster"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"index": 0}}', "two are needed"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 2}}', "by the index 2"),
    ],
)
def test_cluster_that_cannot_be_is_refused(text, words, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(TrainingError, match=words):
        distribute.choose("multiworker")


def test_worker_knows_its_number_and_how_many_there_are(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"index": 1}}')
    assert distribute.task() == (1, 3)


@pytest.mark.parametrize("strategy", ["auto", "mirrored"])
def test_without_cluster_and_several_gpus_one_process_trains(strategy, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(distribute.tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert distribute.workers_to_start(strategy) == 0
    assert distribute.choose(strategy) is distribute.ALONE


@pytest.mark.parametrize(("strategy", "count"), [("auto", 3), ("mirrored", 3), ("multiworker", 0)])
def test_each_of_several_gpus_gets_a_worker(strategy, count, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(distribute.tf.config, "list_physical_devices", lambda kind: ["GPU"] * 3)
    assert distribute.workers_to_start(strategy) == count
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert distribute.workers_to_start(strategy) == 0


# What a started process finds. Text, for it need not find this file.
WRITE_ENVIRONMENT = """
import json, os, sys
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
with open(f"FOLDER/{index}", "w") as file:
    json.dump([os.environ["TF_CONFIG"], os.environ["CUDA_VISIBLE_DEVICES"]], file)
sys.exit(index)
"""


@pytest.mark.parametrize(("visible", "expected"), [("4,7", ["4", "7"]), ("", ["0", "1"])])
def test_started_workers_know_the_cluster_and_have_a_gpu_each(tmp_path, monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    code = WRITE_ENVIRONMENT.replace("FOLDER", tmp_path.as_posix())
    assert distribute.start_workers(2, exec, code) == 1, "not the worst exit code"
    told = [json.loads((tmp_path / str(i)).read_text()) for i in (0, 1)]
    clusters = [json.loads(config)["cluster"] for config, _ in told]
    assert clusters[0] == clusters[1]
    assert len(set(clusters[0]["worker"])) == 2
    assert [gpu for _, gpu in told] == expected
    assert "TF_CONFIG" not in os.environ
