"""Peak memory of `keras-fsr upscale` against the sizes of image and tile: linear in the output, and by how much.

    python benchmarks/memory.py [--models face_x4 face_x4_int8] [--sides 256 1056 2080] [--threads 1] [--out FILE]

Each picture, square noise, is read, enlarged and written in a process of its own. Told are what the process holds
before (interpreter, imports, model) and by how much its peaks lie above that: one until the last tile is done, one
from there until the file is written. A line is fitted by least squares through the sizes of more than one tile.
Several tiles are enlarged at a time where there are cores for it: `--threads 1` tells what one takes. Linux alone
has a peak that can be reset (`VmHWM`, `clear_refs`); `ru_maxrss` starts with what the parent had.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from reporting import save, table
from upscale import save_noise

TILE, OVERLAP = 256, 32  # the command's own
SIDES = [TILE, *(n * TILE + OVERLAP for n in (2, 4, 6, 8))]  # so that all calls are of one size
LEAST = 3  # bytes of an output pixel: the uint8 result
LINEAR = 0.02  # residuals of the fit, as a share of the largest peak
FLAT = 0.1  # what the largest tile may take more than the smallest, as a share
STAGES = ("enlarging", "writing")
COLUMNS = {
    "model": "",
    "tile": "d",
    "LR side": "d",
    "output MP": ".1f",
    "before MB": ".0f",
    "enlarging +MB": ".1f",
    "writing +MB": ".1f",
    "peak +MB": ".1f",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["face_x4", "face_x4_int8"], help="shipped models or files")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="LR pixels")
    parser.add_argument("--tiles", type=int, nargs="+", default=[128, 256, 512], help="LR pixels")
    parser.add_argument(
        "--tiles-side", type=int, default=SIDES[2], help="side of the image that the tiles are tried on"
    )
    parser.add_argument("--format", default="png", choices=("png", "jpg", "webp", "tif", "bmp"), help="of the files")
    parser.add_argument("--threads", type=int, help="of the command (all cores)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--measure", nargs=4, metavar=("MODEL", "TILE", "IN", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        model, tile, image, out = arguments.measure
        print(json.dumps(measure(model, int(tile), arguments.threads, Path(image), Path(out))))
        return

    runs = [(model, TILE, side) for model in arguments.models for side in sorted(arguments.sides)]
    runs += [(model, tile, arguments.tiles_side) for model in arguments.models for tile in sorted(arguments.tiles)]
    runs = list(dict.fromkeys(runs))
    found: dict[tuple, list[dict]] = {run: [] for run in runs}
    with tempfile.TemporaryDirectory() as folder:
        images = {side: Path(folder) / f"{side}.{arguments.format}" for _, _, side in runs}
        for side, path in images.items():
            save_noise(path, side, side)
        for _ in range(arguments.rounds):
            for model, tile, side in runs:
                out = Path(folder) / f"out.{arguments.format}"
                measured = ["--measure", model, str(tile), str(images[side]), str(out)]
                command = [sys.executable, __file__, *sys.argv[1:], *measured]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                found[model, tile, side].append(json.loads(output))
    rows = [make_row(*run, found[run]) for run in runs]
    print(f"{arguments.format.upper()} files, medians of {arguments.rounds}; MB are 10^6 bytes\n")
    print(table(rows, COLUMNS), "\n")
    fits = {model: fit(of_sizes(rows, model)) for model in arguments.models}
    print(*(line for model in arguments.models for line in verdicts(rows, model, fits[model])), sep="\n")
    save(arguments.out, rows, format=arguments.format, threads=arguments.threads, rounds=arguments.rounds, fits=fits)


def measure(model: str, tile: int, threads: int | None, image: Path, out: Path) -> dict[str, int]:
    """Bytes that this process holds before the picture, and its peaks until the last tile and from there on."""
    from keras_fsr.inference.predictor import Predictor

    found = {}

    def watch(done: int, total: int) -> None:
        if done == total:
            found["enlarging"] = held("VmHWM")
            forget_peak()

    predictor = Predictor(model, tile=tile, threads=threads)
    forget_peak()  # of the imports
    found["before"] = held("VmRSS")
    predictor.predict(image, out, watch)
    return found | {"writing": held("VmHWM"), "scale": predictor.scale}


def held(name: str) -> int:
    """Bytes by an entry of /proc/self/status: VmRSS (now) or VmHWM (peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (size,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(size) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def make_row(model: str, tile: int, side: int, found: Sequence[Mapping[str, int]]) -> dict:
    row = {"model": model, "tile": tile, "LR side": side, "output MP": (found[0]["scale"] * side) ** 2 / 1e6}
    row["before MB"] = median(one["before"] for one in found) / 1e6
    for stage in STAGES:
        row[f"{stage} +MB"] = median(one[stage] - one["before"] for one in found) / 1e6
    return row | {"peak +MB": max(row[f"{stage} +MB"] for stage in STAGES)}


def of_sizes(rows: Sequence[Mapping], model: str) -> list[Mapping]:
    """The rows that a line is fitted through: images of several tiles, for a single one is enlarged otherwise."""
    return [row for row in rows if row["model"] == model and row["tile"] == TILE < row["LR side"]]


def fit(rows: Sequence[Mapping]) -> dict[str, dict[str, float]]:
    """Lines through the peaks of several sizes: bytes of an output pixel, MB at size 0, largest residual in MB."""
    if len(rows) < 3:
        return {}  # no line, or one without residuals
    pixels = [row["output MP"] for row in rows]
    lines = {}
    for stage in STAGES:
        peaks = [row[f"{stage} +MB"] for row in rows]
        slope, intercept = np.polyfit(pixels, peaks, 1)
        residual = np.abs(np.polyval((slope, intercept), pixels) - peaks).max()
        lines[stage] = {"bytes": float(slope), "intercept": float(intercept), "residual": float(residual)}
    return lines


def verdicts(rows: Sequence[Mapping], model: str, lines: Mapping[str, Mapping]) -> Iterator[str]:
    """What the figures say of a model, a line each."""
    for stage, line in lines.items():
        largest = max(row[f"{stage} +MB"] for row in of_sizes(rows, model))
        linear = "linear" if line["residual"] <= LINEAR * largest else "NOT linear"
        yield (
            f"{model}, {stage}: {linear} in the output, {line['bytes']:.2f} bytes a pixel (at least {LEAST}) and "
            f"{line['intercept']:.0f} MB; residuals up to {line['residual']:.1f} MB, {line['residual'] / largest:.1%}"
        )
    yield from tiles_verdict(rows, model)


def tiles_verdict(rows: Sequence[Mapping], model: str) -> Iterator[str]:
    """Whether the tile matters, and what a pixel of it costs."""
    side = next((row["LR side"] for row in rows if row["tile"] != TILE), None)
    tried = sorted(
        (row for row in rows if row["model"] == model and row["LR side"] == side), key=lambda row: row["tile"]
    )
    if len(tried) < 2:
        return
    first, last = tried[0], tried[-1]
    flat = "flat" if last["peak +MB"] <= (1 + FLAT) * first["peak +MB"] else "NOT flat"
    costs = ", ".join(f"{row['tile']} takes {row['peak +MB'] - first['peak +MB']:+.0f} MB" for row in tried[1:])
    each = (last["enlarging +MB"] - first["enlarging +MB"]) * 1e6 / (last["tile"] ** 2 - first["tile"] ** 2)
    yield (
        f"{model}, tile: {flat}; at a side of {side}, against tile {first['tile']} {costs}: "
        f"{each:.0f} bytes a pixel of the tile"
    )


if __name__ == "__main__":
    main()
