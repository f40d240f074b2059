"""The random degradations in the package: one YAML a preset."""

from collections.abc import Mapping
from pathlib import Path

from keras_fsr import pretrained
from keras_fsr.degradations.second_order import MAX_STAGES, Degradation, Mixture, Shuffled, Staged
from keras_fsr.errors import RecipeError
from keras_fsr.settings import build, nearest, read_yaml

FOLDER = Path(__file__).parent
LEARNED, SHIPPED = "learned", "degradation_x4"
ORDERS = {"staged": Staged, "shuffled": Shuffled}


def names() -> list[str]:
    """Names of the presets in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str | Path, stages: int | None = None) -> Degradation:
    """A degradation by its name.

    Args:
        name: of a preset in the package, the path of a preset's YAML file, "learned" for the cameras that ship with
            the degradation model, or the path of the `.npz` of a `LearnedDegradation`.
        stages: take that many of its stages, the last again where there are fewer; only of a staged preset.

    Raises:
        RecipeError: no such preset, a key or value that is not known, or stages it cannot have.
    """
    path = Path(name)
    if name == LEARNED or path.suffix == ".npz":
        if stages is not None:
            raise RecipeError(f"{name}: a learned degradation has no stages")
        from keras_fsr.degradations.learned.transfer import LearnedDegradation  # which the others do without

        return LearnedDegradation.load(path if path.suffix else pretrained.weights(SHIPPED, ".npz"))
    if not path.suffix and not path.is_file():
        path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise RecipeError(
            f"{name}: no such degradation{nearest(str(name), [*names(), LEARNED])}; or give a .yaml file"
        )
    values = read_yaml(path, "order: staged")
    order = values.pop("order", None)
    if not isinstance(order, str) or order not in ORDERS:
        raise RecipeError(f"{path}: order {order!r} is none of {', '.join(ORDERS)}")
    preset = build(ORDERS[order], values, str(path))
    if stages is None:
        return preset
    if not isinstance(preset, Staged) or not preset.stages or not 1 <= stages <= MAX_STAGES:
        raise RecipeError(f"{path}: {stages} stages are not possible; a preset with stages takes 1 to {MAX_STAGES}")
    return preset.with_stages(stages)


def mixture(shares: Mapping[str, float]) -> Degradation:
    """Degradations by name or file, each with its share of the draws."""
    return Mixture(tuple((share, load(name)) for name, share in shares.items()))
