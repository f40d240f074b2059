"""The page of the long runs says what their figures say."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("reliability", ROOT / "tests" / "reliability.py")
reliability = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reliability)


def test_the_page_is_made_of_the_figures_beside_it():
    folder = ROOT / "docs" / "results"
    found = json.loads((folder / "reliability.json").read_text(encoding="utf-8"))
    assert reliability.page(found) == (folder / "reliability.md").read_text(encoding="utf-8")


def test_a_fault_is_told():
    found = json.loads((ROOT / "docs" / "results" / "reliability.json").read_text(encoding="utf-8"))
    found["fuzz"]["targets"]["folder"]["crashes"] = 7
    (line,) = [line for line in reliability.page(found).splitlines() if line.startswith("| folder | 1,500")]
    assert " | 7 | " in line
