"""Whole-process cost of `keras-fsr upscale`: a small face against importing TensorFlow, and a large photo.

    python benchmarks/upscale.py [--photo]

Prints seconds (median of the runs, both commands taking turns) and, with --photo, the peak memory of a
3000x2000 picture at x4, which takes a minute or two.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

UPSCALE = [sys.executable, "-m", "keras_fsr.cli", "upscale"]
TENSORFLOW = [sys.executable, "-c", "import tensorflow"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", action="store_true", help="measure the 3000x2000 picture too")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        face, photo = Path(folder) / "face.png", Path(folder) / "photo.png"
        save_noise(face, 64, 64)
        upscale = [*UPSCALE, str(face), "-o", str(face.with_name("out.png"))]
        times = {"keras-fsr upscale, one 64x64 face": [], "import tensorflow": []}
        for _ in range(arguments.runs):
            for label, command in zip(times, (upscale, TENSORFLOW), strict=True):
                times[label].append(seconds(command))
        medians = {label: statistics.median(values) for label, values in times.items()}
        for label, median in medians.items():
            print(f"{label:36} {median:6.2f} s")
        print(f"{'ratio':36} {medians['import tensorflow'] / medians['keras-fsr upscale, one 64x64 face']:6.2f}")
        if arguments.photo:
            save_noise(photo, 3000, 2000)
            spent = seconds([*UPSCALE, str(photo), "-o", str(photo.with_name("big.png"))])
            # Of the largest child so far, in KiB on Linux; the commands above need far less.
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            print(f"{'3000x2000 -> 12000x8000':36} {spent:6.1f} s, peak memory {peak:.2f} GiB")


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def save_noise(path: Path, width: int, height: int) -> None:
    """Smooth noise: it has edges at all scales, as photos do."""
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)


if __name__ == "__main__":
    main()
