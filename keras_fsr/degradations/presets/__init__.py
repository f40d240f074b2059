"""The random degradations in the package: one YAML a preset."""

from pathlib import Path

from keras_fsr.degradations.second_order import MAX_STAGES, Degradation, Shuffled, Staged
from keras_fsr.errors import RecipeError
from keras_fsr.settings import build, nearest, read_yaml

FOLDER = Path(__file__).parent
ORDERS = {"staged": Staged, "shuffled": Shuffled}


def names() -> list[str]:
    """Names of the presets in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str | Path, stages: int | None = None) -> Degradation:
    """A preset by its name in the package or by the path of a YAML file.

    Args:
        stages: take that many of its stages, the last again where there are fewer; only of a staged preset.

    Raises:
        RecipeError: no such preset, a key or value that is not known, or stages it cannot have.
    """
    path = Path(name)
    if not path.suffix and not path.is_file():
        path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise RecipeError(f"{name}: no such degradation{nearest(str(name), names())}; or give a .yaml file")
    values = read_yaml(path, "order: staged")
    order = values.pop("order", None)
    if order not in ORDERS:
        raise RecipeError(f"{path}: order {order!r} is none of {', '.join(ORDERS)}")
    preset = build(ORDERS[order], values, str(path))
    if stages is None:
        return preset
    if not isinstance(preset, Staged) or not preset.stages or not 1 <= stages <= MAX_STAGES:
        raise RecipeError(f"{path}: {stages} stages are not possible; a preset with stages takes 1 to {MAX_STAGES}")
    return preset.with_stages(stages)
