"""`keras-fsr upscale FOLDER` against its engine alone: images a second, and how busy it keeps the cores.

    python benchmarks/folder.py [--count 200] [--side 128] [--model face_x4] [--data FACES] [--out FILE]

Both take turns. The engine alone enlarges the same pixels, read before, with as many copies as the command uses, and
writes nothing; loading the network is in neither time. How busy the cores are is CPU time over wall time and cores,
between the first image and the last. Images are those of FACES, reduced, or smooth noise.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from reporting import medians, save, table

from keras_fsr import machine
from keras_fsr.data.folders import list_images
from keras_fsr.inference.parallel import ahead
from keras_fsr.inference.predictor import Predictor
from keras_fsr.quiet import quiet

COLUMNS = {"": "", "images/s": ".1f", "of the engine": ".0%", "cores busy": ".0%"}
ENGINE, FOLDER = "engine alone", "folder to folder"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--model", default="face_x4")
    parser.add_argument("--data", type=Path, help="folder of faces (smooth noise)")
    parser.add_argument("--suffix", default=".png", help="format of the files (.png)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    images = list(make_images(arguments.count, arguments.side, arguments.data))
    predictor = Predictor(arguments.model)
    shared = predictor.shared()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        for number, image in enumerate(images):
            image.save(source / f"{number:04d}{arguments.suffix}")
        pixels = [np.asarray(image) for image in images]
        runs = {
            ENGINE: lambda: list(ahead(lambda image: shared.predict(image).shape, pixels, predictor.workers)),
            FOLDER: lambda: predictor.predict(source, Path(folder, "out")),
        }
        seconds = {name: [] for name in runs}
        busy = {name: [] for name in runs}
        with quiet():
            for turn in range(arguments.rounds + 1):
                for name, run in runs.items():
                    wall, share = measure(run)
                    if turn:  # the first warms up
                        seconds[name].append(wall)
                        busy[name].append(share)
    rates = {name: arguments.count / median for name, median in medians(seconds).items()}
    shares = medians(busy)
    rows = [
        {"": name, "images/s": rate, "of the engine": rate / rates[ENGINE], "cores busy": shares[name]}
        for name, rate in rates.items()
    ]
    print(f"{arguments.model}, {arguments.count} images of {arguments.side} pixels a side, {arguments.suffix}\n")
    print(table(rows, COLUMNS))
    save(arguments.out, rows, model=arguments.model, side=arguments.side, count=arguments.count)


def measure(run) -> tuple[float, float]:
    """Seconds, and the share of the cores' time that this process used in them."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used / wall / machine.available_cores()


def make_images(count: int, side: int, data: Path | None):
    if data:
        paths = list_images(data)
        for number in range(count):
            with Image.open(paths[number % len(paths)]) as image:
                yield image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        return
    draw = np.random.default_rng(0)
    for _ in range(count):
        small = draw.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        yield Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
