"""Makes a shipped model of a finished run: NAME.keras, NAME.tflite and the card, without figures.

    python export/release.py RUN --data FACES --purpose WORDS --description TEXT --hours H [--checkpoint FILE.keras]
        [--tflite FILE.tflite] [--command CMD ...]
    keras-fsr evaluate --models NAME ... --report REPORT
    python export/card.py NAME REPORT

FACES has the subfolder `train` and a `manifest.csv` with the columns file and source. The figures are put in by
`export/card.py`, from a report on the `.tflite` that is written here.
"""

import argparse
import csv
import json
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from keras_fsr import pretrained
from keras_fsr.data.folders import list_images
from keras_fsr.deploy.metadata import read_metadata, write_metadata
from keras_fsr.deploy.source import AUTHOR, load_source
from keras_fsr.deploy.tflite import export_tflite
from keras_fsr.training.recipes import Recipe, load_recipe

CLEAN = "Made for clean reductions by 4; blur, noise and JPEG artefacts of the input stay or grow."
DEGRADED = "Made for blurred, noisy or compressed input; of clean reductions it keeps less than the other models do."
LICENCE = "Apache-2.0"
LIMITS = [
    "Restores no identity: what the reduction has lost is {replaced_by}, not evidence.",
    "Generated portraits (a third of the data) and members of the US Congress do not stand for all faces.",
]


def main() -> None:
    arguments = parse()
    recipe = load_recipe(arguments.run / "recipe.yaml")
    with tempfile.TemporaryDirectory() as folder:  # a failure leaves what was shipped as it is
        make(recipe, Path(folder), arguments)
        for path in Path(folder).iterdir():
            shutil.move(path, pretrained.FOLDER / path.name)


def make(recipe: Recipe, folder: Path, arguments: argparse.Namespace) -> None:
    """Writes the three files of the model into a folder."""
    keras_file, tflite_file = folder / f"{recipe.name}.keras", folder / f"{recipe.name}.tflite"
    shutil.copyfile(arguments.checkpoint or arguments.run / f"{recipe.name}.keras", keras_file)
    source = load_source(keras_file)
    if arguments.tflite:
        ship_tflite(arguments.tflite, tflite_file, recipe.name, pretrained.digest(keras_file))
    else:
        export_tflite(keras_file, tflite_file, "dynamic")
    card = pretrained.Card(
        name=recipe.name,
        purpose=arguments.purpose,
        description=arguments.description,
        scale=recipe.scale,
        parameters=source.model.count_params(),
        licence=LICENCE,
        sha256={path.name: pretrained.digest(path) for path in (keras_file, tflite_file)},
        architecture={"class": type(source.trained).__name__, **source.trained.get_config()},
        training=training_facts(recipe.name, arguments),
        figures={"headline": "not measured yet"},
        limits=[
            DEGRADED if recipe.degradation else CLEAN,
            *(
                limit.format(replaced_by="an invention" if recipe.adversarial else "a plausible mean")
                for limit in LIMITS
            ),
        ],
        fidelity=recipe.start if recipe.start in pretrained.names() else "",
    )
    (folder / f"{recipe.name}.json").write_text(json.dumps(asdict(card), indent=1) + "\n", encoding="utf-8")


def ship_tflite(source: Path, target: Path, name: str, keras_digest: str) -> None:
    """Copies a `.tflite` under a name, with this project's licence; ends the program if it is of another `.keras`."""
    metadata = read_metadata(source)
    if metadata.get("source", {}).get("sha256") != keras_digest:
        sys.exit(f"release: error: {source}: was not made of the model that it is shipped with; export it again")
    shutil.copyfile(source, target)
    write_metadata(target, metadata | {"name": name, "licence": LICENCE, "author": AUTHOR})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a .keras file of the run (default: its best epoch)")
    parser.add_argument(
        "--tflite", type=Path, help="made of it by export tflite (default: int8 weights, activations as it runs)"
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--purpose", required=True, help="what it is for, in a few words")
    parser.add_argument("--description", required=True)
    parser.add_argument("--hours", type=float, required=True, help="wall-clock hours of training")
    parser.add_argument("--command", action="append", default=[], help="a command that made the run; repeatable")
    return parser.parse_args()


def read_sources(data: Path) -> dict[Path, str]:
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        return {(data / row["file"]).resolve(): row["source"] for row in csv.DictReader(file)}


def training_facts(recipe: str, arguments: argparse.Namespace) -> dict:
    """How the run was made: its data, recipe, commands, hours and versions."""
    return {
        "data": describe_data(arguments.data),
        "recipe": recipe,
        "commands": arguments.command,
        "hours": arguments.hours,
        "versions": json.loads((arguments.run / "versions.json").read_text()),
    }


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
