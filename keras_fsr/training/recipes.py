"""Recipes: one YAML file an experiment, read into frozen dataclasses that refuse what they do not know."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keras_fsr.errors import RecipeError
from keras_fsr.files import whole_file

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
    blur_size: int = 0  # side of the Gaussian kernel that blurs HR images before they are reduced; 0 = off
    blur_sigma: float = 0.0  # HR pixels
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
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    start: str = ""  # generator to start from: a model in the package or a .keras file
    perceptual: PerceptualRecipe | None = None
    pieapp: PieAPPRecipe | None = None
    adversarial: AdversarialRecipe | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)  # "section.key" -> value, for a small machine


def list_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str | Path, overrides: Sequence[str] = (), budget: bool = False) -> Recipe:
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
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"{path}: is not plain YAML ({reason})") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: holds no keys; a recipe starts with 'name: ...'")
    if budget:
        apply_budget(values, str(path))
    for override in overrides:
        apply_override(values, override)
    recipe = build(Recipe, values, str(path))
    check_recipe(recipe, str(path))
    return recipe


def save_recipe(recipe: Recipe, path: Path) -> None:
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
        value = yaml.safe_load(text)
    except yaml.YAMLError:
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


def build(kind: type, values: Any, where: str):
    """A dataclass from a mapping, with every key and type checked."""
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where}: is {values!r}, but must be keys and values")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise RecipeError(f"{where}: unknown key {key!r}{nearest(str(key), hints)}")
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in values and required(f)]
    if missing:
        raise RecipeError(f"{where}: lacks the key {missing[0]!r}")
    return kind(**{key: convert(hints[key], value, f"{where}: {key}") for key, value in values.items()})


def required(f: dataclasses.Field) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def convert(hint, value, where: str):
    """A YAML value as the type of its field; int passes as float, and "1e-3" (a YAML string) too."""
    if isinstance(hint, types.UnionType):  # of a section that may be absent
        if value is None:
            return None
        hint = typing.get_args(hint)[0]
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(convert(typing.get_args(hint)[0], item, where) for item in value)
    if typing.get_origin(hint) is Mapping and isinstance(value, Mapping):
        of = typing.get_args(hint)[1]
        return {key: item if of is Any else convert(of, item, f"{where}.{key}") for key, item in value.items()}
    hint = typing.get_origin(hint) or hint
    if hint is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise RecipeError(f"{where} is {value!r}, but must be of type {hint.__name__.lower()}")


def nearest(key: str, known) -> str:
    """ ", did you mean ...?" with the closest known name, or the list of all."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
