"""Between two models of one network: one trained for fidelity and one, from there on, for looks.

Every weight is (1 - strength) * fidelity + strength * perceptual, which trades noise and invented texture for blur
without another training. Source: Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks"
(2018), section 3.4. For `.tflite` files this needs no TensorFlow.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from keras_fsr import pretrained
from keras_fsr.errors import FSRError, ModelError
from keras_fsr.inference import tflite_file
from keras_fsr.inference.engines import Engine, KerasEngine, LiteRTEngine, check_suffix, load_keras
from keras_fsr.inference.tflite_file import TFLiteFile

FLOATS = {"FLOAT32": np.float32, "FLOAT16": np.float16}  # kinds of constants that are interpolated as they are


def load_interpolated(
    model: Path | str, strength: float | None, fidelity: Path | str | None = None, threads: int | None = None
) -> Engine:
    """The engine of a perceptual model that is drawn towards its fidelity model.

    Args:
        model: the perceptual model: a shipped one, or a `.tflite` or `.keras` file.
        strength: 0 for the fidelity model, 1 for the perceptual one, or between.
        fidelity: the fidelity model, by name or file; a shipped perceptual model knows its own.
        threads: CPU threads (LiteRT).

    Raises:
        FSRError: the strength is not from 0 to 1.
        ModelError: no fidelity model is known, or as `interpolate`.
    """
    check_strength(strength)
    perceptual = pretrained.find(model)
    suffix = check_suffix(perceptual)
    start = pretrained.find(fidelity, suffix) if fidelity else pretrained.fidelity_of(model)
    if check_suffix(start) != suffix:
        raise ModelError(f"{start} and {perceptual}: cannot be mixed; give two .tflite or two .keras files")
    if suffix == ".keras":
        return KerasEngine(interpolate_keras(start, perceptual, strength))
    return LiteRTEngine(f"{start} and {perceptual}", threads, content=interpolate(start, perceptual, strength))


def check_strength(strength: float | None) -> None:
    """FSRError unless it is a number from 0 to 1."""
    if strength is None:
        raise FSRError("a fidelity model says nothing without a strength; give one from 0 to 1")
    if not 0 <= strength <= 1:
        raise FSRError(f"strength is {strength}; give 0 (the fidelity model) to 1 (the perceptual model)")


def interpolate(fidelity: Path | str, perceptual: Path | str, strength: float) -> bytes:
    """The `.tflite` file between two that were exported in the same way from one architecture.

    The fidelity model's file is copied and its constants are overwritten where they lie: floats are interpolated as
    they are, int8 weights by what they stand for, and quantized again with new scales. All other constants must be
    equal in both files. Strengths 0 and 1 give the files themselves.

    Raises:
        FSRError: the strength is not from 0 to 1.
        ModelError: a file is no super-resolution model, or the two are different networks.
    """
    check_strength(strength)
    first, second = TFLiteFile(fidelity), TFLiteFile(perceptual)
    names = f"{fidelity} and {perceptual}"
    check_same(names, first.graph(), second.graph())
    pieces = []
    for mine, other in zip(first.tensors(), second.tensors(), strict=True):
        data, twin = first.data(mine), second.data(other)
        kind = first.type_of(mine)
        if not data.size:
            continue  # an activation
        if kind in FLOATS:
            mixed = _between(data.view(FLOATS[kind]), twin.view(FLOATS[kind]), strength)
            pieces.append((data, mixed.astype(FLOATS[kind])))
        elif kind == "INT8" and tflite_file.is_quantized(mine):
            weights = (tflite_file.dequantized(data, mine), tflite_file.dequantized(twin, other))
            pieces += _quantized(data, mine.quantization, _between(*weights, strength))
        elif not np.array_equal(data, twin):
            raise ModelError(
                f"{names}: differ in a constant that is no weight ({tflite_file.name_of(mine)}, {kind}); "
                "give two models of one architecture, exported as float, float16 or dynamic"
            )
    if strength in (0, 1):
        return (first, second)[int(strength)].content
    return first.overwritten(pieces)


def interpolate_keras(fidelity: Path | str, perceptual: Path | str, strength: float):
    """The Keras model between those of two `.keras` files.

    Raises:
        FSRError: the strength is not from 0 to 1.
        ModelError: a file is missing or no Keras model, Keras is not installed, or the two are different networks.
    """
    check_strength(strength)
    first, second = load_keras(fidelity), load_keras(perceptual)
    check_same(f"{fidelity} and {perceptual}", _layers(first), _layers(second))
    if strength == 1:
        return second
    weights = zip(first.get_weights(), second.get_weights(), strict=True)
    # What is no float, like the state of a random generator, is no weight.
    first.set_weights([_between(a, b, strength) if "float" in a.dtype.name else a for a, b in weights])
    return first


def check_same(names: str, fidelity: Iterable[str], perceptual: Iterable[str]) -> None:
    """Compares two networks by their descriptions, line by line; ModelError at the first difference."""
    for mine, other in zip_longest(fidelity, perceptual, fillvalue="nothing more"):
        if mine != other:
            raise ModelError(
                f"{names}: are different networks, the first with {mine}, the second with {other}; "
                "give two models of one architecture, saved or exported in the same way"
            )


def _between(mine: np.ndarray, other: np.ndarray, strength: float) -> np.ndarray:
    """In this form, what is equal in both comes out unchanged to the last bit."""
    mine = mine.astype(np.float64)
    return mine + strength * (other.astype(np.float64) - mine)


def _quantized(data: np.ndarray, scheme, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and new values of int8 weights, their scales and their zero points."""
    levels, scale = tflite_file.quantized(weights, scheme.quantizedDimension if len(scheme.scale) > 1 else None)
    yield data, levels
    yield scheme.scale, scale
    if scheme.zeroPoint is not None:
        yield scheme.zeroPoint, np.zeros_like(scheme.zeroPoint)


def _layers(model) -> Iterator[str]:
    """What two Keras models must share for their weights to mean the same; their names may differ."""
    options = {key: value for key, value in model.get_config().items() if isinstance(value, int | float | str)}
    options.pop("name", None)
    yield f"a {type(model).__name__} of {options}"
    for index, layer in enumerate(model.layers):
        weights = " and ".join(f"{layer_weight.dtype} {list(layer_weight.shape)}" for layer_weight in layer.weights)
        yield f"layer {index} a {type(layer).__name__} of {weights or 'no weights'}"
