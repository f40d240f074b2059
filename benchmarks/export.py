"""What every form of a model keeps and costs, in one run: quality, size, speed and memory, as a Markdown table.

    python benchmarks/export.py --data FACES [--weights WEIGHTS] [--peers PEERS --peers-python PYTHON] [--out DIR]

FACES has the subfolders `train`, on which int8 is calibrated, and `test/256`, on which all are measured by the
protocol. The rows `int8 QAT` are the shipped files. A time is from 8-bit pixels to 8-bit pixels of one image at once,
the median of all rounds; every row runs in a process of its own, which takes turns with the others, and whose peak
memory is told. PEERS holds FSRCNN_x4.pb, and PYTHON has opencv-contrib-python-headless 4.12 (see `peers.py`).
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from runners import SCALE, Subject, measure_costs

from keras_fsr import machine
from keras_fsr.quiet import import_tensorflow

# Model -> the shipped model that is its int8 form by quantization-aware training.
QAT = {"face_x4_edge": "face_x4_edge", "face_x4_edge_medium": "face_x4_edge_medium", "face_x4": "face_x4_int8"}
FORMS = {
    "none": "TFLite float32",
    "float16": "TFLite float16",
    "dynamic": "TFLite dynamic",
    "int8": "int8 by calibration",
}

HEAD = """# Exported forms: what they keep and what they cost

`python benchmarks/export.py --data FACES --weights WEIGHTS --peers PEERS --peers-python PYTHON --out docs/results`

One run: {machine}. PSNR-Y in dB and LPIPS (SqueezeNet) on the 73 images of test/256; loss is against the float Keras
model; times in milliseconds, from 8-bit pixels to 8-bit pixels of one image, medians; peak memory is of the whole
process, 256 to 1024. The rows `int8 QAT` are the shipped files.

"""


def main() -> None:
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
        (arguments.out / "export.md").write_text(HEAD.format(machine=machine_line()) + table + "\n", encoding="utf-8")
        (arguments.out / "export.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def export_all(model: str, data: Path, folder: Path) -> Iterator[Subject]:
    """Every form of a shipped model; all but the last are made here."""
    import_tensorflow()
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


def make_row(subject: Subject, quality: Mapping[str, Mapping[str, float]], costs: Mapping[Subject, Mapping]) -> dict:
    """All that is known of a subject; figures that were not measured are left out."""
    row = {"model": subject.model, "form": subject.form, "kb": subject.path.stat().st_size / 1000}
    return row | costs[subject] | figures_of(quality.get(str(subject.path), {}))


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


def machine_line() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow", "ai-edge-litert"))
    return f"{machine.cpu_name() or 'CPU'}, {machine.available_cores()} cores; {versions}"


if __name__ == "__main__":
    main()
