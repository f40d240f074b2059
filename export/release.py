"""Makes a shipped model of a finished run: NAME.keras, NAME.tflite and the card with freshly measured figures.

    python export/release.py RUN --data FACES --description TEXT --hours H [--checkpoint FILE.keras]
        [--command CMD ...] [--results NAME=DIR ...] [--weights DIR]
        [--degraded PRESET:SEED] [--degraded-results NAME=DIR ...]

FACES has the subfolders `train` and `test/SIZE` and a `manifest.csv` with the columns file, split and source;
each --results folder holds what another model made of the LR of test/256 (`benchmarks/peers.py`). With --weights, the
folder of LPIPS' weights, LPIPS is measured too. The figures are those of the `.tflite` that is written, run through
the Predictor, as a user would. --degraded measures on test/256 as `keras-fsr degrade` makes it, too, beside the other
shipped models, and takes the card's headline from there.
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

from keras_fsr import generators, pretrained
from keras_fsr.arguments import named_folder
from keras_fsr.cli import make_lpips
from keras_fsr.data.degraded_folder import number_of
from keras_fsr.data.folders import list_images
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.deploy.tflite import export_tflite
from keras_fsr.evaluation import protocol
from keras_fsr.evaluation.report import read_results
from keras_fsr.inference.predictor import Predictor
from keras_fsr.training.recipes import Recipe, load_recipe

CLEAN = "Made for clean reductions by 4; blur, noise and JPEG artefacts of the input stay or grow."
DEGRADED = "Made for blurred, noisy or compressed input; of clean reductions it keeps less than the other models do."
LIMITS = [
    "Restores no identity: what the reduction has lost is {replaced_by}, not evidence.",
    "Generated portraits (a third of the data) and members of the US Congress do not stand for all faces.",
]
FIRST_TEST = "test/256"


def main() -> None:
    arguments = parse()
    recipe = load_recipe(arguments.run / "recipe.yaml")
    lpips = make_lpips(arguments.weights) if arguments.weights else None
    with tempfile.TemporaryDirectory() as folder:  # a failure leaves what was shipped as it is
        make(recipe, Path(folder), lpips, arguments)
        for path in Path(folder).iterdir():
            shutil.move(path, pretrained.FOLDER / path.name)


def make(recipe: Recipe, folder: Path, lpips: protocol.Distance | None, arguments: argparse.Namespace) -> None:
    """Writes the three files of the model into a folder."""
    keras_file, tflite_file = folder / f"{recipe.name}.keras", folder / f"{recipe.name}.tflite"
    shutil.copyfile(arguments.checkpoint or arguments.run / f"{recipe.name}.keras", keras_file)
    model = generators.load(keras_file)
    export_tflite(model, tflite_file, "dynamic")
    figures, subgroups = measure(tflite_file, arguments.data, recipe.scale, arguments.results, lpips)
    best = FIRST_TEST
    if arguments.degraded:
        best = f"{FIRST_TEST} by {arguments.degraded[0]}, seed {arguments.degraded[1]}"
        figures[best] = measure_degraded(tflite_file, recipe.scale, lpips, arguments)
    figures["headline"] = headline(best, figures[best][recipe.name])
    card = pretrained.Card(
        name=recipe.name,
        description=arguments.description,
        scale=recipe.scale,
        parameters=model.count_params(),
        licence="Apache-2.0",
        sha256={path.name: pretrained.digest(path) for path in (keras_file, tflite_file)},
        architecture={"class": type(model).__name__, **model.get_config()},
        training=training_facts(recipe.name, arguments),
        figures=figures,
        limits=[
            DEGRADED if recipe.degradation else CLEAN,
            *(
                limit.format(replaced_by="an invention" if recipe.adversarial else "a plausible mean")
                for limit in LIMITS
            ),
        ],
        subgroups=subgroups,
        fidelity=recipe.start if recipe.start in pretrained.names() else "",
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
    parser.add_argument("--results", action="append", default=[], type=named_folder, metavar="NAME=DIR")
    parser.add_argument("--weights", type=Path, help="folder of LPIPS' weights (default: LPIPS is not measured)")
    parser.add_argument("--degraded", type=preset_and_seed, metavar="PRESET:SEED")
    parser.add_argument("--degraded-results", action="append", default=[], type=named_folder, metavar="NAME=DIR")
    return parser.parse_args()


def preset_and_seed(text: str) -> tuple[str, int]:
    """An argument PRESET:SEED."""
    preset, _, seed = text.partition(":")
    return preset, int(seed)


def headline(test: str, best: dict[str, float]) -> str:
    text = f"{test}: PSNR-Y {best['psnr_y']:.2f} dB, SSIM-Y {best['ssim_y']:.4f}"
    return text + (f", LPIPS {best['lpips']:.4f}" if "lpips" in best else "")


def measure(
    model: Path, data: Path, scale: int, results: list[tuple[str, Path]], lpips: protocol.Distance | None
) -> tuple[dict, dict]:
    """Figures of each size folder of the test set, and of each source within it."""
    sources = read_sources(data)
    models = {**protocol.baselines(scale), model.stem: Predictor(model).predict}
    figures, subgroups = {}, {}
    for folder in sorted((data / "test").iterdir(), key=lambda path: int(path.name)):
        size, files = f"test/{folder.name}", list_images(folder)
        others = read_results(results, folder) if size == FIRST_TEST else {}
        rows = protocol.evaluate(models, files, scale, results=others, lpips=lpips)
        figures[size] = summary(rows)
        for source in sorted({sources[row.file.resolve()] for row in rows}):
            group = [row for row in rows if sources[row.file.resolve()] == source]
            subgroups[f"{size}, source {source}"] = summary(group)
    return figures, subgroups


def measure_degraded(model: Path, scale: int, lpips: protocol.Distance | None, arguments: argparse.Namespace) -> dict:
    """Figures on a degraded test set, of the other shipped models of this scale, too."""
    folder = arguments.data / FIRST_TEST
    others = [name for name in pretrained.names() if name != model.stem and pretrained.card(name).scale == scale]
    models = {**protocol.baselines(scale), model.stem: Predictor(model).predict}
    models |= {name: Predictor(name).predict for name in others}
    preset, seed = arguments.degraded
    degrade = Degrader(presets.load(preset), scale, seed)
    rows = protocol.evaluate(
        models,
        list_images(folder),
        scale,
        results=read_results(arguments.degraded_results, folder),
        lpips=lpips,
        make_lr=lambda file, hr: degrade(hr, number_of(file.relative_to(folder))),
    )
    return summary(rows)


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
