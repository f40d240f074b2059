"""The generator that is to be deployed, and where it came from."""

import math
from dataclasses import dataclass
from pathlib import Path

from keras_fsr import pretrained
from keras_fsr.errors import ModelError

AUTHOR = "the keras_fsr authors"  # of the shipped models


@dataclass(frozen=True)
class Source:
    """A generator and its origin.

    Attributes:
        trained: the Keras model as it was trained.
        model: the Keras model to convert: the wide form of an Edge is folded into the plain one that it equals.
    """

    trained: object
    model: object
    name: str
    scale: int
    file: str = ""
    sha256: str = ""  # of that file
    licence: str = "not stated"
    author: str = "not stated"


def load_source(model, licence: str | None = None, author: str | None = None) -> Source:
    """The generator behind what a user named.

    Args:
        model: Keras generator; name of a shipped model; `.keras` file; or folder of a training run, of which the best
            epoch so far is taken.
        licence, author: what the exported file states; those of a shipped model are known.

    Raises:
        ModelError: no such model, a file that is none, a run without a finished epoch, or a network that does not
            enlarge images.
    """
    import keras

    from keras_fsr import generators
    from keras_fsr.generators.edge import Edge, fold
    from keras_fsr.inference.engines import KerasEngine

    facts = {key: value for key, value in (("licence", licence), ("author", author)) if value}
    if isinstance(model, keras.Model):
        name = model.name
    else:
        path = find(model)
        name = path.stem if pretrained.is_file(model) else Path(model).name
        if not Path(model).exists():
            facts = {"licence": pretrained.card(str(model)).licence, "author": AUTHOR} | facts
        model = generators.load(path)
        facts |= {"file": path.name, "sha256": pretrained.digest(path)}
    scale = KerasEngine(model).scale
    return Source(model, fold(model) if isinstance(model, Edge) else model, name, scale, **facts)


def find(model: str | Path) -> Path:
    """The `.keras` file of a shipped model, of a run folder, or the one that is named."""
    folder = Path(model)
    if not folder.is_dir():
        path = pretrained.find(model, ".keras")
        if path.suffix.lower() != ".keras":
            raise ModelError(f"{path}: is no .keras file; export is from the Keras model")
        return path
    from keras_fsr.training.callbacks import EpochLog, KeepBest
    from keras_fsr.training.recipes import load_recipe

    if not (folder / "recipe.yaml").is_file():
        raise ModelError(f"{folder}: is no run folder; name a .keras file, a run or a shipped model")
    recipe = load_recipe(folder / "recipe.yaml")
    log = EpochLog(folder / "log.csv")
    log.load(math.inf)
    best = KeepBest(log, folder / "best", recipe.training.monitor, len(log.rows))
    finished = [folder / f"{recipe.name}.keras", *map(best.path, best.best_epochs())]
    for path in finished:
        if path.is_file():
            return path
    raise ModelError(f"{folder}: its run has finished no epoch yet; wait for one, or name a .keras file")
