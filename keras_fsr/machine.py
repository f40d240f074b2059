"""What this machine can do, as far as the package asks. Standard library alone."""

import os
from pathlib import Path

BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}
"""CPUs that multiply bfloat16 natively: x86 with tiles, x86 without, ARM."""


def available_cores() -> int:
    """CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_flags() -> set[str]:
    """Feature flags of the CPU as Linux lists them; empty elsewhere."""
    return set(cpu_entry("flags", "features").split())


def cpu_name() -> str:
    """What the CPU calls itself, as Linux lists it; empty elsewhere."""
    return cpu_entry("model name")


def cpu_entry(*names: str) -> str:
    """The first entry of /proc/cpuinfo of one of these names; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    entries = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in entries if name.strip().lower() in names), "")
