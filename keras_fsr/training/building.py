"""From a recipe to a compiled trainer: networks, losses, optimizers."""

import inspect

import keras

from keras_fsr import discriminators, generators, pretrained
from keras_fsr.errors import RecipeError, TrainingError, first_line
from keras_fsr.extractors.vgg16 import build_vgg
from keras_fsr.losses.adversarial import ADVERSARIAL_LOSSES
from keras_fsr.losses.grid import GridPenalty
from keras_fsr.losses.perceptual import Perceptual, TotalVariation
from keras_fsr.losses.pieapp import PieAPP
from keras_fsr.losses.pixel import PIXEL_LOSSES
from keras_fsr.metrics.streaming import PSNRY
from keras_fsr.training.optimizers import OPTIMIZERS, WarmupHoldDecay
from keras_fsr.training.recipes import AdversarialRecipe, PerceptualRecipe, Recipe, TrainingRecipe
from keras_fsr.training.trainer import Trainer


def build_trainer(recipe: Recipe) -> Trainer:
    """The compiled trainer of a recipe: new weights, or the generator's from the recipe's `start`.

    Raises:
        RecipeError: a network cannot be built with these options.
        ModelError, TrainingError: the start or the extractor's weights are missing or do not fit.
    """
    settings, adversarial = recipe.training, recipe.adversarial
    generator = build(generators, recipe.generator.name, recipe, scale=recipe.scale, **recipe.generator.options)
    if recipe.start:
        load_start(generator, recipe)
    discriminator = adversarial and build_discriminator(recipe)
    trainer = Trainer(
        generator,
        discriminator,
        recipe.perceptual and build_extractor(recipe.perceptual),
        ema_decay=settings.ema_decay,
        precision=settings.precision,
    )
    trainer.compile(
        optimizer=build_optimizer(settings.optimizer, settings.learning_rate, settings),
        loss=image_losses(recipe),
        metrics=[PSNRY(recipe.scale)],
        perceptual=recipe.perceptual and build_perceptual(recipe.perceptual),
        **(adversarial_arguments(adversarial, settings) if adversarial else {}),
    )
    return trainer


def build(package, name: str, recipe: Recipe, **options) -> keras.Model:
    try:
        return package.get(name)(**options)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{recipe.name}: its {name} cannot be built ({first_line(error)})") from None


def build_discriminator(recipe: Recipe) -> keras.Model:
    """The discriminator; one that takes a single image size gets that of the patches."""
    settings = recipe.adversarial
    options = dict(settings.options)
    size = recipe.data.patch_size * recipe.scale
    if "image_size" in inspect.signature(discriminators.get(settings.discriminator).__init__).parameters:
        options = {"image_size": size} | options
    discriminator = build(discriminators, settings.discriminator, recipe, **options)
    try:
        discriminator(keras.Input((size, size, 3)))
    except ValueError as error:
        raise RecipeError(
            f"{recipe.name}: its discriminator does not take patches of {size} HR pixels ({first_line(error)}); "
            "choose a patch_size that is a multiple of 8"
        ) from None
    return discriminator


def load_start(generator: keras.Model, recipe: Recipe) -> None:
    """Copies the weights of the model to start from, which must be the recipe's generator."""
    start = generators.load(pretrained.find(recipe.start, ".keras"))
    own, other = (network.get_config() | {"name": type(network).__name__} for network in (generator, start))
    different = sorted(key for key in own.keys() | other.keys() if own.get(key) != other.get(key))
    if different:
        raise TrainingError(
            f"{recipe.start}: does not fit the generator of {recipe.name} (they differ in {', '.join(different)}); "
            "give the recipe that model's options"
        )
    generator.set_weights(start.get_weights())


def build_extractor(settings: PerceptualRecipe) -> keras.Model:
    names = sorted(settings.taps)
    return build_vgg(
        settings.weights,
        cut=names[-1],
        taps=names,
        before_activation=settings.before_activation,
        depth=settings.depth,
        width=settings.width,
    )


def build_perceptual(settings: PerceptualRecipe) -> Perceptual:
    return Perceptual(
        {name: settings.taps[name] for name in sorted(settings.taps)},
        settings.weight,
        distance=settings.distance,
        relative=settings.relative,
        style_weight=settings.style_weight,
    )


def image_losses(recipe: Recipe) -> list[keras.losses.Loss]:
    """The losses of (original, generated image) that have a weight."""
    settings = recipe.training
    losses = []
    if settings.loss_weight:
        losses.append(PIXEL_LOSSES[settings.loss](settings.loss_weight))
    if settings.grid_weight:
        losses.append(GridPenalty(recipe.scale, settings.grid_weight))
    if settings.total_variation_weight:
        losses.append(TotalVariation(settings.total_variation_weight))
    if recipe.pieapp:
        losses.append(PieAPP(recipe.pieapp.weight, recipe.pieapp.weights or None, recipe.pieapp.stride))
    return losses


def adversarial_arguments(adversarial: AdversarialRecipe, settings: TrainingRecipe) -> dict:
    return {
        "adversarial": ADVERSARIAL_LOSSES[adversarial.loss](adversarial.weight),
        "discriminator_optimizer": build_optimizer(adversarial.optimizer, adversarial.learning_rate, settings),
        "discriminator_warmup": adversarial.warmup_steps,
        "without_pixels": adversarial.without_pixels,
    }


def build_optimizer(name: str, learning_rate: float, settings: TrainingRecipe) -> keras.optimizers.Optimizer:
    rate = WarmupHoldDecay(
        learning_rate,
        settings.steps,
        settings.warmup_steps,
        round(settings.decay_share * settings.steps),
        settings.final_rate,
        settings.decay,
    )
    return OPTIMIZERS[name](rate, settings.clip_norm or None)
