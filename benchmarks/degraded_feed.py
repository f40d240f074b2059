"""What degrading patches costs a training: time a step when fed by each kind of LR, in one run.

    python benchmarks/degraded_feed.py --data FACES [--recipe face_x4] [--rounds 8] [--set KEY=VALUE]

The same trainer takes stretches of steps from each feed in turn; medians of the stretches are compared. Feeds:
Pillow's bicubic, second-order chains on every patch (`copies: 0`), second-order copies of whole images.
"""

import argparse
import statistics
import time
from pathlib import Path

from keras_fsr.data.folders import find_split, pair_images
from keras_fsr.data.patches import Patches
from keras_fsr.degradations import presets
from keras_fsr.degradations.second_order import Degrader
from keras_fsr.training.building import build_trainer
from keras_fsr.training.recipes import load_recipe

STEPS = 20  # of a stretch
AHEAD = 8  # batches dropped before it: they were made while the others ran
COPIES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with `train`")
    parser.add_argument("--recipe", default="face_x4")
    parser.add_argument("--preset", default="real-esrgan")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    recipe = load_recipe(arguments.recipe, arguments.set)
    trainer = build_trainer(recipe)
    pairs = pair_images((find_split(arguments.data, "train") or arguments.data) / "256")
    degrade = Degrader(presets.load(arguments.preset), recipe.scale)
    feeds = {}
    for name, options in {
        "bicubic": {},
        f"{arguments.preset}, each patch": {"degrade": degrade, "copies": 0},
        f"{arguments.preset}, {COPIES} copies": {"degrade": degrade, "copies": COPIES},
    }.items():
        patches = Patches(pairs, recipe.scale, recipe.data.batch_size, recipe.data.patch_size, **options)
        feeds[name] = iter(patches.dataset())

    seconds = {name: [] for name in feeds}
    for turn in range(arguments.rounds + 1):
        for name, feed in feeds.items():
            for _ in range(AHEAD):
                next(feed)
            started = time.perf_counter()
            for _ in range(STEPS):
                trainer.train_on_batch(*next(feed))
            if turn:  # the first traces and warms up
                seconds[name].append((time.perf_counter() - started) / STEPS)

    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{arguments.recipe}, batch {recipe.data.batch_size}, LR patches of {recipe.data.patch_size}")
    for name, median in medians.items():
        print(f"{name:26} {median * 1000:8.1f} ms/step  {median / medians['bicubic'] - 1:+.1%}")


if __name__ == "__main__":
    main()
