"""Is an exported file still the network? Runs both on the same images and measures what the export cost."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from keras_fsr.deploy.operations import count_operations
from keras_fsr.errors import ModelError
from keras_fsr.files import whole_file
from keras_fsr.inference.engines import Engine, LiteRTEngine
from keras_fsr.machine import available_cores
from keras_fsr.metrics.fidelity import psnr, rgb_to_y
from keras_fsr.quiet import quiet

# Mode -> the figure that decides, and the most that it may be. `none` and `float16` are compared value by value;
# what rounds activations is judged by what it costs against the originals.
TOLERANCES = {
    "none": ("largest_difference", 1e-4),
    "float16": ("largest_difference", 2e-3),
    "dynamic": ("psnr_y_loss", 0.05),
    "int8": ("psnr_y_loss", 0.5),
    "qat": ("psnr_y_loss", 0.15),
}
SIDE = 64  # pixels of the image that is timed
RUNS = 15


@dataclass(frozen=True)
class Report:
    """What an exported file is, does and costs. Differences are of values in [0, 1]; PSNR is of the luma, in dB."""

    file: str
    quantization: str
    size: int  # bytes
    operations: dict[str, int]
    partitions: int  # parts of the graph that XNNPACK runs; 1 is best
    images: str  # what was compared
    largest_difference: float
    mean_difference: float
    psnr_y_keras: float
    psnr_y_file: float
    psnr_y_loss: float
    milliseconds: dict[str, float]  # threads -> median of a run on `timed` pixels
    timed: str

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.operations.items())
        times = ", ".join(f"{ms:.1f} ms with {threads}" for threads, ms in self.milliseconds.items())
        lines = [
            ("file", f"{self.file}, {self.size / 1e3:.1f} kB, {self.quantization}"),
            ("operations", counts),
            ("XNNPACK", f"{self.partitions} partition{'s' * (self.partitions != 1)}"),
            ("compared on", self.images),
            ("difference", f"largest {self.largest_difference:.2e}, mean {self.mean_difference:.2e} of 1"),
            (
                "PSNR-Y",
                f"{self.psnr_y_file:.3f} dB, Keras {self.psnr_y_keras:.3f} dB, loss {self.psnr_y_loss:+.3f} dB",
            ),
            ("latency", f"{times} threads, {self.timed}"),
        ]
        return "\n".join(f"{label:12}{text}" for label, text in lines)


def verify(
    model, path: Path, name: Path | str, quantize: str, pairs: list[tuple[np.ndarray, np.ndarray]], images: str
) -> Report:
    """Compares an exported file with the Keras model.

    Args:
        path: the file.
        name: what it will be called.
        quantize: its mode, of `TOLERANCES`.
        pairs: (LR, HR) uint8.
        images: what they are, in words.

    Raises:
        ModelError: the file differs from the model by more than its mode allows.
    """
    lite = LiteRTEngine(path)
    largest, mean = [], []
    quality: dict[str, list[float]] = {"keras": [], "lite": []}
    for lr, hr in pairs:
        lr, hr = cut(lr, hr, lite)
        values = lr.astype(np.float32) / 255
        expected = np.clip(model(values[None], training=False)[0], 0, 1)
        found = np.clip(lite(values), 0, 1)
        largest.append(np.abs(found - expected).max())
        mean.append(np.abs(found - expected).mean())
        for kind, result in (("keras", expected), ("lite", found)):
            levels = np.rint(result * 255).astype(np.uint8)
            quality[kind].append(psnr(rgb_to_y(levels), rgb_to_y(hr), border=lite.scale))
    psnr_keras, psnr_lite = (float(np.mean(values)) for values in quality.values())
    loss = psnr_keras - psnr_lite if psnr_keras != psnr_lite else 0.0  # both are infinite of a perfect model
    height, width = lite.size or (SIDE, SIDE)
    shape = (1, height, width, 3)
    report = Report(
        file=str(name),
        quantization=quantize,
        size=path.stat().st_size,
        operations=count_operations(path),
        partitions=count_partitions(path, shape),
        images=f"{images} ({len(pairs)} of up to 64x64 LR pixels)",
        largest_difference=float(np.max(largest)),
        mean_difference=float(np.mean(mean)),
        psnr_y_keras=psnr_keras,
        psnr_y_file=psnr_lite,
        psnr_y_loss=loss,
        milliseconds={str(n): latency(path, n, shape) for n in sorted({1, available_cores()})},
        timed=f"{width}x{height} pixels",
    )
    check(report)
    return report


def check(report: Report) -> None:
    """Raises ModelError for a report beyond the tolerance of its mode."""
    figure, most = TOLERANCES[report.quantization]
    value = getattr(report, figure)
    if not value <= most:  # NaN too
        what = "loses {:.3f} dB PSNR-Y" if figure == "psnr_y_loss" else "differs by {:.1e}"
        raise ModelError(
            f"{report.file}: {what.format(value)} from its Keras model on {report.images}, more than the {most:g} "
            f"that {report.quantization} may; nothing was written"
        )


def write_report(report: Report, path: Path) -> None:
    """Writes FILE.report.json beside an exported file."""
    with whole_file(path.with_name(f"{path.name}.report.json")) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")


def cut(lr: np.ndarray, hr: np.ndarray, engine: Engine) -> tuple[np.ndarray, np.ndarray]:
    """A pair without what a file of fixed size cannot take."""
    if engine.size:
        lr = lr[: engine.size[0], : engine.size[1]]
    height, width = (side // 4 * 4 for side in lr.shape[:2])  # RRDB unshuffles its input
    return lr[:height, :width], hr[: height * engine.scale, : width * engine.scale]


def count_partitions(path: Path, shape: tuple[int, ...]) -> int:
    """How many parts of the graph XNNPACK took."""
    return sum(node["op_name"] == "DELEGATE" for node in make_interpreter(path, 1, shape)._get_ops_details())


def latency(path: Path, threads: int, shape: tuple[int, ...]) -> float:
    """Median milliseconds of a run, without copying images in and out."""
    interpreter = make_interpreter(path, threads, shape)
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - started)
    return round(1000 * float(np.median(times)), 3)


def make_interpreter(path: Path, threads: int, shape: tuple[int, ...]):
    """LiteRT's interpreter, ready to run a black image of a shape (1, H, W, 3)."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(str(path), num_threads=threads)
        (tensor,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(tensor["index"], shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(tensor["index"], np.zeros(shape, tensor["dtype"]))
    return interpreter
