"""Recipes: one YAML file an experiment, read into frozen dataclasses that refuse what they do not know."""

import dataclasses
import difflib
import inspect
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
    """The fidelity stage: loss, optimizer and schedule."""

    steps: int = 20_000
    steps_per_epoch: int = 500  # validation, checkpoint and preview come once an epoch
    loss: str = "l1"
    optimizer: str = "muon"
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay_share: float = 0.75  # of the steps, at the end, over which the rate falls by a cosine
    final_rate: float = 0.01  # share of learning_rate at the end
    clip_norm: float = 0.0  # of all gradients together; 0 = off
    ema_decay: float = 0.999
    precision: str = "auto"
    keep_best: int = 3  # checkpoints by val_psnr_y
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """One experiment."""

    name: str
    scale: int = 4
    generator: GeneratorRecipe = field(default_factory=GeneratorRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)


def list_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe by its name in the package or by its path.

    Args:
        overrides: "section.key=value" strings that replace single values, e.g. "training.steps=1000".

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key (the nearest right one is named) or a wrong type.
    """
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
    for override in overrides:
        apply_override(values, override)
    recipe = build(Recipe, values, str(path))
    check_generator(recipe, str(path))
    check_values(recipe, str(path))
    return recipe


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Writes a recipe as the YAML that `load_recipe` reads back to an equal one."""
    with whole_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False), encoding="utf-8")


def apply_override(values: dict, override: str) -> None:
    """Sets one "section.key=value" in the values of a recipe."""
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override}: is not KEY=VALUE, e.g. training.steps=1000")
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise RecipeError(f"--set {override}: {section} is a value, not a section")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {override}: the value is not plain YAML") from None


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
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(convert(typing.get_args(hint)[0], item, where) for item in value)
    hint = typing.get_origin(hint) or hint
    if hint is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = hint.__name__.lower() if not isinstance(hint, types.UnionType) else str(hint)
    raise RecipeError(f"{where} is {value!r}, but must be of type {expected}")


def nearest(key: str, known) -> str:
    """ ", did you mean ...?" with the closest known name, or the list of all."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def check_generator(recipe: Recipe, where: str) -> None:
    """Checks the generator's name and options against its constructor, without building it."""
    from keras_fsr import generators

    names = generators.names()
    if recipe.generator.name not in names:
        hint = nearest(recipe.generator.name, names)
        raise RecipeError(f"{where}: unknown generator {recipe.generator.name!r}{hint}")
    parameters = inspect.signature(generators.get(recipe.generator.name).__init__).parameters
    known = [name for name in parameters if name not in ("self", "kwargs", "scale")]
    for option in recipe.generator.options:
        if option not in known:
            raise RecipeError(f"{where}: unknown generator option {option!r}{nearest(option, known)}")


def check_values(recipe: Recipe, where: str) -> None:
    """Refuses values that no training can run with."""
    from keras_fsr.losses.pixel import PIXEL_LOSSES
    from keras_fsr.training.optimizers import OPTIMIZERS

    training = recipe.training
    for key, known in (("loss", PIXEL_LOSSES), ("optimizer", OPTIMIZERS)):
        value = getattr(training, key)
        if value not in known:
            raise RecipeError(f"{where}: unknown {key} {value!r}{nearest(value, known)}")
    for section, keys in (
        (recipe, ("scale",)),
        (recipe.data, ("batch_size", "patch_size", "flatness_every", "flatness_candidates")),
        (training, ("steps", "steps_per_epoch", "keep_best")),
    ):
        for key in keys:
            if getattr(section, key) < 1:
                raise RecipeError(f"{where}: {key} {getattr(section, key)} is not at least 1")
    if training.steps % training.steps_per_epoch:
        raise RecipeError(
            f"{where}: steps {training.steps} is not a multiple of steps_per_epoch {training.steps_per_epoch}"
        )
    if not all(0 < factor < 1 for factor in recipe.data.hr_scales):
        raise RecipeError(f"{where}: hr_scales {list(recipe.data.hr_scales)} are not all between 0 and 1")
    if recipe.data.flatness_increase > 0 and recipe.data.flatness_maximum <= recipe.data.flatness_start:
        raise RecipeError(f"{where}: flatness_increase does nothing without a flatness_maximum above the start")
    if not 0 <= training.decay_share <= 1:
        raise RecipeError(f"{where}: decay_share {training.decay_share} is not between 0 and 1")
