"""What benchmarks share: medians of subjects that take turns, a Markdown table, and JSON that tells the machine."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from keras_fsr import machine

FLAGS = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx512f", "avx2", "bf16", "i8mm", "asimddp")
PACKAGES = ("ai-edge-litert", "keras", "numpy", "tensorflow", "torch")


def take_turns(calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Name -> seconds of each round; all are called in every round, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(rows: Sequence[Mapping], columns: Mapping[str, str]) -> str:
    """A Markdown table.

    Args:
        columns: key of a row -> the format of its values, e.g. ".2f"; "" for text.
    """
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join('---:' if form else '---' for form in columns.values())}|"]
    for row in rows:
        cells = [format(row[key], form) if row.get(key) is not None else "" for key, form in columns.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def facts() -> dict[str, object]:
    """The machine and the packages that figures are from."""
    known = machine.cpu_flags()
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": machine.cpu_name() or platform.machine(),
        "cores": machine.available_cores(),
        "flags": [flag for flag in FLAGS if flag in known],
        "versions": versions,
    }


def save(path: Path | None, rows: Sequence[Mapping], **more: object) -> None:
    """Writes the rows and what is to be known of them as JSON, where there is a path."""
    if path:
        text = json.dumps({**facts(), **more, "rows": rows}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")
