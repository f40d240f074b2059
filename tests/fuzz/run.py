"""The long run: `python tests/fuzz/run.py --count 50000 --seed 0 --out FILE.json`.

Input number i of a target is damaged by a generator of (seed, i), so that each can be made again:
`python tests/fuzz/run.py --only "image to image" 17` tries that one and shows what happens.
Workers are processes of their own: one that dies of a signal, or says nothing for a minute, costs its input alone.
"""

import argparse
import faulthandler
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "1"}  # of workers
PATIENCE = 60  # seconds an input may take
PART = 500  # inputs a process
MEMORY = 6 * 2**30  # bytes a process may have
LOG, LONGEST_LOG = "log", 4000  # file of a worker, and its last letters
WARM = 20  # inputs after which a process holds open what it holds
HARMLESS = {"seconds": 0, "peak": 0, "outside": [], "half": [], "left": []}
FAULTS = ("unclear", "traceback", "crash", "hang")
LIBRARIES = ("ai-edge-litert", "h5py", "keras", "numpy", "opencv-python-headless", "pillow", "pyarrow", "tensorflow")

Task = tuple[str, int]
"""A target and the number of an input."""


def plan(count: int) -> list[Task]:
    """The inputs of a run, by the targets' shares; those of a target together."""
    from targets import TARGETS

    counts = {name: count * target.share // 1000 for name, target in TARGETS.items()}
    counts[next(iter(TARGETS))] += count - sum(counts.values())
    return [(name, number) for name, inputs in counts.items() for number in range(inputs)]


def work(seed: int, tasks: Sequence[Task], folder: str, pipe) -> None:
    """A worker: tries each input and tells what became of it; of a fault of its own, a text."""
    os.environ |= ENVIRONMENT
    limit_memory()
    # Where libraries in C complain, and where Python says at what place it crashed or hung.
    os.dup2(os.open(Path(folder, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    faulthandler.enable(2)
    try:
        for outcome in outcomes_of(seed, tasks, Path(folder)):
            pipe.send(outcome)
    except Exception:
        pipe.send(traceback.format_exc())


def limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    except ImportError:  # no Unix
        pass


def outcomes_of(seed: int, tasks: Sequence[Task], folder: Path) -> Iterator[dict]:
    """What became of each task, at the end {"open": how many more files are open than at the beginning}."""
    from box import Box, make, open_files

    box, held, warm = Box(folder), 0, set()
    for done, (target, number) in enumerate(tasks):
        os.truncate(folder / LOG, 0)
        faulthandler.dump_traceback_later(0.9 * PATIENCE, file=2)
        if target not in warm:  # what libraries do when they are imported is not the input's doing
            box.warm_up(target)
            warm.add(target)
        name, content = make(target, seed, number)
        yield {"target": target, "number": number, "name": name, **box.try_one(target, name, content)}
        if done == WARM:
            held = open_files()
    if held:
        yield {"open": open_files() - held}


def watched(seed: int, tasks: Sequence[Task], patience: float = PATIENCE, worker: Callable = work) -> Iterator[dict]:
    """What becomes of the tasks of a part, whatever becomes of the workers."""
    left, again = list(tasks), set()
    while left:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = get_context("spawn").Pipe()
            process = get_context("spawn").Process(target=worker, args=(seed, left, folder, theirs), daemon=True)
            process.start()
            theirs.close()
            for message in messages(ours, patience):
                if isinstance(message, str):
                    raise RuntimeError(f"a fault of the fuzzer at {left[0]}: {message}")
                left = left[1:] if "target" in message else left
                yield message
            process.join(1)
            what, told = ("hang", "nothing was heard") if process.is_alive() else ("crash", f"{process.exitcode}")
            process.kill()
            process.join()
            told += f"\n{Path(folder, LOG).read_text(errors='replace')[-LONGEST_LOG:]}"
        if left and what == "hang" and left[0] not in again:
            again.add(left[0])  # once it may be the machine that stood still
        elif left:
            target, number = left.pop(0)
            yield {"target": target, "number": number, "name": "", "what": what, "told": told} | HARMLESS


def messages(pipe, patience: float) -> Iterator[dict | str]:
    """What comes until the other end is closed, or silent for so many seconds."""
    try:
        while pipe.poll(patience):
            yield pipe.recv()
    except EOFError:
        pass


def fuzz(count: int, seed: int = 0, processes: int = 2, only: Sequence[str] = ()) -> list[dict]:
    """What became of all inputs of a run."""
    tasks = [task for task in plan(count) if not only or task[0] in only]
    size = min(PART, -(-len(tasks) // processes))
    parts = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    with ThreadPoolExecutor(processes) as pool:
        return [outcome for part in pool.map(lambda part: list(watched(seed, part)), parts) for outcome in part]


def summary(outcomes: Sequence[dict]) -> dict:
    """Counts by target and in all, and every fault with the number of its input."""
    tried = [outcome for outcome in outcomes if "target" in outcome]
    figures = {name: counts([o for o in tried if o["target"] == name]) for name in {o["target"]: 0 for o in tried}}
    faults = [o for o in tried if o["what"] in FAULTS or o["outside"] or o["half"] or o["left"]]
    left_open = sum(max(outcome.get("open", 0), 0) for outcome in outcomes)
    processes = sum("open" in outcome for outcome in outcomes)
    return {
        "all": {**counts(tried), "files left open": left_open, "processes": processes},
        "targets": figures,
        "faults": faults,
    }


def counts(outcomes: Sequence[dict]) -> dict:
    by = Counter(outcome["what"] for outcome in outcomes)
    return {
        "tried": len(outcomes),
        "done": by["done"],
        "refused": by["refused"],
        "out of memory": by["memory"],
        "unclear refusals": by["unclear"],
        "tracebacks": by["traceback"],
        "crashes": by["crash"],
        "hangs": by["hang"],
        "files outside": sum(bool(outcome["outside"]) for outcome in outcomes),
        "half-written": sum(bool(outcome["half"]) for outcome in outcomes),
        "temporary files left": sum(bool(outcome["left"]) for outcome in outcomes),
        "slowest CPU s": max(outcome["seconds"] for outcome in outcomes),
        "peak MB": max(outcome["peak"] for outcome in outcomes),
    }


def versions() -> dict[str, str]:
    import keras_fsr

    return {"keras_fsr": keras_fsr.__version__, "python": platform.python_version()} | {
        name: version(name) for name in LIBRARIES
    }


def show_one(target: str, number: int, seed: int) -> None:
    os.environ |= ENVIRONMENT
    from box import Box, make

    name, content = make(target, seed, number)
    with tempfile.TemporaryDirectory() as folder:
        outcome = Box(Path(folder)).try_one(target, name, content)
        os.chdir("/")
    print(name, len(content), "bytes;", outcome.pop("told") or "no complaint")
    print(outcome)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--targets", nargs="+", default=(), metavar="NAME", help="of targets.py, all by default")
    parser.add_argument("--only", nargs=2, metavar=("TARGET", "NUMBER"), help="try a single input and show it")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    if arguments.only:
        show_one(arguments.only[0], int(arguments.only[1]), arguments.seed)
        return 0
    start = time.time()
    found = summary(fuzz(arguments.count, arguments.seed, arguments.processes, arguments.targets))
    found = {"date": time.strftime("%Y-%m-%d"), "seed": arguments.seed, "versions": versions()} | found
    found["minutes"] = round((time.time() - start) / 60, 1)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    for name, figures in {**found["targets"], "all": found["all"]}.items():
        print(f"{name}: " + ", ".join(f"{value} {key}" for key, value in figures.items() if value))
    for fault in found["faults"][:50]:
        print(f"{fault['target']!r} {fault['number']}: {fault['what']}: {fault['told'].strip().splitlines()[-1:]}")
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
