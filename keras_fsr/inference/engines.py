"""What runs a network: LiteRT for a `.tflite` file, Keras for a `.keras` file.

An engine has a `scale` and is called with one image, (H, W, 3) float32 in [0, 1], any size; it returns
(H * scale, W * scale, 3) float32, which may be overwritten. One that `takes_bytes` also takes uint8, whose 255 stands
for 1, and then returns uint8. Calls come one at a time; for several threads there are `copies`. The LiteRT engine
needs no TensorFlow.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_fsr import pretrained
from keras_fsr.errors import ModelError, first_line
from keras_fsr.inference.tflite_graph import check_graph, check_root
from keras_fsr.machine import available_cores
from keras_fsr.quiet import import_tensorflow, quiet

PROBE = 16  # side in pixels of the image that tells a network's scale; a multiple of every unshuffle factor


class Engine(Protocol):
    """A network ready to run."""

    scale: int
    size: tuple[int, int] | None  # (height, width) of the largest image that it takes, None for any
    takes_bytes: bool
    threads: int  # that copies can share

    def __call__(self, image: np.ndarray) -> np.ndarray: ...

    def copies(self, most: int) -> "list[Engine]": ...


class LiteRTEngine:
    """Runs a `.tflite` file through LiteRT with XNNPACK, its tensors float32 or, by their own scales, 8-bit integers.

    A file made for one image size has that `size`; smaller images are mirrored to it.

    Args:
        path: the file.
        threads: CPU threads; all that this process may use by default.
        content: the model where it is in memory; `path` is then what errors call it.
        trusted: spare the check of its graph, for a file whose SHA-256 is known or that has been checked.

    Raises:
        ModelError: the file is missing, is no TFLite model, or does not enlarge RGB images.
    """

    def __init__(
        self, path: Path | str, threads: int | None = None, content: bytes | None = None, trusted: bool = False
    ):
        # Imported here: reading images or recipes must not pay for the runtime.
        from ai_edge_litert.interpreter import Interpreter

        if content is None:
            check_file(path)
            content = None if trusted else Path(path).read_bytes()
        self._path, self._content, self.threads = path, content, threads or available_cores()
        source = {"model_path": str(path)} if content is None else {"model_content": content}
        try:
            with quiet():
                if not trusted:
                    check_root(content)
                self._interpreter = Interpreter(**source, num_threads=self.threads)
                if not trusted:
                    check_graph(content)
                self._input = self._interpreter.get_input_details()[0]
                self._output = self._interpreter.get_output_details()[0]
                for end in (self._input, self._output):
                    check_type(end)
                self.takes_bytes = is_bytes(self._input) and is_bytes(self._output)
                height, width = (int(side) for side in self._input["shape_signature"][1:3])
                self.size = (height, width) if min(height, width) > 0 else None
                self._shape: tuple[int, ...] = ()
                self.scale = probe_scale(self._run)
        except (ValueError, RuntimeError, IndexError, MemoryError, ModelError) as error:
            raise not_a_model(path, error) from None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        try:
            return self._run(image)
        except RuntimeError as error:
            raise cannot_run(image, error) from None

    def copies(self, most: int) -> "list[LiteRTEngine]":
        """Up to so many engines of the same file, each with its own memory, that share the threads among them."""
        count = min(self.threads, most)
        if count == 1:
            return [self]
        return [LiteRTEngine(self._path, self.threads // count, self._content, trusted=True) for _ in range(count)]

    def _run(self, image: np.ndarray) -> np.ndarray:
        if self.size is None:
            return self._enlarge(image)
        height, width = image.shape[:2]
        below, right = self.size[0] - height, self.size[1] - width
        if min(below, right) < 0:
            raise ModelError(
                f"the model is made for {self.size[1]}x{self.size[0]} pixels, not for {width}x{height}; "
                f"use a smaller tile, or export it without a size"
            )
        result = self._enlarge(np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric"))
        scale = result.shape[0] // self.size[0]
        return result[: height * scale, : width * scale]

    def _enlarge(self, image: np.ndarray) -> np.ndarray:
        if image.shape != self._shape:
            self._shape = ()
            self._interpreter.resize_tensor_input(self._input["index"], (1, *image.shape), strict=True)
            self._interpreter.allocate_tensors()
            self._shape = image.shape
        bytes_through = image.dtype == np.uint8
        self._interpreter.set_tensor(
            self._input["index"], image[None] if bytes_through else quantized(image[None], self._input)
        )
        self._interpreter.invoke()
        result = self._interpreter.get_tensor(self._output["index"])[0]
        return result if bytes_through else dequantized(result, self._output)


class KerasEngine:
    """Runs a `.keras` file, or a Keras model, through Keras.

    Args:
        model: path of the file or the model itself.

    Raises:
        ModelError: the file is missing, is no Keras model, or does not enlarge RGB images.
    """

    size, takes_bytes, threads = None, False, 1

    def __init__(self, model):
        path = model
        if isinstance(model, str | os.PathLike):
            model = load_keras(model)
        self._model = model
        try:
            self.scale = probe_scale(self._run)
        except Exception as error:  # Keras and TensorFlow have many kinds
            raise not_a_model(path, error) from None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        try:
            return self._run(image)
        except Exception as error:  # TensorFlow's own kinds, which are no RuntimeErrors
            raise cannot_run(image, error) from None

    def copies(self, most: int) -> "list[KerasEngine]":
        """This one alone: it uses all cores as it is."""
        return [self]

    def _run(self, image: np.ndarray) -> np.ndarray:
        return np.asarray(self._model.predict_on_batch(image[None]))[0]


def load_engine(path: Path | str, threads: int | None = None) -> Engine:
    """The engine for a model file, by its extension.

    Raises:
        ModelError: neither `.tflite` nor `.keras`, or as the engines.
    """
    if check_suffix(path) == ".keras":
        return KerasEngine(path)
    return LiteRTEngine(path, threads, trusted=pretrained.is_shipped(path))


def load_keras(path: Path | str):
    """The model in a `.keras` file.

    Raises:
        ModelError: Keras is not installed, the file is missing or is no Keras model.
    """
    try:
        import_tensorflow()
    except ImportError:
        raise ModelError(
            f"{path}: a .keras model needs Keras; install the extra 'train', or use the .tflite"
        ) from None
    from keras_fsr import generators

    return generators.load(path)


def probe_scale(run: Callable[[np.ndarray], np.ndarray]) -> int:
    """Scale of a network, from what it makes of a small image."""
    shape = run(np.zeros((PROBE, PROBE, 3), np.float32)).shape
    scale = shape[0] // PROBE
    if scale < 1 or shape != (PROBE * scale, PROBE * scale, 3):
        raise ValueError(f"it makes {shape} of {(PROBE, PROBE, 3)}")
    return scale


def check_type(end: dict) -> None:
    """ValueError for an input or output that is neither float32 nor 8-bit with a scale."""
    kind = end["dtype"]
    if kind not in (np.float32, np.uint8, np.int8) or (kind != np.float32 and not end["quantization"][0]):
        raise ValueError(f"its {end['name']} is {np.dtype(kind).name}, neither float32 nor 8-bit with a scale")


def is_bytes(end: dict) -> bool:
    """Whether the integers of an input or output are the levels of 8-bit pixels."""
    scale, zero_point = end["quantization"]
    return end["dtype"] == np.uint8 and zero_point == 0 and abs(scale * 255 - 1) < 1e-6


def quantized(image: np.ndarray, end: dict) -> np.ndarray:
    """Values in [0, 1] as an input takes them: as they are, or as integers of its scale and zero point."""
    if end["dtype"] == np.float32:
        return image
    scale, zero_point = end["quantization"]
    limits = np.iinfo(end["dtype"])
    return np.clip(np.rint(image / scale) + zero_point, limits.min, limits.max).astype(end["dtype"])


def dequantized(result: np.ndarray, end: dict) -> np.ndarray:
    """What an output's integers stand for, float32."""
    if end["dtype"] == np.float32:
        return result
    scale, zero_point = end["quantization"]
    return (result.astype(np.float32) - zero_point) * np.float32(scale)


def check_suffix(path: Path | str) -> str:
    """`.tflite` or `.keras`; ModelError for a file that is neither."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".tflite", ".keras"):
        raise ModelError(f"{path}: is neither a .tflite nor a .keras file")
    return suffix


def check_file(path: Path | str) -> None:
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such model file")


def not_a_model(model, error: Exception) -> ModelError:
    return ModelError(
        f"{model}: is not a super-resolution model ({first_line(error)}); give one that keras-fsr trained or exported"
    )


def cannot_run(image: np.ndarray, error: Exception) -> ModelError:
    """What to tell where a network that works fails on an image: nearly always memory."""
    height, width = image.shape[:2]
    return ModelError(
        f"the network fails on {width}x{height} pixels at once ({first_line(error)}); use a smaller tile"
    )
