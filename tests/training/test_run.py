"""Whole trainings of a tiny network through the command line: run folder, kill and resume, refusals."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

TINY = """
name: tiny
scale: 2
generator:
  name: rrdb
  options: {num_features: 8, growth_channels: 4, num_blocks: 1, hardware: true, anchor: true}
data: {batch_size: 2, patch_size: 8}
training: {steps: 12, steps_per_epoch: 4, warmup_steps: 2, decay_share: 0.5, keep_best: 2, precision: bfloat16}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(draw.integers(0, 256, (32, 40, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return path


def command(recipe, data, out, *more):
    return [
        sys.executable, "-m", "keras_fsr.cli", "train", str(recipe), "--data", str(data), "--out", str(out), *more
    ]  # fmt: skip


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def uninterrupted(recipe, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run(recipe, data, out)
    assert done.returncode == 0, done.stderr
    return out


def weights(path):
    from keras_fsr import generators

    return generators.load(path).get_weights()


def test_a_run_leaves_log_curves_previews_checkpoints_and_model(uninterrupted):
    rows = (uninterrupted / "log.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,step,seconds,learning_rate,loss,psnr_y,val_loss,val_psnr_y")
    assert [row.split(",")[:2] for row in rows[1:]] == [["1", "4"], ["2", "8"], ["3", "12"]]
    assert Image.open(uninterrupted / "curves.png").width > 500
    assert len(list((uninterrupted / "preview").iterdir())) == 3
    assert len(list((uninterrupted / "best").glob("*.keras"))) == 2
    assert (uninterrupted / "tiny.keras").is_file()
    assert (uninterrupted / "recipe.yaml").is_file()


def test_a_run_improves_on_its_start(uninterrupted):
    import csv

    with open(uninterrupted / "log.csv") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(recipe, data, uninterrupted, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(command(recipe, data, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        # The first saved epoch is the earliest moment from which a resume makes sense.
        while not (out / "state" / "checkpoint").is_file() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert (out / "state" / "checkpoint").is_file(), "killed before the first epoch was saved"
    assert not (out / "tiny.keras").exists(), "the run had ended before it was killed"

    resumed = run(recipe, data, out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1 " not in resumed.stdout, "resumed from the start"
    ours, theirs = weights(out / "tiny.keras"), weights(uninterrupted / "tiny.keras")
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    logged = [(p / "log.csv").read_text().splitlines() for p in (out, uninterrupted)]
    first_columns = [[line.split(",")[:2] for line in lines] for lines in logged]
    assert first_columns[0] == first_columns[1], "an epoch is missing from the log, in it twice or written otherwise"


def test_a_full_run_folder_is_not_overwritten(recipe, data, uninterrupted):
    refused = run(recipe, data, uninterrupted)
    assert refused.returncode == 2
    assert refused.stderr.strip().count("\n") == 0
    assert "is not empty; add --resume" in refused.stderr


def test_resume_of_nothing_is_refused(recipe, data, tmp_path):
    refused = run(recipe, data, tmp_path / "none", "--resume")
    assert refused.returncode == 2
    assert "holds no run to resume" in refused.stderr
    assert not (tmp_path / "none").exists()


def test_a_run_stopped_in_its_first_epoch_resumes_from_the_start(recipe, data, uninterrupted, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "recipe.yaml").write_text((uninterrupted / "recipe.yaml").read_text())
    resumed = run(recipe, data, out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert weights(out / "tiny.keras")[0].tolist() == weights(uninterrupted / "tiny.keras")[0].tolist()


def test_resume_with_another_network_is_refused(recipe, data, uninterrupted):
    refused = run(recipe, data, uninterrupted, "--resume", "--set", "generator.options.num_features=16")
    assert refused.returncode == 2
    assert "does not fit this recipe" in refused.stderr


def test_bad_data_is_named(recipe, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "broken.png").write_text("no image")
    refused = run(recipe, tmp_path / "data", tmp_path / "run")
    assert refused.returncode == 2
    assert "broken.png" in refused.stderr
