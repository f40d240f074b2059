"""Patches a second from the input pipeline beside what the training step eats, in one run.

    python benchmarks/pipeline.py --data DIR [--recipe face_x4]

The pipeline is timed alone and the step is timed on one batch held in memory, so that neither waits for the
other. The aim is a pipeline at least ten times as fast as the step.
"""

import argparse
import time
from pathlib import Path

from keras_fsr.data.folders import training_and_validation
from keras_fsr.training.recipes import load_recipe
from keras_fsr.training.run import make_patches, make_trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="face_x4")
    parser.add_argument("--batches", type=int, default=400, help="batches timed in the pipeline")
    parser.add_argument("--steps", type=int, default=20, help="training steps timed")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    recipe = load_recipe(arguments.recipe, arguments.set)
    patches = make_patches(recipe, training_and_validation(arguments.data)[0])
    batch_size = recipe.data.batch_size

    fed = batch_size / seconds_each(iter(patches.dataset()).__next__, arguments.batches)
    batch = next(iter(patches.dataset()))
    trainer = make_trainer(recipe)
    eaten = batch_size / seconds_each(lambda: trainer.train_on_batch(*batch), arguments.steps)
    print(f"pipeline {fed:9.1f} patches/s")
    print(f"trainer  {eaten:9.1f} patches/s   ({trainer.learner.layers[1].compute_dtype})")
    print(f"ratio    {fed / eaten:9.1f}")


def seconds_each(call, count: int) -> float:
    """Mean seconds of a call after three warm-up calls."""
    for _ in range(3):
        call()
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count


if __name__ == "__main__":
    main()
