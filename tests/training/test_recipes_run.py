"""Every recipe of the package, made tiny: it runs to its end, its networks learn, and a resume loses nothing."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from keras_fsr import generators
from keras_fsr.training import callbacks, run
from keras_fsr.training.recipes import FOLDER, Recipe, list_recipes, load_recipe

STEPS, STEPS_PER_EPOCH = 4, 2
GENERATORS = {
    "edge": {"num_features": 8, "num_blocks": 1, "reparameterized": True},
    "rds": {"num_features": 8, "growth_channels": 4, "num_blocks": 1},
    "residual_shuffle": {"num_features": 8},
    "rrdb": {"num_features": 8, "growth_channels": 4, "num_blocks": 1, "hardware": True},
    "srcnn": {},
}
DISCRIMINATORS = {
    "compact": {},
    "skip": {"num_features": 4},
    "unet": {"num_features": 4},
    "vgg": {"form": "grouped", "num_features": 4},
}


def generators_recipes() -> list[str]:
    """Recipes that train a generator, not a degradation, which their section `hidden` tells."""
    return [name for name in list_recipes() if "hidden" not in yaml.safe_load((FOLDER / f"{name}.yaml").read_text())]


def tiny(name: str) -> Recipe:
    """A recipe scaled down for a CPU where it says how, and then to seconds."""
    published = load_recipe(name)
    overrides = [
        f"generator.options={json.dumps(GENERATORS[published.generator.name])}",
        f"training.steps={STEPS}",
        f"training.steps_per_epoch={STEPS_PER_EPOCH}",
        "data.batch_size=2",
        f"data.patch_size={16 if published.scale == 2 else 80 // published.scale}",  # 80 pixels: the grid needs them
        "data.validation_limit=1",
        "start=''",
    ]
    if published.perceptual:
        overrides += ["perceptual.weights=random", "perceptual.width=0.05"]
    if published.pieapp:
        overrides += ["pieapp=null"]  # 68 million parameters; test_pieapp.py tests the loss by itself
    if published.adversarial:
        options = json.dumps(DISCRIMINATORS[published.adversarial.discriminator])
        warmup = min(published.adversarial.warmup_steps, 1)
        overrides += [f"adversarial.options={options}", f"adversarial.warmup_steps={warmup}"]
    return load_recipe(name, overrides, budget=bool(published.budget))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for i in range(6):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 11, 3), np.uint8))
        coarse.resize((88, 96), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


class StoppedError(Exception):
    """What interrupts a run in these tests."""


def networks(trainer) -> dict:
    parts = {"generator": trainer.generator, "learner": trainer.learner, "discriminator": trainer.discriminator}
    return {name: part for name, part in parts.items() if part is not None}


def state(trainer) -> dict[str, list[np.ndarray]]:
    """Everything that a next step depends on."""
    values = {name: network.get_weights() for name, network in networks(trainer).items()}
    values["optimizer"] = [np.array(v) for v in trainer.optimizer.variables]
    if trainer.discriminator is not None:
        values["discriminator_optimizer"] = [np.array(v) for v in trainer.discriminator_optimizer.variables]
    return values


def train(recipe, data, out, monkeypatch, resume=False, stop_after=None):
    """Runs `run.train`; returns the trainer, its first state and the model's path, or None if it is stopped."""
    kept = {}

    def build(recipe):
        kept["trainer"] = build_trainer(recipe)
        kept["first"] = state(kept["trainer"])
        return kept["trainer"]

    def save(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        if epoch + 1 == stop_after:
            raise StoppedError

    build_trainer, on_epoch_end = run.build_trainer, callbacks.SaveState.on_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(run, "build_trainer", build)
        patch.setattr(callbacks.SaveState, "on_epoch_end", save)
        if stop_after:
            with pytest.raises(StoppedError):
                run.train(recipe, data, out, resume=resume)
            return None
        path = run.train(recipe, data, out, resume=resume)
    return kept["trainer"], kept["first"], path


@pytest.fixture(scope="module", params=generators_recipes())
def uninterrupted(request, data, tmp_path_factory):
    recipe = tiny(request.param)
    with pytest.MonkeyPatch.context() as patch:
        return recipe, *train(recipe, data, tmp_path_factory.mktemp(recipe.name) / "run", patch)


def test_recipe_runs_to_its_end(uninterrupted):
    recipe, trainer, _, path = uninterrupted
    assert trainer.step == STEPS
    out = path.parent
    assert load_recipe(out / "recipe.yaml") == dataclasses.replace(recipe, budget={})
    with open(out / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert ("d_loss" in rows[0]) == (recipe.adversarial is not None)
    assert len(list((out / "preview").iterdir())) == 2
    assert (out / "curves.png").stat().st_size > 0
    network = generators.load(path)
    assert network(np.zeros((1, 8, 8, 3), "float32")).shape == (1, 8 * recipe.scale, 8 * recipe.scale, 3)


def test_networks_of_the_recipe_learn(uninterrupted):
    _, trainer, first, _ = uninterrupted
    for name, weights in state(trainer).items():
        assert all(np.isfinite(w).all() for w in weights), name
    for name in networks(trainer):
        assert any(not np.array_equal(a, b) for a, b in zip(first[name], state(trainer)[name], strict=True)), name


def test_stopped_and_resumed_recipe_equals_an_uninterrupted_one_bit_for_bit(
    uninterrupted, data, tmp_path, monkeypatch
):
    recipe, whole, _, path = uninterrupted
    out = tmp_path / "run"
    train(recipe, data, out, monkeypatch, stop_after=1)
    resumed, _, _ = train(recipe, data, out, monkeypatch, resume=True)
    assert resumed.step == whole.step
    ours, theirs = state(resumed), state(whole)
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        assert all(np.array_equal(a, b) for a, b in zip(weights, theirs[name], strict=True)), name
    # Nor is an epoch missing from the log, or in it twice; seconds apart, it is the same.
    logs = []
    for folder in (out, path.parent):
        with open(folder / "log.csv", newline="") as file:
            logs.append([{key: row[key] for key in row if key != "seconds"} for row in csv.DictReader(file)])
    assert logs[0] == logs[1]
