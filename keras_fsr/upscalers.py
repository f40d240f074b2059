"""Models by the names that a user gives, as functions LR -> SR."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from keras_fsr import pretrained
from keras_fsr.inference.predictor import Predictor


def name_of(model: str) -> str:
    """A model's name in tables: files by their own name."""
    return Path(model).name


def make_upscaler(model: str, **options) -> Callable:
    return Predictor(model, **options).predict


def make_upscalers(
    models: Sequence[str],
    interpolations: Mapping[str, Callable],
    ensemble: bool = False,
    strengths: Sequence[float] | None = None,
    fidelity: str | None = None,
) -> tuple[dict[str, Callable], dict[str, str]]:
    """Every model at every strength ("face_x4_gan@0.5"), in the order given.

    Args:
        models: shipped models, files, or names of interpolations; one that is named twice counts once.
        interpolations: name -> upscaler.
        ensemble, strengths, fidelity: as of `Predictor`, of the models.

    Returns:
        Name in tables -> upscaler; and, of the models, name -> SHA-256 of the file.

    Raises:
        ModelError: as of `Predictor`.
    """
    models = list(dict.fromkeys(models))
    short = [name_of(model) for model in models]
    upscalers, digests = {}, {}
    for model, label in zip(models, short, strict=True):
        if model in interpolations:
            upscalers[model] = interpolations[model]
            continue
        for strength in strengths or [None]:
            name = model if short.count(label) > 1 else label
            name += "" if strength is None else f"@{strength:g}"
            upscalers[name] = make_upscaler(model, ensemble=ensemble, strength=strength, fidelity=fidelity)
            digests[name] = pretrained.digest(pretrained.find(model))
    return upscalers, digests
