"""Commands that are killed at random moments and started again, and what must be true afterwards.

    python tests/crash/kills.py --kills 100 --seed 0 [--only train folder bulk export evaluate] [--out FILE]

is the long run: that many kills of each command, and the figures as JSON. The tests beside it do a few.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HANG = 300  # seconds after which a command that was not killed counts as hung
RECIPE = """
name: tiny
scale: 2
generator:
  name: rrdb
  options: {num_features: 8, growth_channels: 4, num_blocks: 1, hardware: true, anchor: true}
data: {batch_size: 2, patch_size: 8}
training: {steps: 24, steps_per_epoch: 2, warmup_steps: 2, decay_share: 0.5, keep_best: 2, precision: float32}
"""


class Killed:
    """A command line of keras_fsr that is killed at random moments.

    Args:
        arguments: of `keras-fsr`.
        resume: the file whose existence adds `--resume`.
        least, most: seconds between which it is killed.
        check: is called after every kill.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        resume: Path | None = None,
        least: float = 0,
        most: float = 0,
        check: Callable[[], None] = lambda: None,
    ):
        self.arguments, self.resume = list(map(str, arguments)), resume
        self.least, self.most, self.check = least, most, check
        self.kills = 0

    def run(self, kills: int, draw: np.random.Generator) -> None:
        """Kills the command so many times, unless it has ended before, and lets it end."""
        for _ in range(kills):
            if self._start(draw.uniform(self.least, self.most)):
                return
        assert self._start(HANG), "it hangs"

    def _start(self, seconds: float) -> bool:
        """Starts the command; whether it has ended within so many seconds, with success."""
        more = ["--resume"] if self.resume and self.resume.exists() else []
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "keras_fsr.cli", *self.arguments, *more],
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.kills += 1
                self.check()
                return False
            said.seek(0)
            text = said.read().decode(errors="replace")
        assert code == 0, text
        assert "Traceback" not in text
        return True


def draw_faces(folder: Path, count: int, side: int) -> None:
    """Smooth noise of one size, PNG."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.png")


def contents(folder: Path) -> dict[str, bytes]:
    """Files below a folder by name; without the unfinished ones, which are hidden."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def is_part(folder: Path, whole: dict[str, bytes], ignore: str = "/") -> None:
    """Whatever is in a folder is as in the undisturbed one: nothing half, nothing else.

    Args:
        ignore: ending of the names of files that may differ.
    """
    if folder.is_dir():
        assert {name: data for name, data in contents(folder).items() if not name.endswith(ignore)}.items() <= (
            whole.items()
        )


def upscale_folder(place: Path, kills: int, draw: np.random.Generator, images: int = 60) -> int:
    """Kills `upscale FOLDER --resume`; the number of kills."""
    if not (place / "in").exists():
        draw_faces(place / "in", images, 96)
        Killed(["upscale", place / "in", "-o", place / "whole"]).run(0, draw)
    whole, out = contents(place / "whole"), place / "out"
    assert len(whole) == images
    command = ["upscale", place / "in", "-o", out, "--resume"]
    killed = Killed(command, None, 0.1, 1.5, lambda: is_part(out, whole))
    killed.run(kills, draw)
    assert contents(out) == whole
    assert not list(out.rglob(".*")), "unfinished files are left"
    empty(out)
    return killed.kills


def bulk(place: Path, kills: int, draw: np.random.Generator, images: int = 60) -> int:
    """Kills `bulk` and its workers; the number of kills."""
    if not (place / "in").exists():
        draw_faces(place / "in", images, 96)
        Killed(["upscale", place / "in", "-o", place / "whole"]).run(0, draw)
    whole, out = contents(place / "whole"), place / "out"

    def check() -> None:
        is_part(out, whole, ignore="manifest.csv")

    killed = Killed(["bulk", place / "in", out, "--chunk", 4, "--workers", 2], None, 1.0, 5.0, check)
    killed.run(kills, draw)
    found = contents(out)
    rows = list(csv.DictReader(found.pop("manifest.csv").decode().splitlines()))
    assert found == whole
    assert sorted(Path(row["input"]).name for row in rows) == sorted(whole)
    assert not any(row["error"] for row in rows)
    assert not list(out.rglob(".*")), "unfinished files are left"
    empty(out)
    return killed.kills


def train(place: Path, kills: int, draw: np.random.Generator) -> int:
    """Kills a training of twelve epochs; the number of kills."""
    arguments = ["train", place / "tiny.yaml", "--data", place / "faces", "--out"]
    if not (place / "faces").exists():
        draw_faces(place / "faces", 6, 40)
        (place / "tiny.yaml").write_text(RECIPE)
        Killed([*arguments, place / "whole"]).run(0, draw)
    out = place / "run"

    def check() -> None:
        for path in (*out.glob("best/*.keras"), *out.glob("*.keras")):
            if path.name[0] != ".":
                weights(path)  # each one whole
        if (out / "state" / "checkpoint").exists():
            assert list((out / "state").glob("ckpt-*.index"))

    killed = Killed([*arguments, out], out / "recipe.yaml", 3.0, 12.0, check)
    killed.run(kills, draw)
    ended, whole = (weights(folder / "tiny.keras") for folder in (out, place / "whole"))
    assert all(np.array_equal(a, b) for a, b in zip(ended, whole, strict=True))
    ours, theirs = (log(folder / "log.csv") for folder in (out, place / "whole"))
    assert ours == theirs
    assert not [path for path in out.rglob(".*") if path.is_file()], "unfinished files are left"
    empty(out)
    return killed.kills


def export(place: Path, kills: int, draw: np.random.Generator) -> int:
    """Kills an export to TFLite; the number of kills."""
    command = ["export", "tflite", "--model", "face_x4_edge", "--quantize", "dynamic", "-o"]
    whole, out = place / "whole", place / "out"
    if not whole.exists():
        whole.mkdir(parents=True)
        Killed([*command, whole / "m.tflite"]).run(0, draw)
    out.mkdir()

    def check() -> None:
        for path in out.glob("[!.]*.json"):
            json.loads(path.read_text())  # it tells times, which differ
        is_part(out, contents(whole), ignore=".json")

    killed = Killed([*command, out / "m.tflite"], None, 0.5, 7.0, check)
    killed.run(kills, draw)
    check()
    # A hidden unfinished file may be left: the folder is not the export's own, so it clears nothing away there.
    assert contents(out).keys() == contents(whole).keys()
    empty(out)
    return killed.kills


def evaluate(place: Path, kills: int, draw: np.random.Generator) -> int:
    """Kills an evaluation with its report; the number of kills."""
    if not (place / "in").exists():
        draw_faces(place / "in", 6, 96)
    command = ["evaluate", "--model", "face_x4_edge", "--data", place / "in", "--report"]
    whole, out = place / "whole", place / "out"
    if not whole.exists():
        Killed([*command, whole]).run(0, draw)
    killed = Killed([*command, out], None, 0.5, 2.5, lambda: is_part(out, contents(whole)))
    killed.run(kills, draw)
    assert contents(out) == contents(whole)
    empty(out)
    return killed.kills


def weights(path: Path) -> list[np.ndarray]:
    from keras_fsr import generators

    return generators.load(path).get_weights()


def log(path: Path) -> list[dict[str, str]]:
    """The rows without the time that they took."""
    with open(path, newline="") as file:
        return [{key: row[key] for key in row if key != "seconds"} for row in csv.DictReader(file)]


def empty(folder: Path) -> None:
    """Moves a folder out of the way: the next round starts anew."""
    folder.rename(folder.with_name(f"done_{time.monotonic_ns()}"))


ROUNDS = {"train": train, "folder": upscale_folder, "bulk": bulk, "export": export, "evaluate": evaluate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=ROUNDS, default=list(ROUNDS))
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    figures = {}
    for name in arguments.only:
        draw, began = np.random.default_rng(arguments.seed), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            kills = rounds = 0
            while kills < arguments.kills:  # what is not as undisturbed ends it
                kills += ROUNDS[name](Path(folder), arguments.kills - kills, draw)
                rounds += 1
        minutes = round((time.monotonic() - began) / 60, 1)
        figures[name] = {"kills": kills, "runs": rounds, "minutes": minutes}
        print(f"{name}: {kills} kills, {rounds} runs, all as undisturbed; {minutes} minutes", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
