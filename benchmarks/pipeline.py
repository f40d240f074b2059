"""Patches a second from the input pipeline beside what the training step eats, in one run.

    python benchmarks/pipeline.py --data DIR [--recipe face_x4] [--out FILE]

The pipeline is timed alone, and the step on one batch that is held in memory, so that neither waits for the other;
they take turns, so many batches at a time that the few prefetched ones hardly count. The aim is a pipeline at least
ten times as fast as the step.
"""

import argparse
from pathlib import Path

from reporting import medians, save, table, take_turns

from keras_fsr.data.folders import training_and_validation
from keras_fsr.training.building import build_trainer
from keras_fsr.training.recipes import load_recipe
from keras_fsr.training.run import make_patches

AIM = 10  # patches made for each that is eaten


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="face_x4")
    parser.add_argument("--batches", type=int, default=400, help="of the pipeline, a round")
    parser.add_argument("--steps", type=int, default=5, help="of the trainer, a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()

    recipe = load_recipe(arguments.recipe, arguments.set)
    batches = iter(make_patches(recipe, training_and_validation(arguments.data)[0]).dataset())
    batch = next(batches)
    trainer = build_trainer(recipe)
    counts = {"pipeline": arguments.batches, "trainer": arguments.steps}
    calls = {
        "pipeline": lambda: [next(batches) for _ in range(counts["pipeline"])],
        "trainer": lambda: [trainer.train_on_batch(*batch) for _ in range(counts["trainer"])],
    }
    seconds = medians(take_turns(calls, arguments.rounds))
    rates = {name: recipe.data.batch_size * counts[name] / seconds[name] for name in counts}
    rows = [{"what": name, "patches/s": rate} for name, rate in rates.items()]
    ratio = rates["pipeline"] / rates["trainer"]
    print(table(rows, {"what": "", "patches/s": ",.0f"}))
    met = "met" if ratio >= AIM else "NOT met"
    print(f"\n{ratio:.0f} times as many as are eaten in {trainer.precision} (aim {AIM}: {met})")
    facts = {"recipe": arguments.recipe, "precision": trainer.precision, "rounds": arguments.rounds, "ratio": ratio}
    save(arguments.out, rows, **facts)


if __name__ == "__main__":
    main()
