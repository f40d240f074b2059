"""Recipes: one YAML file an experiment, read into frozen dataclasses that refuse what they do not know."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keras_fsr.errors import RecipeError
from keras_fsr.files import whole_file
from keras_fsr.settings import build, load_plain, read_yaml

FOLDER = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True)
class GeneratorRecipe:
    """Which generator to build: its name in `keras_fsr.generators` and its constructor's arguments."""

    name: str = "rrdb"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataRecipe:
    """How patches are drawn; see `keras_fsr.data.patches`."""

    batch_size: int = 16
    patch_size: int = 32  # LR pixels
    hr_scales: tuple[float, ...] = ()  # factors by which HR images enter reduced, beside as they are
    flatness_start: float = 0.0  # standard deviation of an LR patch, 0..1
    flatness_increase: float = 0.0
    flatness_every: int = 1000  # steps
    flatness_maximum: float = 0.0
    flatness_candidates: int = 8
    flip: float = 0.5  # probabilities
    flip_vertical: float = 0.0
    rotate: float = 0.5
    validation_share: float = 0.1  # where the data folder has no split of its own
    validation_limit: int = 0  # images measured an epoch, smallest first; 0 = all


@dataclass(frozen=True)
class DegradationRecipe:
    """How LR is made of HR where no LR files are given; see `keras_fsr.degradations.presets`."""

    presets: Mapping[str, float] = field(default_factory=dict)  # name or file -> share of the patches
    copies: int = 0  # degraded ones of each image, made at the start; 0 = every patch anew


@dataclass(frozen=True)
class TrainingRecipe:
    """The generator's losses on images, its optimizer and its schedule."""

    steps: int = 20_000
    steps_per_epoch: int = 500  # validation, checkpoint and preview come once an epoch
    loss: str = "l1"
    loss_weight: float = 1.0  # 0 leaves the pixel loss out
    grid_weight: float = 0.0  # penalty on the up-sampling grid
    total_variation_weight: float = 0.0
    optimizer: str = "muon"
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay: str = "cosine"  # or step: the final rate at once
    decay_share: float = 0.75  # of the steps, at the end, that belong to the decay
    final_rate: float = 0.01  # share of learning_rate at the end
    clip_norm: float = 0.0  # of all gradients together; 0 = off
    ema_decay: float = 0.999
    precision: str = "auto"
    keep_best: int = 3  # checkpoints by the monitor
    monitor: str = "val_psnr_y"  # or val_perceptual, or step: the last epoch is the best
    seed: int = 0


@dataclass(frozen=True)
class PerceptualRecipe:
    """The feature extractor and the loss on its maps; see `keras_fsr.extractors.vgg16` and `losses.perceptual`."""

    depth: int = 16  # VGG16 or VGG19
    taps: Mapping[str, float] = field(default_factory=lambda: {"block3_conv3": 1.0})  # layer -> weight
    before_activation: bool = True
    width: float = 1.0
    weights: str = "imagenet"  # or random, or a file or folder
    distance: str = "l1"
    relative: bool = False
    style_weight: float = 0.0
    weight: float = 1.0


@dataclass(frozen=True)
class PieAPPRecipe:
    """The PieAPP term; see `keras_fsr.losses.pieapp`. Its weights are not free for commercial use."""

    weight: float = 1.0
    stride: int = 27
    weights: str = ""  # file; empty looks into the folder KERAS_FSR_WEIGHTS


@dataclass(frozen=True)
class AdversarialRecipe:
    """The discriminator, its loss and its optimizer, whose schedule has the shape of the generator's."""

    discriminator: str = "unet"
    options: Mapping[str, Any] = field(default_factory=dict)
    loss: str = "relativistic"
    weight: float = 0.005
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    warmup_steps: int = 0  # in which the discriminator alone learns
    without_pixels: bool = False  # allow loss_weight 0


@dataclass(frozen=True)
class Recipe:
    """One experiment."""

    name: str
    scale: int = 4
    generator: GeneratorRecipe = field(default_factory=GeneratorRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    degradation: DegradationRecipe | None = None  # none: Pillow's bicubic reduction
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    start: str = ""  # generator to start from: a model in the package or a .keras file
    perceptual: PerceptualRecipe | None = None
    pieapp: PieAPPRecipe | None = None
    adversarial: AdversarialRecipe | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)  # "section.key" -> value, for a small machine


@dataclass(frozen=True)
class HiddenRecipe:
    """The hidden cameras from whose pictures a degradation is learned; see `keras_fsr.data.degraded`."""

    presets: Mapping[str, float] = field(default_factory=lambda: {"camera": 1.0})
    cameras: int = 4000
    pictures: int = 3  # of each camera
    size: int = 64  # LR pixels of a picture's side
    patch_size: int = 48
    batch_size: int = 16
    validation_cameras: int = 32
    validation_share: float = 0.1  # of the images, where the data folder has no split of its own


@dataclass(frozen=True)
class NetworksRecipe:
    """DegNet and SynNet: the length of Omega and further options of their constructors."""

    size: int = 64
    degnet: Mapping[str, Any] = field(default_factory=dict)
    synnet: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OmegaRecipe:
    """Losses that pixels have no part in; see `keras_fsr.degradations.learned.losses`."""

    bands_weight: float = 0.02
    same_weight: float = 0.01
    other_weight: float = 0.01
    margin: float = 0.5
    swap: float = 0.8  # probability that the other picture's Omega degrades


@dataclass(frozen=True)
class TransferRecipe:
    """One experiment that learns a degradation from pairs: paper D's first half. Told by its section `hidden`."""

    name: str
    hidden: HiddenRecipe
    scale: int = 4
    networks: NetworksRecipe = field(default_factory=NetworksRecipe)
    omega: OmegaRecipe = field(default_factory=OmegaRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    perceptual: PerceptualRecipe | None = None
    adversarial: AdversarialRecipe | None = None  # only the pair discriminator; its own name is not asked
    budget: Mapping[str, Any] = field(default_factory=dict)


def list_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str | Path, overrides: Sequence[str] = (), budget: bool = False) -> Recipe | TransferRecipe:
    """Reads a recipe by its name in the package or by its path.

    Args:
        budget: apply the recipe's own `budget` block, which scales a published recipe down to a CPU.
        overrides: "section.key=value" strings that replace single values, e.g. "training.steps=1000".

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key (the nearest right one is named) or a wrong type.
    """
    from keras_fsr.training.checks import check_recipe  # which imports Keras

    path = Path(name)
    if not path.suffix and not path.is_file():
        path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise RecipeError(f"{name}: no such recipe; there are {', '.join(list_recipes())}, or give a .yaml file")
    values = read_yaml(path, "name: ...")
    if budget:
        apply_budget(values, str(path))
    for override in overrides:
        apply_override(values, override)
    recipe = build(TransferRecipe if "hidden" in values else Recipe, values, str(path))
    if not re.fullmatch(r"\w[^/\\]{0,59}", recipe.name) or not recipe.name.isprintable():  # results are called by it
        raise RecipeError(f"{path}: name {recipe.name!r} cannot be a file's; use up to 60 letters, digits and . _ -")
    check_recipe(recipe, str(path))
    return recipe


def save_recipe(recipe: Recipe | TransferRecipe, path: Path) -> None:
    """Writes a recipe as the YAML that `load_recipe` reads back to an equal one."""
    with whole_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False), encoding="utf-8")


def apply_budget(values: dict, where: str) -> None:
    """Sets the values of a recipe's budget block, which is then used up."""
    block = values.pop("budget", None)
    if not isinstance(block, dict) or not block:
        raise RecipeError(f"{where}: has no budget block; leave out --budget, or add one")
    for key, value in block.items():
        set_value(values, str(key), value, f"{where}: budget {key}")


def apply_override(values: dict, override: str) -> None:
    """Sets one "section.key=value" in the values of a recipe."""
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override}: is not KEY=VALUE, e.g. training.steps=1000")
    try:
        value = load_plain(text)
    except Exception:  # a tag that does not fit its value makes PyYAML raise nearly anything
        raise RecipeError(f"--set {override}: the value is not plain YAML") from None
    set_value(values, key, value, f"--set {override}")


def set_value(values: dict, key: str, value: Any, where: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if values.get(section) is None:  # absent, or switched off with null
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise RecipeError(f"{where}: {section} is a value, not a section")
    values[last] = value
