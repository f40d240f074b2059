"""A whole training of DegNet and SynNet: its recipe, its run folder, and that a resume loses nothing."""

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli
from keras_fsr.degradations.learned.network import DegradationTransfer
from keras_fsr.degradations.learned.transfer import fit_degradation
from keras_fsr.errors import DataError, RecipeError, TrainingError
from keras_fsr.training import callbacks, degradation_run
from keras_fsr.training.recipes import TransferRecipe, load_recipe, save_recipe

SMALL = {"filters": [4, 4, 4, 4], "hidden": 8}
TINY = [
    "hidden.cameras=4",
    "hidden.pictures=2",
    "hidden.size=24",
    "hidden.patch_size=16",
    "hidden.batch_size=2",
    "hidden.validation_cameras=3",
    "hidden.validation_share=0.34",
    f"networks={json.dumps({'size': 6, 'degnet': SMALL, 'synnet': SMALL | {'dense': 2}})}",
    "training.steps=4",
    "training.steps_per_epoch=2",
    "training.warmup_steps=1",
    "perceptual.weights=random",
    "perceptual.width=0.05",
    "adversarial.options={num_features: 4}",
    "adversarial.weight=0.25",
    "perceptual.weight=0.5",
    "omega={bands_weight: 0.1, same_weight: 0.2, other_weight: 0.3, margin: 0.4, swap: 0.6}",
    "training.ema_decay=0.9",
]


def tiny(*overrides: str) -> TransferRecipe:
    return load_recipe("degradation_x4", [*TINY, *overrides])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six images of 112x100."""
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for i in range(6):
        coarse = Image.fromarray(draw.integers(0, 256, (25, 28, 3), np.uint8))
        coarse.resize((112, 100), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


class StoppedError(Exception):
    """What interrupts a run in these tests."""


def state(trainer) -> dict[str, list[np.ndarray]]:
    """Everything that a next step depends on, and the averages."""
    return {
        "generator": trainer.generator.get_weights(),
        "learner": trainer.learner.get_weights(),
        "discriminator": trainer.discriminator.get_weights(),
        "optimizer": [np.array(v) for v in trainer.optimizer.variables],
        "discriminator_optimizer": [np.array(v) for v in trainer.discriminator_optimizer.variables],
    }


def train(recipe, data, out, monkeypatch, resume=False, stop_after=None):
    """Runs `train_degradation`; returns what it built and the model's path."""
    kept = {}
    names = "build_degradation_trainer", "SameDegradation", "as_batches"
    made = {name: getattr(degradation_run, name) for name in names}
    on_epoch_end = callbacks.SaveState.on_epoch_end

    def keep(name):
        def make(*arguments):
            kept[name] = made[name](*arguments)
            if name == "as_batches":
                kept["validation"] = arguments[0]
            else:
                kept["first"] = kept.get("first") or state(kept[name]) if "trainer" in name else None
            return kept[name]

        return make

    def save(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        if epoch + 1 == stop_after:
            raise StoppedError

    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(degradation_run, name, keep(name))
        patch.setattr(callbacks.SaveState, "on_epoch_end", save)
        if stop_after:
            with pytest.raises(StoppedError):
                degradation_run.train_degradation(recipe, data, out, resume)
            return None
        path = degradation_run.train_degradation(recipe, data, out, resume)
    return {
        "trainer": kept["build_degradation_trainer"],
        "first": kept["first"],
        "pictures": kept["SameDegradation"],
        "validation": kept["validation"],
        "path": path,
    }


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return train(tiny(), data, tmp_path_factory.mktemp("whole") / "run", patch)


def log_of(folder) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


# The run


def test_a_run_leaves_recipe_log_curves_previews_states_and_the_network(uninterrupted):
    path = uninterrupted["path"]
    out = path.parent
    assert path.name == "degradation_x4.keras"
    assert load_recipe(out / "recipe.yaml") == tiny()
    versions = json.loads((out / "versions.json").read_text())
    assert (versions["parameters"], versions["training_images"]) == (
        uninterrupted["trainer"].generator.count_params(),
        4,
    )
    rows = log_of(out)
    assert [int(row["step"]) for row in rows] == [2, 4]
    terms = {"l1", "bands", "same", "other", "perceptual"}
    assert rows[0].keys() >= terms | {f"val_{name}" for name in terms} | {"d_loss", "adversarial", "val_psnr_y"}
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert (out / "curves.png").stat().st_size > 0
    assert {file.name for file in (out / "best").iterdir()} == {"epoch_0001.keras", "epoch_0002.keras"}
    previews = sorted((out / "preview").iterdir())
    assert [file.name for file in previews] == ["step_000002.jpg", "step_000004.jpg"]
    with Image.open(previews[0]) as image:
        assert image.size == (6 * 48, 3 * 48)  # columns, cameras


def test_the_network_is_that_of_the_last_epoch_and_fits_pairs(uninterrupted):
    network = keras.models.load_model(uninterrupted["path"])
    assert isinstance(network, DegradationTransfer)
    for ours, theirs in zip(network.get_weights(), uninterrupted["trainer"].generator.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    camera = uninterrupted["validation"][0]
    fitted = fit_degradation(list(zip(camera.hq, camera.lq, strict=True)), uninterrupted["path"])
    assert fitted.omegas.shape == (2, 6)


def test_all_networks_of_the_run_learn(uninterrupted):
    after = state(uninterrupted["trainer"])
    for name, before in uninterrupted["first"].items():
        assert all(np.isfinite(w).all() for w in after[name]), name
        assert any(not np.array_equal(a, b) for a, b in zip(before, after[name], strict=True)), name


def test_trainer_has_what_the_recipe_says(uninterrupted):
    trainer, recipe = uninterrupted["trainer"], tiny()
    weights = {loss.name: loss.weight for loss in (trainer.pixel, trainer.bands, trainer.same, trainer.other)}
    omega = recipe.omega
    assert weights == {
        "l1": recipe.training.loss_weight,
        "bands": omega.bands_weight,
        "same": omega.same_weight,
        "other": omega.other_weight,
    }
    assert (trainer.other.margin, trainer.swap, trainer.ema_decay) == (omega.margin, omega.swap, 0.9)
    assert (trainer.adversarial.weight, trainer.perceptual.weight) == (0.25, 0.5)
    assert trainer.generator.degnet.config == {"scale": 4, "size": 6, **recipe.networks.degnet}
    assert trainer.discriminator.config == {"scale": 4, "size": 6, "num_features": 4}


def test_pictures_are_as_the_recipe_says_and_none_is_of_a_validation_image(uninterrupted):
    pictures, validation = uninterrupted["pictures"], uninterrupted["validation"]
    assert (len(pictures.cameras), len(validation)) == (4, 3)
    assert pictures.cameras[0].lq.shape == (2, 24, 24, 3)
    assert (pictures.patch_size, pictures.batch_size) == (16, 2)
    trained, measured = ({f for camera in side for f in camera.files} for side in (pictures.cameras, validation))
    assert (len(trained), len(measured)) == (4, 2)
    assert not trained & measured
    assert not {camera.chain for camera in pictures.cameras} & {camera.chain for camera in validation}


def test_stopped_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(uninterrupted, data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    train(tiny(), data, out, monkeypatch, stop_after=1)
    assert not (out / "degradation_x4.keras").exists()
    resumed = train(tiny(), data, out, monkeypatch, resume=True)
    assert resumed["trainer"].step == uninterrupted["trainer"].step == 4
    ours, theirs = state(resumed["trainer"]), state(uninterrupted["trainer"])
    for name, weights in ours.items():
        assert all(np.array_equal(a, b) for a, b in zip(weights, theirs[name], strict=True)), name
    logs = [
        [{key: row[key] for key in row if key != "seconds"} for row in log_of(folder)]
        for folder in (out, uninterrupted["path"].parent)
    ]
    assert logs[0] == logs[1]


def test_trainer_without_discriminator_and_perceptual_loss_needs_neither():
    trainer = degradation_run.build_degradation_trainer(tiny("adversarial=null", "perceptual=null"))
    assert trainer.discriminator is trainer.feature_extractor is trainer.perceptual is trainer.adversarial is None
    assert {*trainer._trackers} == {"l1", "bands", "same", "other"}


# Refusals before the work


def test_full_folder_and_resume_of_nothing_are_refused(data, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="is not empty"):
        degradation_run.train_degradation(tiny(), data, tmp_path)
    with pytest.raises(TrainingError, match="holds no run to resume"):
        degradation_run.train_degradation(tiny(), data, tmp_path / "none", resume=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hidden.size=32", "112x100 is smaller than one 128x128 patch"),
        ("hidden.pictures=5", "5 pictures a camera need as many images, there are 4"),
        ("hidden.validation_share=0.1", "2 pictures a camera need as many images, there are 1"),
        ("hidden.patch_size=20", "patch_size 20 is not a multiple of 8"),
        ("hidden.batch_size=5", "4 cameras for batches of 5"),
    ],
)
def test_images_that_do_not_suffice_are_refused_before_anything_is_written(override, message, data, tmp_path):
    with pytest.raises(DataError, match=message):
        degradation_run.train_degradation(tiny(override), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_lr_images_are_refused_in_one_line(data, tmp_path, capfd):
    arguments = ["train", "degradation_x4", "--data", data, "--out", tmp_path / "run", "--lr-data", data]
    assert cli.main(list(map(str, arguments))) == 2
    err = capfd.readouterr().err
    assert err == "keras-fsr: error: degradation_x4: makes its own LR images; leave out --lr-data\n"
    assert not (tmp_path / "run").exists()


# The recipe


def test_recipe_is_told_by_its_section(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nhidden: {}\n")
    recipe = load_recipe(path)
    assert isinstance(recipe, TransferRecipe)
    assert isinstance(load_recipe("degradation_x4"), TransferRecipe)
    assert recipe.perceptual is recipe.adversarial is None
    assert dict(recipe.hidden.presets) == {"camera": 1.0}
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml") == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("networks.degnet={filter: [4]}", "unknown degnet option 'filter'; did you mean 'filters'"),
        ("networks.synnet={filter: [4]}", "unknown synnet option 'filter'; did you mean 'filters'"),
        ("networks.degnet={size: 3}", "unknown degnet option 'size'"),
        ("networks.synnet={scale: 2}", "unknown synnet option 'scale'"),
        ("networks.sizes=3", "networks: unknown key 'sizes'; did you mean 'size'"),
        ("omega.bands_weight=-0.1", "bands_weight -0.1 is below 0"),
        ("omega.same_weight=-0.1", "same_weight -0.1 is below 0"),
        ("omega.other_weight=-0.1", "other_weight -0.1 is below 0"),
        ("omega.margin=-1", "margin -1.0 is below 0"),
        ("training.loss_weight=-1", "loss_weight -1.0 is below 0"),
        ("perceptual.style_weight=-1", "style_weight -1.0 is below 0"),
        ("adversarial.weight=-1", "weight -1.0 is below 0"),
        ("hidden.presets={}", "hidden.presets name no degradation with a share above 0"),
        ("hidden.presets={camera: 0}", "hidden.presets name no degradation with a share above 0"),
        ("hidden.presets={camera: 1, jiang: -1}", "no degradation with a share above 0"),
        ("hidden.presets={camra: 1}", "camra: no such degradation; did you mean 'camera'"),
        ("hidden.cameras=0", "cameras 0 is not at least 1"),
        ("hidden.validation_cameras=0", "validation_cameras 0 is not at least 1"),
        ("hidden.batch_size=1", "batch_size 1 is not at least 2"),
        ("scale=0", "scale 0 is not at least 1"),
        ("networks.size=0", "size 0 is not at least 1"),
        ("omega.swap=5", "swap 5.0 is not between 0 and 1"),
        ("hidden.validation_share=-1", "validation_share -1.0 is not between 0 and 1"),
        ("adversarial.options={featurs: 1}", "unknown adversarial option 'featurs'"),
        ("perceptual.taps={}", "perceptual taps are empty"),
        ("hidden.camera=5", "hidden: unknown key 'camera'; did you mean 'cameras'"),
        ("training.steps=4001", "steps 4001 is not a multiple of steps_per_epoch 250"),
        ("training.loss=l3", "unknown loss 'l3'"),
        ("training.optimizer=zzz", "unknown optimizer 'zzz'"),
        ("training.decay_share=2", "decay_share 2.0 is not between 0 and 1"),
        ("perceptual.distance=l3", "unknown distance 'l3'"),
        ("adversarial.loss=hing", "unknown loss 'hing'; did you mean 'hinge'"),
        ("generator={name: rrdb}", "unknown key 'generator'"),
        ("degradation={presets: {jiang: 1}}", "unknown key 'degradation'"),
        ("hidden=null", "'hidden'|hidden: is None"),
    ],
)
def test_bad_recipe_is_refused_with_the_remedy(override, message):
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("degradation_x4", [override])
    assert "\n" not in str(caught.value)
    assert "degradation_x4" in str(caught.value)
