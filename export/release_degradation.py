"""Makes the shipped degradation model of a run: NAME.keras, NAME.tflite (SynNet), NAME.npz (cameras) and the card.

    python export/release_degradation.py RUN --data FACES --weights WEIGHTS --description TEXT --hours H
        [--checkpoint FILE.keras] [--command CMD ...]

FACES has the subfolders `train`, `val/256` and a `manifest.csv`. The figures are those of `benchmarks/transfer.py` on
`val/256`, measured here; the Omegas are of new cameras of the run's preset, by a picture of a training face each.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import transfer
from release import training_facts

from keras_fsr import pretrained
from keras_fsr.data.degraded import take_pictures
from keras_fsr.data.folders import list_images
from keras_fsr.degradations import presets
from keras_fsr.degradations.learned.engine import export_synnet
from keras_fsr.degradations.learned.transfer import LearnedDegradation, fit_degradation, load_network
from keras_fsr.evaluation.choosing import make_lpips
from keras_fsr.training.recipes import load_recipe

BANK_SEED = 30_000_007  # of cameras that neither training, validation nor measuring draws
BANK = 512
LIMITS = [
    "Learned from random cameras on portraits: what else happens to an image is fitted as near as their blur, noise, "
    "JPEG and colours allow.",
    "The noise is right in strength, colour and frequency on average, not in each pixel; blocks of JPEG are soft.",
    "Degrades by 4 exactly; the pair of images that it learns from must show the same, pixel by pixel.",
]


def main() -> None:
    arguments = parse()
    recipe = load_recipe(arguments.run / "recipe.yaml")
    with tempfile.TemporaryDirectory() as folder:  # a failure leaves what was shipped as it is
        folder = Path(folder)
        file = folder / f"{recipe.name}.keras"
        shutil.copyfile(arguments.checkpoint or arguments.run / f"{recipe.name}.keras", file)
        preset = presets.mixture(recipe.hidden.presets)
        bank(preset, file, list_images(arguments.data / "train"), recipe).save(folder / f"{recipe.name}.npz")
        figures = measure(recipe, file, list_images(arguments.data / "val" / "256"), arguments)
        network = load_network(str(file))
        export_synnet(network.synnet, folder / f"{recipe.name}.tflite")
        card = pretrained.Card(
            name=recipe.name,
            purpose="degrades as cameras do",
            description=arguments.description,
            scale=recipe.scale,
            parameters=network.count_params(),
            licence="Apache-2.0",
            sha256={path.name: pretrained.digest(path) for path in sorted(folder.iterdir())},
            architecture={"class": type(network).__name__, **network.get_config()},
            training=training_facts(recipe.name, arguments),
            figures=figures,
            limits=LIMITS,
            kind=pretrained.DEGRADATION,
        )
        (folder / f"{recipe.name}.json").write_text(json.dumps(asdict(card), indent=1) + "\n", encoding="utf-8")
        for path in folder.iterdir():
            shutil.move(path, pretrained.FOLDER / path.name)
    print(json.dumps(figures, indent=1))


def bank(preset, file: Path, images: list[Path], recipe) -> LearnedDegradation:
    """The Omegas of new cameras."""
    cameras = (take_pictures(preset, images, i, recipe.scale, recipe.hidden.size, 1, BANK_SEED) for i in range(BANK))
    omegas = [fit_degradation([(camera.hq[0], camera.lq[0])], file).omegas[0] for camera in cameras]
    return LearnedDegradation(np.stack(omegas), recipe.name, recipe.scale)


def measure(recipe, file: Path, images: list[Path], arguments: argparse.Namespace) -> dict:
    """The figures of `benchmarks/transfer.py`, on cameras of the run's first preset."""
    preset = presets.load(next(iter(recipe.hidden.presets)))
    rows, _ = transfer.all_rows(preset, images, str(file), arguments.cameras, make_lpips(arguments.weights))
    names = list(dict.fromkeys(row["candidate"] for row in rows))
    means = {name: {key: round(transfer.mean(rows, name, key), 4) for key in transfer.FIGURES} for name in names}
    omega = transfer.omega_figures(preset, images, str(file))
    learned = means["learned"]
    return {
        "transfer to val/256": {"cameras": arguments.cameras, **means},
        "omega": {key: round(value, 4) for key, value in omega.items()},
        "headline": f"transfer: PSNR {learned['psnr']:.2f} dB, LPIPS {learned['lpips']:.4f}, AUC {omega['auc']:.3f}",
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a .keras file of the run (default: its best epoch)")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="folder of LPIPS' weights")
    parser.add_argument("--description", required=True)
    parser.add_argument("--hours", type=float, required=True, help="wall-clock hours of training")
    parser.add_argument("--command", action="append", default=[], help="a command that made the run; repeatable")
    parser.add_argument("--cameras", type=int, default=50, help="hidden degradations to measure (50)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
