"""What a recipe must fulfil beyond the types of its keys: known names, possible values, a loss that holds."""

import inspect
from collections.abc import Mapping
from typing import Any

from keras_fsr import discriminators, generators
from keras_fsr.degradations import presets
from keras_fsr.degradations.learned.degnet import DegNet
from keras_fsr.degradations.learned.discriminator import PairDiscriminator
from keras_fsr.degradations.learned.synnet import SynNet
from keras_fsr.errors import RecipeError
from keras_fsr.losses.adversarial import ADVERSARIAL_LOSSES
from keras_fsr.losses.perceptual import DISTANCES
from keras_fsr.losses.pixel import PIXEL_LOSSES
from keras_fsr.settings import nearest
from keras_fsr.training.optimizers import DECAYS, OPTIMIZERS
from keras_fsr.training.recipes import Recipe, TransferRecipe

NETWORKS = {"degnet": DegNet, "synnet": SynNet, "adversarial": PairDiscriminator}
NOT_OPTIONS = ("self", "kwargs", "scale", "size")  # of a network's constructor
MONITORS = ("val_psnr_y", "val_perceptual", "step")


def check_recipe(recipe: Recipe | TransferRecipe, where: str) -> None:
    """Raises a RecipeError, which names `where`, for a recipe that no training can run by."""
    if isinstance(recipe, TransferRecipe):
        check_transfer(recipe, where)
        return
    check_networks(recipe, where)
    check_names(recipe, where)
    check_values(recipe, where)
    check_losses(recipe, where)


def check_transfer(recipe: TransferRecipe, where: str) -> None:
    """Checks a recipe that learns a degradation."""
    check_names(recipe, where)
    check_training(recipe, where)
    for section, key, least in (
        (recipe, "scale", 1),
        (recipe.hidden, "cameras", 1),
        (recipe.hidden, "validation_cameras", 1),
        (recipe.hidden, "batch_size", 2),  # a camera is compared with another one of its batch
        (recipe.networks, "size", 1),
    ):
        if getattr(section, key) < least:
            raise RecipeError(f"{where}: {key} {getattr(section, key)} is not at least {least}")
    if not 0 <= recipe.omega.swap <= 1:
        raise RecipeError(f"{where}: swap {recipe.omega.swap} is not between 0 and 1")
    check_share(recipe.hidden.validation_share, where)
    check_perceptual(recipe, where)
    for section, keys in (
        (recipe.training, ("loss_weight",)),
        (recipe.omega, ("bands_weight", "same_weight", "other_weight", "margin")),
        (recipe.perceptual, ("weight", "style_weight")),
        (recipe.adversarial, ("weight",)),
    ):
        check_not_negative(section, keys, where)
    check_presets(recipe.hidden.presets, "hidden", where)
    parts = [("degnet", recipe.networks.degnet), ("synnet", recipe.networks.synnet)]
    for name, options in [*parts, *([("adversarial", recipe.adversarial.options)] if recipe.adversarial else [])]:
        known = [key for key in inspect.signature(NETWORKS[name].__init__).parameters if key not in NOT_OPTIONS]
        for option in options:
            if option not in known:
                raise RecipeError(f"{where}: unknown {name} option {option!r}{nearest(option, known)}")


def check_networks(recipe: Recipe, where: str) -> None:
    """Checks the networks' names and options against their constructors, without building them."""
    check_network("generator", generators, recipe.generator.name, recipe.generator.options, where)
    if recipe.adversarial:
        options = recipe.adversarial.options
        check_network("discriminator", discriminators, recipe.adversarial.discriminator, options, where)


def check_network(kind: str, package, name: str, options: Mapping[str, Any], where: str) -> None:
    if name not in package.names():
        raise RecipeError(f"{where}: unknown {kind} {name!r}{nearest(name, package.names())}")
    parameters = inspect.signature(package.get(name).__init__).parameters
    known = [parameter for parameter in parameters if parameter not in NOT_OPTIONS]
    for option in options:
        if option not in known:
            raise RecipeError(f"{where}: unknown {kind} option {option!r}{nearest(option, known)}")


def check_names(recipe: Recipe | TransferRecipe, where: str) -> None:
    """Refuses losses, optimizers and monitors that do not exist."""
    training = recipe.training
    names = [(training, "loss", PIXEL_LOSSES), (training, "optimizer", OPTIMIZERS), (training, "monitor", MONITORS)]
    names += [(training, "decay", DECAYS)]
    if recipe.adversarial:
        names += [(recipe.adversarial, "loss", ADVERSARIAL_LOSSES), (recipe.adversarial, "optimizer", OPTIMIZERS)]
    if recipe.perceptual:
        names += [(recipe.perceptual, "distance", DISTANCES)]
    for section, key, known in names:
        value = getattr(section, key)
        if value not in known:
            raise RecipeError(f"{where}: unknown {key} {value!r}{nearest(value, known)}")


def check_values(recipe: Recipe, where: str) -> None:
    """Refuses numbers out of their range."""
    training = recipe.training
    for section, keys in (
        (recipe, ("scale",)),
        (recipe.data, ("batch_size", "patch_size", "flatness_every", "flatness_candidates")),
        *([(recipe.pieapp, ("stride",))] if recipe.pieapp else []),
    ):
        for key in keys:
            if getattr(section, key) < 1:
                raise RecipeError(f"{where}: {key} {getattr(section, key)} is not at least 1")
    check_training(recipe, where)
    check_share(recipe.data.validation_share, where)
    check_degradation(recipe, where)
    if not all(0 < factor < 1 for factor in recipe.data.hr_scales):
        raise RecipeError(f"{where}: hr_scales {list(recipe.data.hr_scales)} are not all between 0 and 1")
    if recipe.data.flatness_increase > 0 and recipe.data.flatness_maximum <= recipe.data.flatness_start:
        raise RecipeError(f"{where}: flatness_increase does nothing without a flatness_maximum above the start")
    check_weights(recipe, where)
    if recipe.adversarial and not 0 <= recipe.adversarial.warmup_steps < training.steps:
        raise RecipeError(
            f"{where}: warmup_steps {recipe.adversarial.warmup_steps} is not from 0 to below {training.steps}, "
            "the steps in which the generator learns too"
        )
    if training.grid_weight and recipe.scale < 2:
        raise RecipeError(f"{where}: grid_weight needs a scale of at least 2")
    check_perceptual(recipe, where)


def check_perceptual(recipe: Recipe | TransferRecipe, where: str) -> None:
    """Refuses a perceptual loss of nothing, and a monitor of one that is not there."""
    if recipe.training.monitor == "val_perceptual" and not recipe.perceptual:
        raise RecipeError(f"{where}: monitor val_perceptual needs a perceptual section")
    if recipe.perceptual and not recipe.perceptual.taps:
        raise RecipeError(f"{where}: perceptual taps are empty; name a layer, e.g. block3_conv3: 1.0")


def check_training(recipe: Recipe | TransferRecipe, where: str) -> None:
    """Refuses schedules that cannot be."""
    training = recipe.training
    for key in ("steps", "steps_per_epoch", "keep_best"):
        if getattr(training, key) < 1:
            raise RecipeError(f"{where}: {key} {getattr(training, key)} is not at least 1")
    if training.steps % training.steps_per_epoch:
        raise RecipeError(
            f"{where}: steps {training.steps} is not a multiple of steps_per_epoch {training.steps_per_epoch}"
        )
    if not 0 <= training.decay_share <= 1:
        raise RecipeError(f"{where}: decay_share {training.decay_share} is not between 0 and 1")
    if not 0 <= training.ema_decay < 1:
        raise RecipeError(f"{where}: ema_decay {training.ema_decay} is not from 0 to below 1")
    if not 0 <= training.seed < 2**32:  # what NumPy takes
        raise RecipeError(f"{where}: seed {training.seed} is not from 0 to {2**32 - 1}")
    for section in (training, recipe.adversarial):
        if section and section.learning_rate <= 0:
            raise RecipeError(f"{where}: learning_rate {section.learning_rate} is not above 0")


def check_share(share: float, where: str) -> None:
    if not 0 < share < 1:
        raise RecipeError(f"{where}: validation_share {share} is not between 0 and 1")


def check_degradation(recipe: Recipe, where: str) -> None:
    """Refuses degradations that do not exist or are never drawn."""
    settings = recipe.degradation
    if settings is None:
        return
    check_presets(settings.presets, "degradation", where)
    if settings.copies < 0:
        raise RecipeError(f"{where}: degradation.copies {settings.copies} is below 0")


def check_presets(shares: Mapping[str, float], section: str, where: str) -> None:
    """Refuses degradations that do not exist or have no share."""
    if not shares or min(shares.values()) <= 0 or sum(shares.values()) == float("inf"):
        raise RecipeError(f"{where}: {section}.presets name no degradation with a share above 0 and not infinite")
    try:
        presets.mixture(shares)
    except RecipeError as error:
        raise RecipeError(f"{where}: {section}.presets: {error}") from None


def check_weights(recipe: Recipe, where: str) -> None:
    """Refuses negative weights of losses, which would be rewards."""
    for section, keys in (
        (recipe.training, ("loss_weight", "grid_weight", "total_variation_weight")),
        (recipe.perceptual, ("weight", "style_weight")),
        (recipe.adversarial, ("weight",)),
        (recipe.pieapp, ("weight",)),
    ):
        check_not_negative(section, keys, where)


def check_not_negative(section: Any, keys: tuple[str, ...], where: str) -> None:
    for key in keys if section else ():
        if getattr(section, key) < 0:
            raise RecipeError(f"{where}: {key} {getattr(section, key)} is below 0")


def check_losses(recipe: Recipe, where: str) -> None:
    """Refuses a training without a loss, and an adversarial one that no pixel loss holds."""
    if recipe.training.loss_weight > 0:
        return
    if recipe.adversarial and not recipe.adversarial.without_pixels:
        raise RecipeError(
            f"{where}: an adversarial stage with loss_weight 0 starts from noise and drifts in colour; "
            "give it a weight, or set adversarial.without_pixels"
        )
    if not (recipe.adversarial or recipe.perceptual or recipe.pieapp):
        raise RecipeError(f"{where}: loss_weight is 0 and there is no other loss")
