"""What kind of TFLite file to write. Standard library alone, for the command line reads it at every start."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from keras_fsr.errors import ModelError

FLOAT_MODES = ("none", "float16", "dynamic")
INT8_MODES = ("int8", "qat")
MODES = FLOAT_MODES + INT8_MODES
SMALLEST = 16  # pixels a side of a fixed size
TARGETS = ("original", "model")
QAT_PACKAGES = ("tensorflow_model_optimization", "tf_keras")


@dataclass(frozen=True)
class Tuning:
    """How long and how fast to fine-tune.

    Attributes:
        steps: of 16 patches.
        learning_rate: of Adam at the start; falls to 0 by cosine.
        target: "original" learns from the HR images; "model" from the float model's own output, which keeps the look
            of a perceptual model.
        run: folder of the state; none keeps no state.
        resume: go on with the state in `run`.

    Raises:
        ModelError: an impossible value.
    """

    steps: int = 2000
    learning_rate: float = 1e-4
    target: str = "original"
    run: Path | None = None
    resume: bool = False

    def __post_init__(self):
        if self.steps < 1 or not 0 < self.learning_rate < 1:
            raise ModelError(
                f"{self.steps} steps at a learning rate of {self.learning_rate:g} train nothing; use at least one "
                f"step and a rate between 0 and 1"
            )
        if self.target not in TARGETS:
            raise ModelError(f"target {self.target!r} is unknown; use {', '.join(TARGETS)}")
        if self.resume and self.run is None:
            raise ModelError("what to resume is not said; name the run folder (--run)")


@dataclass(frozen=True)
class Form:
    """What kind of file to write.

    Attributes:
        quantize: of `MODES`.
        size: (height, width) of the only image size it takes; None for any.
        io_type: "float" (values in [0, 1]) or "uint8" (pixels); by default pixels for the int8 modes.
        images: folder of HR images: int8 calibrates on them, qat trains on them, all are compared on them.
        lr_images: folder of the LR images of the same names (default: HR is reduced by the protocol).
        tuning: of qat.

    Raises:
        ModelError: what does not go together.
    """

    quantize: str = "dynamic"
    size: tuple[int, int] | None = None
    io_type: str | None = None
    images: Path | str | None = None
    lr_images: Path | str | None = None
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self):
        if self.quantize not in MODES:
            raise ModelError(f"quantize {self.quantize!r} is unknown; use {', '.join(MODES)}")
        if self.quantize in INT8_MODES and self.images is None:
            raise ModelError(
                f"{self.quantize} needs images; name a folder of HR images (--calibration, for qat --data)"
            )
        if self.lr_images is not None and self.images is None:
            raise ModelError(f"{self.lr_images}: LR images need the HR images that they belong to (--calibration)")
        if self.quantize in FLOAT_MODES and self.io_type == "uint8":
            raise ModelError(f"uint8 tensors need int8 kernels; use --quantize int8 or qat, not {self.quantize}")
        if self.size:
            check_size(self.size)
        if self.quantize == "qat":
            check_packages()
        if self.io_type is None:
            object.__setattr__(self, "io_type", "uint8" if self.quantize in INT8_MODES else "float")


def check_size(size: tuple[int, int]) -> None:
    if min(size) < SMALLEST:
        raise ModelError(f"a size of {size[0]}x{size[1]} is too small; use {SMALLEST} pixels a side or more")


def check_packages() -> None:
    missing = [name for name in QAT_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(f"QAT needs {missing[0]}; install the extra: pip install '.[qat]' in the checkout")
