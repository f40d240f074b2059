"""Makes a shipped model of a finished run: NAME.keras, NAME.tflite and the card with freshly measured figures.

    python export/release.py RUN --data FACES --description TEXT --hours H [--checkpoint FILE.keras]
        [--command CMD ...] [--peers peers.json]

FACES has the subfolders `train` and `test/SIZE` and a `manifest.csv` with the columns file, split and source;
peers.json holds {"test/256": {"name": {"psnr_y": ...}}} of other projects' models by the same protocol. The
figures are measured with the `.tflite` that is written, through the Predictor, as a user would.
"""

import argparse
import csv
import json
import shutil
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from keras_fsr import generators, pretrained
from keras_fsr.data.folders import list_images
from keras_fsr.deploy.tflite import export_tflite
from keras_fsr.evaluation import protocol
from keras_fsr.inference.predictor import Predictor
from keras_fsr.training.recipes import load_recipe

LIMITS = [
    "Made for clean reductions by 4; blur, noise and JPEG artefacts of the input stay or grow.",
    "Restores no identity: what the reduction has lost is a plausible mean, not evidence.",
    "Generated portraits (a third of the data) and members of the US Congress do not stand for all faces.",
]


def main() -> None:
    arguments = parse()
    recipe = load_recipe(arguments.run / "recipe.yaml")
    folder = pretrained.FOLDER
    keras_file, tflite_file = folder / f"{recipe.name}.keras", folder / f"{recipe.name}.tflite"
    shutil.copyfile(arguments.checkpoint or arguments.run / f"{recipe.name}.keras", keras_file)
    model = generators.load(keras_file)
    export_tflite(model, tflite_file, "dynamic")

    figures, subgroups = measure(tflite_file, arguments.data, recipe.scale)
    peers = json.loads(arguments.peers.read_text()) if arguments.peers else {}
    for size, rows in peers.items():
        figures[size] |= rows
    best = figures["test/256"][recipe.name]
    figures["headline"] = f"test/256: PSNR-Y {best['psnr_y']:.2f} dB, SSIM-Y {best['ssim_y']:.4f}"
    card = pretrained.Card(
        name=recipe.name,
        description=arguments.description,
        scale=recipe.scale,
        parameters=model.count_params(),
        licence="Apache-2.0",
        sha256={path.name: pretrained.digest(path) for path in (keras_file, tflite_file)},
        architecture={"class": type(model).__name__, **model.get_config()},
        training={
            "data": describe_data(arguments.data),
            "recipe": recipe.name,
            "commands": arguments.command,
            "hours": arguments.hours,
            "versions": json.loads((arguments.run / "versions.json").read_text()),
        },
        figures=figures,
        limits=LIMITS,
        subgroups=subgroups,
    )
    (folder / f"{recipe.name}.json").write_text(json.dumps(asdict(card), indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"figures": figures, "subgroups": subgroups}, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a .keras file of the run (default: its best epoch)")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--description", required=True)
    parser.add_argument("--hours", type=float, required=True, help="wall-clock hours of training")
    parser.add_argument("--command", action="append", default=[], help="a command that made the run; repeatable")
    parser.add_argument("--peers", type=Path)
    return parser.parse_args()


def measure(model: Path, data: Path, scale: int) -> tuple[dict, dict]:
    """Figures of each size folder of the test set, and of each source within the first."""
    sources = read_sources(data)
    models = {**protocol.baselines(scale), model.stem: Predictor(model).predict}
    figures, subgroups = {}, {}
    for folder in sorted((data / "test").iterdir(), key=lambda path: int(path.name)):
        rows = protocol.evaluate(models, list_images(folder), scale)
        size = f"test/{folder.name}"
        figures[size] = summary(rows)
        for source in sorted({sources[row.file.resolve()] for row in rows}):
            group = [row for row in rows if sources[row.file.resolve()] == source]
            subgroups[f"{size}, source {source}"] = summary(group)
    return figures, subgroups


def summary(rows) -> dict:
    means = protocol.summarize(rows)
    images = len({row.file for row in rows})
    return {
        name: {"images": images, **{metric: round(value, 4) for metric, value in values.items()}}
        for name, values in means.items()
    }


def read_sources(data: Path) -> dict[Path, str]:
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        return {(data / row["file"]).resolve(): row["source"] for row in csv.DictReader(file)}


def describe_data(data: Path) -> dict:
    """What a reader needs to know which images were used: counts by source and the manifest's digest."""
    sources = read_sources(data)
    images = list_images(data / "train")
    return {
        "training_images": len(images),
        "by_source": dict(Counter(sources[path.resolve()] for path in images)),
        "manifest_sha256": pretrained.digest(data / "manifest.csv"),
    }


if __name__ == "__main__":
    sys.exit(main())
