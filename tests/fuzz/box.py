"""One input, tried in a folder of its own, and what it did besides what it should."""

import contextlib
import gc
import io
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
from targets import REFUSALS, TARGETS, whole_image

from keras_fsr.data.folders import FORMATS
from keras_fsr.inference.folder_runs import describe

TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\..*)?")  # what `files.whole_file` writes to
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
TWO = {"os.rename", "os.link", "os.symlink"}  # changes that have two paths
FOREIGN = {"os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen"}
FOREIGN |= {"pickle.find_class", "socket.connect"}
PROGRAMS = {"video"}  # targets that start ffmpeg


def make(target: str, seed: int, number: int) -> tuple[str, bytes]:
    """Name and content of an input."""
    rng = np.random.default_rng([seed, number, sorted(TARGETS).index(target)])
    seeds = TARGETS[target].seeds()
    name = list(seeds)[rng.integers(len(seeds))]
    return name, TARGETS[target].mutate(rng, seeds[name], list(seeds.values()))


class Box:
    """A folder in which inputs are tried: work/ has the input, out/ the results, and nothing else may change.

    Watches this process: files written elsewhere, code loaded, programs started, connections made.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.strange: list[str] = []
        for name in ("work", "out", "tmp", "home"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        os.environ |= {"TMPDIR": str(self.folder / "tmp"), "HOME": str(self.folder / "home")}
        tempfile.tempdir = None  # asks the environment again
        os.chdir(self.folder / "home")
        sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes) and (arguments[2] or 0) & WRITING:
            self._check_place(arguments[0])
        elif event in CHANGES:
            for path in arguments[event == "os.symlink" : 2 if event in TWO else 1]:
                self._check_place(path)
        elif event in FOREIGN:
            self.strange.append(f"{event} {str(arguments)[:200]}")

    def _check_place(self, path) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            place = os.path.abspath(os.fsdecode(path))
            if not place.startswith(f"{self.folder}{os.sep}") and place != os.devnull:
                self.strange.append(f"writes {place}")

    def try_one(self, target: str, name: str, content: bytes) -> dict:
        """What became of an input: done, refused, out of memory, unclear (a refusal) or a traceback, and its harm."""
        path, out = self.folder / "work" / name, self.folder / "out"
        path.write_bytes(content)
        reset_peak()
        self.strange, start = [], time.process_time()
        what, told = self._feed(target, path, out)
        seconds, strange = time.process_time() - start, self.strange
        outcome = {"what": what, "told": told, "seconds": round(seconds, 3), "peak": peak()}
        outcome["outside"] = [one for one in strange if target not in PROGRAMS or not one.startswith("sub")]
        outcome["outside"] += self._changed(path, content)
        outcome["half"] = [problem for file in files_in(out) if (problem := half_written(file))]
        outcome["left"] = [file.name for file in (self.folder / "tmp").iterdir()]
        self._clear()
        return outcome

    def warm_up(self, target: str) -> None:
        """Imports and makes what a target needs, by its first seed as it is."""
        name, content = next(iter(TARGETS[target].seeds().items()))
        outcome = self.try_one(target, name, content)
        assert outcome["what"] == "done", outcome

    def _feed(self, target: str, path: Path, out: Path) -> tuple[str, str]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                TARGETS[target].feed(path, out)
            return "done", ""
        except REFUSALS as error:
            line = describe(path, error)
            clear = line.isprintable() and str(self.folder) in line and len(line) <= 1000
            kind = "memory" if isinstance(error, MemoryError) else "refused"
            return (kind if clear else "unclear"), line
        except BaseException:
            return "traceback", traceback.format_exc()

    def _changed(self, path: Path, content: bytes) -> list[str]:
        found = [*(self.folder / "work").iterdir(), *(self.folder / "home").iterdir()]
        changed = [f"leaves {file}" for file in found if file != path]
        return changed if path.is_file() and path.read_bytes() == content else [*changed, f"changes {path}"]

    def _clear(self) -> None:
        for folder in ("work", "out", "tmp", "home"):
            for entry in (self.folder / folder).iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def half_written(file: Path) -> str:
    """What is wrong with a result, "" for nothing."""
    if TEMPORARY.fullmatch(file.name):
        return f"{file.name} is left"
    try:
        if file.suffix.lower() in FORMATS:
            whole_image(file)
        elif file.suffix == ".tar":
            with tarfile.open(file, "r:") as shard:
                for member in shard:
                    assert not member.name.startswith("/"), member.name
                    assert ".." not in member.name.split("/"), member.name
    except Exception as error:  # of whatever reads it
        return f"{file.name}: {error}"
    return ""


def open_files() -> int:
    """Files that this process holds open, after what nobody needs any more is gone."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def reset_peak() -> None:
    with contextlib.suppress(OSError):  # Linux alone
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The most memory in MB since `reset_peak`."""
    with contextlib.suppress(OSError):
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    return 0
