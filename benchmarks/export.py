"""What every form of a model keeps and costs, in one run: quality, size, speed and memory, as a Markdown table.

    python benchmarks/export.py --data FACES [--weights WEIGHTS] [--peers PEERS --peers-python PYTHON] [--out DIR]

FACES has the subfolders `train`, on which int8 is calibrated, and `test/256`, on which all are measured by the
protocol. The rows `int8 QAT` are the shipped files. A time is from 8-bit pixels to 8-bit pixels of one image at once,
the median of all rounds; every row runs in a process of its own, which takes turns with the others, and whose peak
memory is told. PEERS holds
FSRCNN_x4.pb, and PYTHON has opencv-contrib-python-headless 4.12 (see `peers.py`).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Model -> the shipped model that is its int8 form by quantization-aware training.
QAT = {"face_x4_edge": "face_x4_edge", "face_x4": "face_x4_int8"}
FORMS = {
    "none": "TFLite float32",
    "float16": "TFLite float16",
    "dynamic": "TFLite dynamic",
    "int8": "int8 by calibration",
}
SIDES = {64: 40, 256: 6}  # pixels of the LR -> runs a round
THREADS = (1, 2)
SCALE = 4


class Subject(NamedTuple):
    """A row of the table: what is run how."""

    model: str
    form: str
    kind: str  # of RUNNERS
    path: Path


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(measure(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train and test/256")
    parser.add_argument("--models", nargs="+", default=list(QAT), choices=QAT, help="those that are exported")
    parser.add_argument("--weights", type=Path, help="folder of LPIPS' weights; without, LPIPS is left out")
    parser.add_argument("--peers", type=Path, help="folder with FSRCNN_x4.pb")
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter with OpenCV's contrib modules")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for export.md and export.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subjects = [s for model in arguments.models for s in export_all(model, arguments.data, Path(folder))]
        quality = measure_quality(subjects, arguments.data / "test/256", arguments.weights)
        if arguments.peers:
            subjects.append(Subject("FSRCNN", "OpenCV", "opencv", arguments.peers / "FSRCNN_x4.pb"))
        costs = measure_costs(subjects, arguments.rounds, {"opencv": arguments.peers_python})
        rows = [make_row(subject, quality, costs) for subject in subjects]
    rows.append({"model": "bicubic", "form": "Pillow"} | figures_of(quality["bicubic"]))
    table = format_table(rows)
    print(table)
    if arguments.out:
        (arguments.out / "export.md").write_text(table + "\n", encoding="utf-8")
        (arguments.out / "export.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def export_all(model: str, data: Path, folder: Path) -> Iterator[Subject]:
    """Every form of a shipped model; all but the last are made here."""
    from keras_fsr import pretrained
    from keras_fsr.deploy.form import Form
    from keras_fsr.deploy.tflite import export

    yield Subject(model, "Keras float32", "keras", pretrained.weights(model, ".keras"))
    for mode, name in FORMS.items():
        path = folder / f"{model}_{mode}.tflite"
        export(model, path, Form(mode, images=data if mode == "int8" else None), verified=False)
        yield Subject(model, name, "tflite", path)
    yield Subject(model, "int8 QAT", "tflite", pretrained.weights(QAT[model]))


def measure_quality(
    subjects: Sequence[Subject], folder: Path, weights: Path | None
) -> dict[str, Mapping[str, float]]:
    """Path -> figures of the protocol; under "bicubic" those of bicubic."""
    from keras_fsr.data.folders import list_images
    from keras_fsr.evaluation import choosing, protocol
    from keras_fsr.evaluation.measures import BASIC
    from keras_fsr.inference.predictor import Predictor

    measures = [*BASIC, *(choosing.lpips(weights) if weights else [])]
    models = {str(s.path): Predictor(s.path).predict for s in subjects}
    models["bicubic"] = protocol.baselines(SCALE)["bicubic"]
    return protocol.summarize(protocol.evaluate(models, list_images(folder), SCALE, measures=measures), measures)


def measure_costs(subjects: Sequence[Subject], rounds: int, interpreters: Mapping[str, str]) -> dict[Path, dict]:
    """Path -> "SIDE THREADS" -> median milliseconds, and "peak_mb"."""
    samples: dict[Path, dict[str, list[float]]] = {subject.path: {} for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            for threads in THREADS:
                python = interpreters.get(subject.kind, sys.executable)
                command = [python, __file__, "--worker", subject.kind, str(subject.path), str(threads)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for key, values in found.items():
                    samples[subject.path].setdefault(key, []).extend(values)
    return {
        path: {key: statistics.median(values) for key, values in found.items()} for path, found in samples.items()
    }


def measure(kind: str, path: str, threads: str) -> dict[str, list[float]]:
    """What a worker tells: times of each side in milliseconds, and its peak memory in MB (Linux)."""
    run = RUNNERS[kind](path, int(threads))
    found = {}
    for side, runs in SIDES.items():
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        run(image), run(image)  # warm up
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            result = run(image)
            times.append(1000 * (time.perf_counter() - started))
        assert result.shape == (SCALE * side, SCALE * side, 3)
        assert result.dtype == np.uint8
        found[f"{side} {threads}"] = times
    # Not `ru_maxrss`, in which a child starts with what its parent had.
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return found | {"peak_mb": [int(peak) / 1000]}


def tflite(path: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    pixels = source["dtype"] == np.uint8

    def run(image):
        if tuple(interpreter.get_input_details()[0]["shape"][1:]) != image.shape:
            interpreter.resize_tensor_input(source["index"], (1, *image.shape))
            interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], (image if pixels else to_floats(image))[None])
        interpreter.invoke()
        found = interpreter.get_tensor(result["index"])[0]
        return found if pixels else to_pixels(found)

    return run


def keras_model(path: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from keras_fsr import generators

    model = generators.load(path)
    return lambda image: to_pixels(model.predict_on_batch(to_floats(image)[None])[0])


def opencv(path: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    import cv2

    cv2.setNumThreads(threads)
    network = cv2.dnn_superres.DnnSuperResImpl_create()
    network.readModel(path)
    network.setModel("fsrcnn", SCALE)
    return network.upsample


def to_floats(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255


def to_pixels(result: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)


RUNNERS = {"tflite": tflite, "keras": keras_model, "opencv": opencv}


def make_row(subject: Subject, quality: Mapping[str, Mapping[str, float]], costs: Mapping[Path, Mapping]) -> dict:
    """All that is known of a subject; figures that were not measured are left out."""
    row = {"model": subject.model, "form": subject.form, "kb": subject.path.stat().st_size / 1000}
    return row | costs[subject.path] | figures_of(quality.get(str(subject.path), {}))


def figures_of(quality: Mapping[str, float]) -> dict[str, float]:
    return {key: quality[key] for key in ("psnr_y", "ssim_y", "lpips") if key in quality}


COLUMNS = {
    "PSNR-Y": "psnr_y",
    "loss": "loss",
    "LPIPS": "lpips",
    "kB": "kb",
    "64→256, 1 thread": "64 1",
    "2 threads": "64 2",
    "256→1024, 1 thread": "256 1",
    "2 threads ": "256 2",
    "peak MB": "peak_mb",
}
FORMATS = {"psnr_y": ".3f", "loss": "+.3f", "lpips": ".4f", "kb": ",.0f", "64 1": ".2f", "64 2": ".2f"}


def format_table(rows: Sequence[Mapping]) -> str:
    """A Markdown table; the loss is against the float Keras model, times are milliseconds."""
    floats = {row["model"]: row["psnr_y"] for row in rows if row["form"].startswith("Keras")}
    lines = [f"| model | form | {' | '.join(map(str.strip, COLUMNS))} |", f"|---|---|{'---:|' * len(COLUMNS)}"]
    for row in rows:
        facts = dict(row)
        if row["model"] in floats:
            facts["loss"] = floats[row["model"]] - row["psnr_y"]
        cells = [format(facts[key], FORMATS.get(key, ".0f")) if key in facts else "" for key in COLUMNS.values()]
        lines.append(f"| {row['model']} | {row['form']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
