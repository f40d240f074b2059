"""The long runs of the fuzzer, the kills and the soak, and the page that tells what came of them.

    python tests/reliability.py [FOLDER]

takes about two hours on two cores and writes FOLDER/reliability.md and .json (docs/results by default). What each run
found lies beside in FOLDER/.reliability until all are done: a second start does what is missing.
"""

import json
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNS = {
    "fuzz": ["fuzz/run.py", "--count", "50000"],
    "kills": ["crash/kills.py", "--kills", "100"],
    "soak": ["soak/soak.py", "--faces", "20000", "--requests", "8000"],
}
LIBRARIES = ("ai-edge-litert", "gradio", "h5py", "keras", "numpy", "opencv-python-headless", "pillow", "pyarrow")
LIBRARIES += ("tensorflow",)
FAULTS = (
    "unclear refusals",
    "tracebacks",
    "crashes",
    "hangs",
    "files outside",
    "half-written",
    "temporary files left",
)

PAGE = """# Reliability

Made by `python tests/reliability.py`, {date}, two cores: {versions}. A short form of all of it runs with the other
tests (`tests/fuzz`, `tests/crash`).

## Damaged and hostile input

Input number n of a kind is a small sound file, wounded by a generator seeded with n: bytes, numbers and lengths
changed, parts cut, repeated or taken from other files, chunks and headers with right checksums, values and keys of
JSON and YAML. Each is given to what reads its kind, in a process that is watched: it must be done or refused in one
line that names the file, and nothing may be written but the result. "Hangs" say nothing for 60 s; "files outside"
counts whatever is written, started or connected to elsewhere. `python tests/fuzz/run.py --only KIND NUMBER` does
one again.

{fuzz}

In all {tried:,} inputs in {minutes} minutes: {done:,} done, {refused:,} refused, {faults}. At the end {open} files
more were open in {processes} processes together than at their beginnings.

## Kills

Commands are killed (SIGKILL, all their processes) at random moments and started again until they end. Whatever lies
in their output after each kill must be whole, and what they end with must equal the undisturbed run to the byte
(trainings: to the bit in every weight and every figure of the log; of an export's report, which tells times, only
that it is whole). What a killed command was writing is hidden (`.` and 32 digits); runs that have a folder of their
own clear it away when they are started again, an export or an evaluation leaves it.

{kills}

## Long runs

Growth is that of resident memory between a tenth of the run and its end; the slope is that of a line through the
samples.

{soak}

Faces: one process, file to file, three sizes and formats, every hundredth file damaged. Web: eight users at once,
each request a new visit with an upload and its enlargement, every twentieth user leaves before the answer; what it
keeps an hour (photos, results, their names) is not deleted within the run.
"""


def main() -> None:
    folder = Path(sys.argv[1] if sys.argv[1:] else HERE.parent / "docs" / "results")
    parts = folder / ".reliability"
    parts.mkdir(parents=True, exist_ok=True)
    for name, (script, *options) in RUNS.items():
        part = parts / f"{name}.json"
        if not part.exists():
            subprocess.run([sys.executable, HERE / script, *options, "--out", part], check=False)
    found = {name: json.loads((parts / f"{name}.json").read_text()) for name in RUNS}
    found = {"date": time.strftime("%Y-%m-%d"), "versions": versions(), **found}
    (folder / "reliability.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "reliability.md").write_text(page(found), encoding="utf-8")
    shutil.rmtree(parts)


def versions() -> dict[str, str]:
    import keras_fsr

    python = {"keras_fsr": keras_fsr.__version__, "Python": platform.python_version()}
    return python | {name: version(name) for name in LIBRARIES}


def page(found: dict) -> str:
    fuzz = found["fuzz"]
    rows = {
        name: [
            f"{counts['tried']:,}",
            f"{counts['done']:,}",
            f"{counts['refused']:,}",
            sum(counts[fault] for fault in FAULTS),
            counts["slowest CPU s"],
            counts["peak MB"],
        ]
        for name, counts in fuzz["targets"].items()
    }
    total = fuzz["all"]
    return PAGE.format(
        date=found["date"],
        versions=", ".join(f"{name} {number}" for name, number in found["versions"].items()),
        fuzz=table(["kind", "tried", "done", "refused", "faults", "longest, CPU s", "most memory, MB"], rows),
        tried=total["tried"],
        minutes=fuzz["minutes"],
        done=total["done"],
        refused=total["refused"],
        faults=", ".join(f"{total[fault]} {fault}" for fault in FAULTS),
        open=total["files left open"],
        processes=total["processes"],
        kills=table(
            ["command", "kills", "runs until the end, each as undisturbed", "minutes"],
            {name: list(it.values()) for name, it in found["kills"].items()},
        ),
        soak=table(
            ["", *next(iter(found["soak"].values()))], {k: list(v.values()) for k, v in found["soak"].items()}
        ),
    )


def table(head: list[str], rows: dict[str, list]) -> str:
    lines = [head, ["---"] * len(head), *([name, *map(str, cells)] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
