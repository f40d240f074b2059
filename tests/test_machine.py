"""What the machine is asked: read from what Linux says, and harmless elsewhere."""

import os
from pathlib import Path

import pytest

from keras_fsr import machine

X86 = (
    "processor\t: 0\nmodel name\t: A CPU: 3 GHz\nflags\t\t: fpu avx512_bf16 sse\n\nprocessor\t: 1\nflags\t\t: other\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("text", "flags", "name"),
    [(X86, {"fpu", "avx512_bf16", "sse"}, "A CPU: 3 GHz"), (ARM, {"fp", "asimd", "bf16"}, ""), ("", set(), "")],
)
def test_flags_and_name_are_those_of_the_first_core(monkeypatch, text, flags, name):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert machine.cpu_flags() == flags
    assert machine.cpu_name() == name


def test_without_the_file_nothing_is_known(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert machine.cpu_flags() == set()
    assert machine.cpu_name() == ""


def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert machine.available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.available_cores() == 1
