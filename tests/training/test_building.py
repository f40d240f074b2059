"""From a recipe to networks, losses and optimizers: what is built by which options, and where a start comes from."""

import keras
import numpy as np
import pytest

from keras_fsr.errors import ModelError, RecipeError, TrainingError
from keras_fsr.losses import pieapp
from keras_fsr.losses.adversarial import RelativisticAverage
from keras_fsr.losses.grid import GridPenalty
from keras_fsr.losses.perceptual import Perceptual, TotalVariation
from keras_fsr.losses.pixel import MSE
from keras_fsr.training import building
from keras_fsr.training.recipes import load_recipe

TINY = """
name: tiny
scale: 2
generator: {name: rrdb, options: {num_features: 8, growth_channels: 4, num_blocks: 1, hardware: true}}
data: {patch_size: 16}
training: {steps: 100, steps_per_epoch: 10, precision: float32}
"""


@pytest.fixture
def make(tmp_path):
    """A tiny recipe with some values replaced."""

    def load(*overrides: str):
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY)
        return load_recipe(path, overrides)

    return load


def test_fidelity_recipe_has_one_network_and_one_loss(make):
    trainer = building.build_trainer(make("training.loss=mse", "training.loss_weight=2"))
    assert trainer.discriminator is trainer.feature_extractor is None
    assert trainer.perceptual is trainer.adversarial is None
    [loss] = trainer.losses_of_images
    assert isinstance(loss, MSE)
    assert loss.weight == 2


def test_every_loss_of_a_recipe_is_built_with_its_weight(make):
    recipe = make(
        "training.grid_weight=0.1",
        "training.total_variation_weight=0.2",
        "perceptual={taps: {block2_conv1: 1, block1_conv1: 0.5}, weights: random, width: 0.05, weight: 0.3}",
        "perceptual.distance=l2",
        "perceptual.relative=true",
        "perceptual.style_weight=0.01",
        "adversarial={options: {num_features: 4}, weight: 0.4, warmup_steps: 7}",
        "adversarial.learning_rate=3.0e-4",
        "adversarial.optimizer=sgd",
    )
    trainer = building.build_trainer(recipe)
    terms = {term.name: term for term in trainer.losses_of_images}
    assert {name: term.weight for name, term in terms.items()} == {"l1": 1, "grid": 0.1, "total_variation": 0.2}
    assert isinstance(terms["grid"], GridPenalty)
    assert terms["grid"].scale == 2
    assert isinstance(terms["total_variation"], TotalVariation)

    # Taps in the extractor's order, whatever theirs in the recipe.
    assert trainer.feature_extractor.taps == list(trainer.perceptual.tap_weights) == ["block1_conv1", "block2_conv1"]
    assert trainer.feature_extractor.cut == "block2_conv1"
    expected = Perceptual({"block1_conv1": 0.5, "block2_conv1": 1}, 0.3, "l2", True, 0.01)
    assert trainer.perceptual.get_config() == expected.get_config()

    assert isinstance(trainer.adversarial, RelativisticAverage)
    assert (trainer.adversarial.weight, trainer.discriminator_warmup) == (0.4, 7)
    assert isinstance(trainer.discriminator_optimizer, keras.optimizers.SGD)
    # The first of the 100 warm-up steps that it shares with the generator.
    assert float(trainer.discriminator_optimizer.learning_rate) == pytest.approx(3e-6)


def test_pieapp_is_built_with_the_options_of_the_recipe(make, monkeypatch):
    asked = []
    monkeypatch.setattr(pieapp, "build_network", lambda: None)
    monkeypatch.setattr(pieapp, "load_pieapp_weights", lambda network, path: asked.append(path))
    [loss] = building.image_losses(
        make("training.loss_weight=0", "pieapp={weight: 0.25, stride: 6, weights: here.pth}")
    )
    assert loss.name == "pieapp"
    assert loss.get_config().items() >= {"weight": 0.25, "stride": 6, "weights_file": "here.pth"}.items()
    building.image_losses(make("training.loss_weight=0", "pieapp={}"))
    assert asked == ["here.pth", None]


def test_missing_weights_are_one_line(make, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FSR_WEIGHTS", str(tmp_path))
    for section in ("perceptual={}", "pieapp={}"):
        with pytest.raises(ModelError, match="holds no") as caught:
            building.build_trainer(make(section))
        assert "\n" not in str(caught.value)


def test_unknown_tap_is_one_line(make):
    with pytest.raises(ModelError, match="has no layer 'block9_conv1'"):
        building.build_trainer(make("perceptual={taps: {block9_conv1: 1}, weights: random}"))


def test_discriminator_of_one_size_gets_that_of_the_patches(make):
    recipe = make("adversarial={discriminator: vgg, options: {form: grouped, num_features: 4}}")
    assert building.build_discriminator(recipe).image_size == 32


@pytest.mark.parametrize(
    "section",
    [
        "{discriminator: vgg, options: {num_features: 4, image_size: 64}}",
        "{discriminator: unet, options: {num_features: 4}}",
    ],
)
def test_discriminator_that_does_not_take_the_patches_is_refused(section, make):
    recipe = make(f"adversarial={section}", "data.patch_size=18" if "unet" in section else "data.patch_size=16")
    with pytest.raises(RecipeError, match="does not take patches of 3[26] HR pixels"):
        building.build_discriminator(recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scale=3", "tiny: its rrdb cannot be built .RRDB scale is 1, 2, 4 or 8, not 3"),
        ("adversarial={discriminator: vgg, options: {form: square}}", "its vgg cannot be built .*not 'square'"),
    ],
)
def test_network_that_cannot_be_built_is_a_recipe_error(override, message, make):
    with pytest.raises(RecipeError, match=message):
        building.build_trainer(make(override))


def test_start_gives_the_generator_its_weights(make, tmp_path):
    first = building.build_trainer(make()).generator
    for weight in first.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    first.save(tmp_path / "first.keras")
    trainer = building.build_trainer(make(f"start={tmp_path / 'first.keras'}"))
    for network in (trainer.generator, trainer.learner):
        for ours, theirs in zip(network.get_weights(), first.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_start_of_another_size_is_refused(make, tmp_path):
    building.build_trainer(make("generator.options.num_features=4")).generator.save(tmp_path / "first.keras")
    with pytest.raises(TrainingError, match="first.keras: does not fit the generator of tiny") as caught:
        building.build_trainer(make(f"start={tmp_path / 'first.keras'}"))
    assert "\n" not in str(caught.value)


def test_start_that_is_missing_is_refused(make):
    with pytest.raises(ModelError, match="no_such_model"):
        building.build_trainer(make("start=no_such_model"))
    with pytest.raises(ModelError, match="none.keras: no such model file"):
        building.build_trainer(make("start=none.keras"))


@pytest.mark.parametrize("decay", ["cosine", "step"])
def test_schedule_is_that_of_the_recipe(decay, make):
    settings = make("training.decay_share=0.25", "training.final_rate=0.25", f"training.decay={decay}").training
    rate = building.build_optimizer("sgd", 0.02, settings)._learning_rate
    expected = {
        "peak": 0.02,
        "total_steps": 100,
        "warmup_steps": 100,
        "decay_steps": 25,
        "final": 0.25,
        "shape": decay,
    }
    assert rate.get_config() == expected
