"""Trainings that lose their way: stopped with a reason, or rolled back to the last whole epoch."""

import csv

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DivergenceError, TrainingError
from keras_fsr.training import callbacks, distribute
from keras_fsr.training.recipes import load_recipe
from keras_fsr.training.run import train

RATE = 1e-3
CHANGES = [
    'generator.options={"num_features": 8, "growth_channels": 4, "num_blocks": 1, "hardware": true, "anchor": true}',
    "training.steps=9",
    "training.steps_per_epoch=3",
    "training.precision=float32",
    f"training.learning_rate={RATE}",
    "data.batch_size=2",
    "data.patch_size=8",
    "data.validation_limit=1",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for i in range(6):
        coarse = Image.fromarray(draw.integers(0, 256, (8, 9, 3), np.uint8))
        coarse.resize((64, 72), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def recipe():
    return load_recipe("face_x4", CHANGES)


def poison(monkeypatch, factor, times):
    """Multiplies all weights at the start of the second epoch, so many times in all."""
    left = [times]

    def spoil(self, epoch, logs=None):
        if epoch == 1 and left[0]:
            left[0] -= 1
            for network in (self.model.learner, self.model.generator):
                network.set_weights([weight * factor for weight in network.get_weights()])

    monkeypatch.setattr(callbacks.Curves, "on_epoch_begin", spoil, raising=False)


def rows(out):
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def rate_of(out):
    return load_recipe(out / "recipe.yaml").training.learning_rate


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (np.nan, r"^loss or gradient is not finite at step 3 on .*\d\.png; check these images, or lower"),
        (30.0, r"^epoch 2: PSNR-Y of the validation images is -?\d+\.\d\d dB after \d\d\.\d\d; lower the learning"),
    ],
)
def test_a_training_that_diverges_stops_and_keeps_its_last_good_epoch(
    recipe, data, tmp_path, monkeypatch, factor, reason
):
    poison(monkeypatch, factor, times=1)
    with pytest.raises(DivergenceError, match=reason):
        train(recipe, data, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "best").iterdir()] == ["epoch_0001.keras"]
    assert rate_of(tmp_path / "run") == RATE
    train(recipe, data, tmp_path / "run", resume=True)  # from there
    assert [row["step"] for row in rows(tmp_path / "run")] == ["3", "6", "9"]


@pytest.mark.parametrize("factor", [np.nan, 30.0])
def test_it_goes_on_from_the_last_good_epoch_at_half_the_rate_if_asked(
    recipe, data, tmp_path, monkeypatch, capfd, factor
):
    poison(monkeypatch, factor, times=2)
    path = train(recipe, data, tmp_path / "run", on_divergence="rollback")
    assert path.is_file()
    assert rate_of(tmp_path / "run") == RATE / 4
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == ["3", "6", "9"]
    psnr = [float(row["val_psnr_y"]) for row in found]
    assert min(psnr) > psnr[0] - 1, "the bad epoch is in the log"
    assert capfd.readouterr().err.count("Going on from the last saved epoch at half the learning rate.") == 2


def test_it_is_rolled_back_three_times_at_most(recipe, data, tmp_path, monkeypatch):
    poison(monkeypatch, np.nan, times=100)
    with pytest.raises(DivergenceError, match="not finite at step 3"):
        train(recipe, data, tmp_path / "run", on_divergence="rollback")
    assert rate_of(tmp_path / "run") == RATE / 8


def test_there_is_nothing_to_roll_back_to_in_the_first_epoch(recipe, data, tmp_path, monkeypatch):
    def spoil(self, epoch, logs=None):
        self.model.learner.set_weights([weight * np.nan for weight in self.model.learner.get_weights()])

    monkeypatch.setattr(callbacks.Curves, "on_epoch_begin", spoil, raising=False)
    with pytest.raises(DivergenceError, match="not finite at step 0"):
        train(recipe, data, tmp_path / "run", on_divergence="rollback")
    assert rate_of(tmp_path / "run") == RATE


def test_several_workers_do_not_roll_back(recipe, data, tmp_path):
    workers = distribute.Workers()
    workers.count = 2
    with pytest.raises(TrainingError, match="several workers cannot roll back"):
        train(recipe, data, tmp_path / "run", workers=workers, on_divergence="rollback")
    assert not (tmp_path / "run").exists()


def test_both_learning_rates_of_a_gan_are_halved():
    from keras_fsr.training.run import calmer

    recipe = load_recipe("face_x4_gan")
    calm = calmer(recipe)
    assert calm.training.learning_rate == recipe.training.learning_rate / 2
    assert calm.adversarial.learning_rate == recipe.adversarial.learning_rate / 2
    assert calm.data == recipe.data
