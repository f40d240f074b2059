"""Workers that break down, and a target with every fault: what the fuzzer must see."""

import os
import signal
import time
from pathlib import Path

from run import HARMLESS, LOG


def breaking(seed: int, tasks, folder: str, pipe) -> None:
    """A worker whose input 1 ends it, whose input 2 is never done, and which needs a second try for input 3."""
    Path(folder, LOG).touch()
    for target, number in tasks:
        if number == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == 2 or (number == 3 and not was_here(target)):
            time.sleep(60)
        pipe.send({"target": target, "number": number, "name": "", "what": "done", "told": "", **HARMLESS})


def was_here(file: str) -> bool:
    found = Path(file).exists()
    Path(file).touch()
    return found


def feed(path: Path, out: Path) -> None:
    """Half a result, a file elsewhere, a temporary file, a program, a changed input, and an error of no kind."""
    (out / f".{'0' * 32}.png").touch()
    (out / "cut.png").write_bytes(path.read_bytes()[:100])
    (path.parent / "elsewhere").touch()
    Path("/tmp/elsewhere-of-the-fuzzer").touch()
    Path("/tmp/elsewhere-of-the-fuzzer").unlink()
    Path(os.environ["TMPDIR"], "left").touch()
    os.system("true")
    path.write_bytes(b"changed")
    raise KeyError("no kind")
