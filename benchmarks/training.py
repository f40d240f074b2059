"""Training throughput of a recipe's network in bfloat16 and float32, in one run.

    python benchmarks/training.py [--recipe face_x4]

The two trainers take turns, so that a busy machine slows both alike; the medians are compared.
"""

import argparse
import statistics
import time

import numpy as np

from keras_fsr.machine import cpu_flags
from keras_fsr.training.building import build_trainer
from keras_fsr.training.recipes import load_recipe

FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="face_x4")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    trainers = {}
    for precision in ("float32", "bfloat16"):
        recipe = load_recipe(arguments.recipe, [*arguments.set, f"training.precision={precision}"])
        trainers[precision] = build_trainer(recipe)
    lr, hr = random_batch(recipe.data.batch_size, recipe.data.patch_size, recipe.scale)

    seconds = {precision: [] for precision in trainers}
    for turn in range(arguments.rounds + 2):
        for precision, trainer in trainers.items():
            started = time.perf_counter()
            trainer.train_on_batch(lr, hr)
            if turn >= 2:  # the first two trace and warm up
                seconds[precision].append(time.perf_counter() - started)

    medians = {precision: statistics.median(times) for precision, times in seconds.items()}
    flags = [flag for flag in FLAGS if flag in cpu_flags()]
    print(f"{arguments.recipe}, batch {lr.shape}, CPU with {', '.join(flags) or 'unknown flags'}")
    for precision, median in medians.items():
        print(f"{precision:9} {median * 1000:8.1f} ms/step {len(lr) / median:8.1f} patches/s")
    print(f"bfloat16 is {medians['float32'] / medians['bfloat16']:.2f} times as fast")


def random_batch(batch: int, patch: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    lr = draw.random((batch, patch, patch, 3), dtype=np.float32)
    hr = draw.random((batch, patch * scale, patch * scale, 3), dtype=np.float32)
    return lr, hr


if __name__ == "__main__":
    main()
