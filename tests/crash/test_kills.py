"""Kills at random moments, a few of each; `python tests/crash/kills.py` does a hundred."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SPEC = importlib.util.spec_from_file_location("kills", Path(__file__).with_name("kills.py"))
kills = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(kills)


@pytest.mark.parametrize("name", kills.ROUNDS)
def test_a_command_that_is_killed_and_started_again_ends_as_if_nothing_had_been(name, tmp_path):
    if name == "bulk":
        pytest.importorskip("distributed")
    assert kills.ROUNDS[name](tmp_path, 3, np.random.default_rng(1)) >= 1
