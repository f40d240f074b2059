"""The fixed 2,000 damaged files of CI, by the machinery of the long run; and that this machinery sees every fault."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import run
from faulty import breaking
from targets import TARGETS

COUNT = 2000


@pytest.fixture(scope="module")
def outcomes():
    return run.fuzz(COUNT)


def test_damaged_files_are_done_or_refused_in_one_line(outcomes):
    found = run.summary(outcomes)
    assert found["faults"] == []
    assert found["all"]["tried"] == COUNT
    assert found["all"]["files left open"] < 5


def test_each_kind_of_input_is_done_and_refused(outcomes):
    # Damage that nothing survives, or that nobody sees, would show nothing.
    figures = run.summary(outcomes)["targets"]
    assert figures.keys() == TARGETS.keys()
    for name, counts in figures.items():
        assert counts["done"] or counts["tried"] < 50, name
        assert counts["refused"] or name in ("folder", ".tar") or counts["tried"] < 20, name


def test_an_input_is_made_again_from_its_numbers():
    from box import make

    assert make("recipe", 0, 5) == make("recipe", 0, 5) != make("recipe", 1, 5)
    assert make("recipe", 0, 5) != make("recipe", 0, 6)


def test_crashes_and_hangs_cost_an_input_each(tmp_path):
    tasks = [(str(tmp_path / "seen"), number) for number in range(5)]
    found = {outcome["number"]: outcome["what"] for outcome in run.watched(0, tasks, 3, breaking)}
    assert found == {0: "done", 1: "crash", 2: "hang", 3: "done", 4: "done"}


def test_every_fault_is_seen(tmp_path):
    code = (
        "import sys, json; sys.path[:0] = sys.argv[2:]\n"
        "import box, corpus, faulty, run, targets; from pathlib import Path\n"
        "target = targets.Target(1, corpus.images, None, faulty.feed)\n"
        "targets.TARGETS['bad'] = target\n"
        "outcome = box.Box(Path(sys.argv[1])).try_one('bad', 'a.png', corpus.images()['rgb.png'])\n"
        "print(json.dumps(run.summary([{'target': 'bad', 'number': 0, **outcome}])))\n"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(tmp_path), str(here), str(here.parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    (fault,) = found["faults"]
    assert (fault["what"], "KeyError" in fault["told"]) == ("traceback", True)
    assert {name: found["all"][name] for name in ("files outside", "half-written", "temporary files left")} == {
        "files outside": 1, "half-written": 1, "temporary files left": 1
    }  # fmt: skip
    assert len(fault["half"]) == 2
    outside = " ".join(fault["outside"])
    for harm in ("writes /tmp/elsewhere-of-the-fuzzer", "os.system", "/work/elsewhere", "changes "):
        assert harm in outside
