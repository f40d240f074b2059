"""What more cores bring: images a second of `upscale` and `bulk`, patches a second of training.

    python benchmarks/scaling.py [--parts upscale bulk step workers] [--out FILE]

Each number of cores has processes of its own, which may run on those cores and no others (Linux), and all numbers
take turns. `upscale` has a thread a core, `bulk` a worker process a core (they and the driver share the cores),
`step` is a training step with TensorFlow's threads on them. `workers` is `keras-fsr train --strategy multiworker` on
loopback with a process a core, beside one process on as many; rates are of whole epochs, the first left out.
Efficiency is the speed-up over one core, divided by the cores.
"""

import argparse
import csv
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from reporting import save, table, take_turns
from upscale import save_noise

SIDES = {64: 20, 256: 3}  # pixels of the LR -> runs a round
CORES = sorted(os.sched_getaffinity(0))
COUNTS = range(1, len(CORES) + 1)
COLUMNS = {"what": "", "cores": "d", "rate": ".1f", "unit": "", "speed-up": ".2f", "efficiency": ".0%"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--model", default="face_x4", help="that upscales")
    parser.add_argument("--recipe", default="face_x4", help="that trains")
    parser.add_argument("--images", type=int, default=96, help="of 64x64 in a bulk run")
    parser.add_argument("--steps", type=int, default=20, help="training steps a round or epoch")
    parser.add_argument("--rounds", type=int, default=3, help="and epochs")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "CORES", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, cores, folder = arguments.measure
        print(json.dumps(MEASURES[what](arguments, int(cores), Path(folder))))
        return

    rows = []
    for part in arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            rows += PARTS[part](arguments, Path(folder))
    print(table(rows, COLUMNS))
    save(arguments.out, rows, model=arguments.model, recipe=arguments.recipe, rounds=arguments.rounds)


def scaled(what: str, unit: str, rates: Mapping[int, float], alone: float | None = None) -> list[dict]:
    """Rows of a table, of rates by number of cores; `alone` is that of one core, where it is not among them."""
    alone = alone or rates[1]
    rows = [
        {"what": what, "cores": n, "rate": rate, "unit": unit, "speed-up": rate / alone} for n, rate in rates.items()
    ]
    return [row | {"efficiency": row["speed-up"] / row["cores"]} for row in rows]


def rates_of(what: str, arguments: argparse.Namespace, folder: Path) -> dict[int, float]:
    """Number of cores -> median rate of all rounds, in which the numbers take turns."""
    found: dict[int, list[float]] = {cores: [] for cores in COUNTS}
    for _ in range(arguments.rounds):
        for cores in COUNTS:
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", what, str(cores), str(folder)]
            with start(command, CORES[:cores], stdout=subprocess.PIPE, text=True) as process:
                output = process.communicate()[0]
            if process.returncode:
                raise SystemExit(f"{what} on {cores} cores failed")
            found[cores] += json.loads(output.splitlines()[-1])
    return {cores: median(rates) for cores, rates in found.items()}


def start(command: Sequence, cores: Sequence[int], **options) -> subprocess.Popen:
    """A process on some cores; libraries then have as many threads."""
    environment = (
        os.environ
        | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_CONFIG": ""}
        | options.pop("env", {})
    )
    return subprocess.Popen(command, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, cores), **options)


def upscale(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    rows = []
    for side in SIDES:
        rows += scaled(f"upscale, {side} to {4 * side}", "images/s", rates_of(f"upscale {side}", arguments, folder))
    return rows


def measure_upscale(side: int) -> Callable:
    def measure(arguments: argparse.Namespace, cores: int, folder: Path) -> list[float]:
        from keras_fsr.inference.predictor import Predictor

        predictor = Predictor(arguments.model, threads=cores)
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        seconds = take_turns({"": lambda: predictor.predict(image)}, SIDES[side])
        return [1 / one for one in seconds[""]]

    return measure


def bulk(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    (folder / "in").mkdir()
    for number in range(arguments.images):
        save_noise(folder / f"in/{number}.png", 64, 64)
    return scaled("bulk, a process a core, 64 to 256", "images/s", rates_of("bulk", arguments, folder))


def measure_bulk(arguments: argparse.Namespace, cores: int, folder: Path) -> list[float]:
    from keras_fsr.inference.bulk import connected, upscale_bulk
    from keras_fsr.inference.bulk_sources import find_source
    from keras_fsr.inference.bulk_worker import Settings

    with tempfile.TemporaryDirectory() as out, connected(workers=cores) as client:
        client.wait_for_workers(cores)
        source = find_source(folder / "in", out, size=max(arguments.images // (8 * len(CORES)), 1))
        run = {"": lambda: upscale_bulk(client, source, out, Settings(arguments.model), again=True)}
        return [arguments.images / one for one in take_turns(run, 1, warm_up=1)[""]]


def step(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    return scaled(f"training step, {arguments.recipe}", "patches/s", rates_of("step", arguments, folder))


def measure_step(arguments: argparse.Namespace, cores: int, folder: Path) -> list[float]:
    from training import random_batch

    from keras_fsr.training.building import build_trainer
    from keras_fsr.training.recipes import load_recipe

    recipe = load_recipe(arguments.recipe)
    trainer = build_trainer(recipe)
    lr, hr = random_batch(recipe.data.batch_size, recipe.data.patch_size, recipe.scale)
    seconds = take_turns({"": lambda: trainer.train_on_batch(lr, hr)}, arguments.steps)
    return [len(lr) / one for one in seconds[""]]


def workers(arguments: argparse.Namespace, folder: Path) -> list[dict]:
    (folder / "in").mkdir()
    for number in range(6):
        save_noise(folder / f"in/{number}.png", 192, 192)
    one = {cores: train(arguments, folder, f"one{cores}", [CORES[:cores]]) for cores in COUNTS}
    shares = [cores for cores in COUNTS[1:] if batch_size(arguments) % cores == 0]
    places = {cores: [[core] for core in CORES[:cores]] for cores in shares}
    several = {cores: train(arguments, folder, f"several{cores}", places[cores]) for cores in shares}
    name = f"train {arguments.recipe}"
    rows = scaled(f"{name}, one process", "patches/s", one)
    rows += scaled(f"{name}, a process a core", "patches/s", several, alone=one[1])
    for cores, rate in several.items():
        print(
            f"{name} by {cores} processes on {cores} cores: {rate / one[cores]:.2f} times as fast as by one process"
        )
    return rows


def train(arguments: argparse.Namespace, folder: Path, name: str, places: Sequence[Sequence[int]]) -> float:
    """Median patches a second of `keras-fsr train` over its epochs, with a worker on each of some cores."""
    epochs = {"training.steps": (arguments.rounds + 1) * arguments.steps, "training.steps_per_epoch": arguments.steps}
    epochs |= {"training.warmup_steps": 1, "data.validation_limit": 1}
    command = [sys.executable, "-m", "keras_fsr.cli", "train", arguments.recipe, "--data", folder / "in"]
    command += ["--out", folder / name, *(f"--set={key}={value}" for key, value in epochs.items())]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in places]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for index, cores in enumerate(places):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        several = {"TF_CONFIG": json.dumps(task)} if len(places) > 1 else {}
        strategy = ["--strategy", "multiworker"] if several else []
        processes.append(start([*command, *strategy], cores, env=several, stdout=subprocess.DEVNULL))
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"{name}: keras-fsr train failed, as said above")
    with open(folder / name / "log.csv", newline="", encoding="utf-8") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return batch_size(arguments) * arguments.steps / median(seconds[1:])


def batch_size(arguments: argparse.Namespace) -> int:
    from keras_fsr.training.recipes import load_recipe

    return load_recipe(arguments.recipe).data.batch_size


PARTS = {"upscale": upscale, "bulk": bulk, "step": step, "workers": workers}
MEASURES = {f"upscale {side}": measure_upscale(side) for side in SIDES} | {"bulk": measure_bulk, "step": measure_step}

if __name__ == "__main__":
    main()
