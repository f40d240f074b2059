"""Files of ratings: what the page saves is read and makes the table, anything else is refused in one line."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest

from keras_fsr.errors import DataError, OutputError
from keras_fsr.evaluation.ratings import LARGEST, read_ratings, show


def trial(image: str, model: str | None, reference: float = 80, processed: float = 60) -> dict:
    return {
        "image": image,
        "model": model,
        "left": "reference",
        "reference": reference,
        "processed": processed,
        "milliseconds": 5200,
    }


def session(observer: str = "AB", seed: int = 1, trials: list[dict] | None = None) -> dict:
    """What the page saves, of a study of two images and two models if there are no trials."""
    if trials is None:
        trials = [trial(image, model) for image in ("a.png", "b.png") for model in ("mine", "bicubic")]
        trials.append(trial("a.png", None, 70, 73))
    return {
        "version": 1,
        "study": "0123456789abcdef",
        "observer": observer,
        "notes": "laptop,\nby a window",
        "seed": seed,
        "started": "2025-03-01T10:00:00.000Z",
        "finished": "2025-03-01T10:12:30.500Z",
        "window": {"width": 1280, "height": 900, "pixel_ratio": 1.5, "zoom": 2},
        "planned": len(trials),
        "trials": trials,
    }


@pytest.fixture
def write(tmp_path):
    def write(name: str, data: object) -> Path:
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
        return path

    return write


def refused(files: list[Path], *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        read_ratings(files)
    message = str(caught.value)
    assert "\n" not in message
    for part in (*(str(file) for file in files[-1:]), *parts):
        assert part in message


def test_the_pages_file_is_read(write):
    first, second = read_ratings([write("1.json", session()), write("2.json", session("Žofie 李", seed=2))])
    assert (first.observer, first.seed, first.study) == ("AB", 1, "0123456789abcdef")
    assert second.observer == "Žofie 李"
    assert first.file.name == "1.json"
    assert first.scores == {
        ("a.png", "mine"): (80, 60),
        ("a.png", "bicubic"): (80, 60),
        ("b.png", "mine"): (80, 60),
        ("b.png", "bicubic"): (80, 60),
        ("a.png", None): (70, 73),
    }


def test_the_order_of_trials_is_each_observers_own(write):
    other = session("CD", 2)
    other["trials"].reverse()
    first, second = read_ratings([write("1.json", session()), write("2.json", other)])
    assert first.scores == second.scores


@pytest.mark.parametrize("score", [0, 100, 49.5])
def test_scores_from_0_to_100_are_read(write, score):
    data = session()
    data["trials"][0]["processed"] = score
    assert read_ratings([write("1.json", data)])[0].scores["a.png", "mine"] == (80, score)


def test_no_files_are_no_ratings():
    with pytest.raises(DataError, match="no ratings"):
        read_ratings([])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "Expecting value"),
        (json.dumps(session())[:-20], "line 1 column"),  # cut short
        ("[" * 100_000, "is no file of ratings"),
        ("[]", "other fields"),
        ("null", "other fields"),
        ('{"version": 1}', "other fields than version, study"),
        ("1" * 5000, "is no file of ratings"),
    ],
)
def test_a_damaged_file_is_refused(write, text, part):
    refused([write("damaged.json", text)], part)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "opinion.json"
    path.write_bytes(b"\xff\xfe\x00")
    refused([path], "is no file of ratings")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused([tmp_path / "none.json"], "No such file")
    refused([tmp_path], "directory")
    os.mkfifo(tmp_path / "pipe.json")
    refused([tmp_path / "pipe.json"], "pipe")


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "huge.json"
    with open(path, "wb") as stream:
        stream.truncate(LARGEST + 1)
    refused([path], "over 10 MB")


NOT_LINES = [
    "",
    7,
    None,
    "two\nlines",
    "two\u2028lines",
    "\x1b[31mred",
    "\u202eright",
    "\ud800",
    "x" * 1001,
    ["list"],
]
NOT_NUMBERS = [-1, "1", None, True, float("nan"), float("inf"), []]
NOT_TIMES = ["yesterday", 0, None, ""]
WRONG = [
    *(("version", value) for value in (2, "1", None)),
    *((field, value) for field in ("study", "observer") for value in NOT_LINES),
    *(("notes", value) for value in (None, 3)),
    *((field, value) for field in ("seed", "planned") for value in NOT_NUMBERS),
    *((field, value) for field in ("started", "finished") for value in NOT_TIMES),
    *(("window", value) for value in (None, [], {}, {"width": 1})),
    *(("trials", value) for value in (None, {}, "a", [])),
    ("planned", 4),
    ("planned", 6),
]
WRONG_WINDOW = [(field, value) for field in ("width", "height", "pixel_ratio", "zoom") for value in NOT_NUMBERS]
WRONG_TRIAL = [
    *(("image", value) for value in NOT_LINES),
    *(("model", value) for value in NOT_LINES if value is not None),
    *(("left", value) for value in ("right", None, [])),
    *((field, value) for field in ("reference", "processed") for value in [*NOT_NUMBERS, 100.5, 101, 10**400]),
    *(("milliseconds", value) for value in NOT_NUMBERS),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: ascii(value)[:20])
def test_a_wrong_field_is_refused(write, field, value):
    refused([write("wrong.json", session() | {field: value})])


@pytest.mark.parametrize(("field", "value"), WRONG_WINDOW, ids=lambda value: ascii(value)[:20])
def test_a_wrong_field_of_the_window_is_refused(write, field, value):
    data = session()
    data["window"][field] = value
    refused([write("wrong.json", data)], field, "window")


@pytest.mark.parametrize(("field", "value"), WRONG_TRIAL, ids=lambda value: ascii(value)[:20])
def test_a_wrong_field_of_a_trial_is_refused(write, field, value):
    data = session()
    data["trials"][2][field] = value
    refused([write("wrong.json", data)], field, "trial 3")


@pytest.mark.parametrize("where", ["session", "window", "trial"])
def test_missing_and_unknown_fields_are_refused(write, where):
    for change in (lambda record: record.pop(next(iter(record))), lambda record: record.update(extra=1)):
        data = session()
        change({"session": data, "window": data["window"], "trial": data["trials"][0]}[where])
        refused([write("wrong.json", data)], "other fields")


def test_a_trial_that_is_no_object_is_refused(write):
    refused([write("wrong.json", session() | {"trials": [1], "planned": 1})], "trial 1")


def test_a_pair_rated_twice_is_refused(write):
    data = session()
    data["trials"][1] = copy.deepcopy(data["trials"][0])
    refused([write("wrong.json", data)], "trial 2 repeats another")


def test_a_file_of_controls_alone_is_refused(write):
    refused([write("wrong.json", session() | {"trials": [trial("a.png", None)], "planned": 1})], "rates no model")


def test_another_study_is_refused(write):
    other = session("CD", 2) | {"study": "fedcba9876543210"}
    first = write("1.json", session())
    refused([first, write("2.json", other)], "another study", str(first))


def test_one_observer_given_twice_is_refused(write):
    first = write("1.json", session())
    refused([first, write("2.json", session("CD", 2)), write("3.json", session(seed=3))], "AB", str(first))
    refused([first, write("again.json", session("renamed"))], "renamed", str(first))  # one seed is one session


@pytest.mark.parametrize("index", range(5))
def test_missing_trials_are_refused(write, index):
    short = session("CD", 2)
    gone = short["trials"].pop(index)
    short["planned"] = 4
    named = f"{gone['image']} by {gone['model'] or 'the original'}"
    files = [write("1.json", session()), write("short.json", short)]
    refused(files, "lacks 1 of 5 pairs", named)
    with pytest.raises(DataError, match="short"):
        read_ratings(files[::-1])


def test_a_single_file_lacks_what_its_other_images_have(write):
    short = session()
    short["trials"].pop(3)
    short["planned"] = 4
    refused([write("short.json", short)], "b.png by bicubic")


def two_observers(write) -> list[Path]:
    first = [
        trial("x", "worse", 90, 30),
        trial("x", "mine", 80, 70),
        trial("x", None, 80, 75),
        trial("y", None, 60, 60),
    ]
    second = [
        trial("y", None, 50, 51),
        trial("x", "mine", 70, 50),
        trial("x", "worse", 100, 20),
        trial("x", None, 85, 90),
    ]
    first += [trial("y", "mine", 80, 70), trial("y", "worse", 90, 30)]
    second += [trial("y", "worse", 100, 20), trial("y", "mine", 70, 50)]
    return [write("1.json", session("AB", 1, first)), write("2.json", session("CD", 2, second))]


def test_the_table_is_that_of_the_ratings(write, capsys):
    # Differences of mine are 10 and 20: DMOS 15, S = 7.0711, t of 1 degree 12.706: 12.706 * 7.0711 / sqrt(2) = 63.53.
    # Of worse 60 and 80: 70, S = 14.1421, twice the interval. Controls: |5|, |0| and |-1|, |-5|.
    show(two_observers(write))
    assert capsys.readouterr().out.splitlines() == [
        "study 0123456789abcdef, 2 observers",
        "model    MOS   DMOS  +-95 %  observers  ratings",
        "mine   60.00  15.00   63.53          2        4",
        "worse  25.00  70.00  127.06          2        4",
        "screening: none; with fewer than 6 observers nobody can be far from the others",
        "observers: 2, where BT.500 wants 15",
        "controls, the original beside itself: rated 2.8 apart on average; AB 2.5, CD 3.0",
    ]


def test_the_csv_has_the_same_figures(write, tmp_path, capsys):
    show(two_observers(write), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == (
        "model,mos,dmos,interval95,observers,ratings\nmine,60.0,15.0,63.53,2,4\nworse,25.0,70.0,127.06,2,4\n"
    )
    assert capsys.readouterr().out.endswith(f"written: {tmp_path / 'table.csv'}\n")
    with pytest.raises(OutputError, match=r"table\.csv"):
        show(two_observers(write), tmp_path / "none" / "table.csv")


def test_a_single_observer_has_no_interval(write, tmp_path, capsys):
    trials = [trial("x", "mine", 80, 70), trial("y", "mine", 60, 70)]
    show([write("1.json", session(trials=trials))], tmp_path / "table.csv")
    out = capsys.readouterr().out
    assert "mine   70.00  0.00       -          1        2" in out
    assert "controls" not in out
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[1] == "mine,70.0,0.0,,1,2"


# As in tests/metrics/test_opinion.py: the first of ten is far in the first two of 20 images, above and below.
FAR = [8, 3, 3, -3, -3, 2, -2, -2, -3, -3]
DIFFERENCES = np.array([FAR, np.negative(FAR), *[[1, -1] * 5] * 18]).T.tolist()


def test_who_answers_at_random_is_left_out_of_the_table(write, capsys):
    files = []
    for row, differences in enumerate(DIFFERENCES):
        trials = [trial(f"{i:02}", "mine", 60 + difference, 50) for i, difference in enumerate(differences)]
        trials.append(trial("00", None, 50, 52 if row else 10))
        files.append(write(f"{row}.json", session(f"O{row}", row, trials)))
    show(files)
    out = capsys.readouterr().out.splitlines()
    # Of the nine that stay the two images of FAR cancel out, and in the other 18 five are at 9 and four at 11:
    # DMOS = 10 - 18 / 180.
    assert out[0] == "study 0123456789abcdef, 10 observers"
    assert out[2].split()[:3] == ["mine", "50.00", "9.90"]
    assert out[2].split()[4:] == ["9", "180"]
    assert out[3:5] == [
        "observer O0 left out: 2 of 20 difference scores are far from the others', 1 above and 1 below",
        "observers: 9, where BT.500 wants 15",
    ]
    assert out[5].startswith("controls, the original beside itself: rated 2.0 apart on average; O1 2.0, O2 2.0")


@pytest.mark.parametrize(
    ("observers", "notes"),
    [
        (
            5,
            ["screening: none; with fewer than 6 observers nobody can be far from the others", "observers: 5, where"],
        ),
        (6, ["screening: nobody left out", "observers: 6, where BT.500 wants 15"]),
        (15, ["screening: nobody left out"]),
    ],
)
def test_few_observers_are_told(write, capsys, observers, notes):
    show([write(f"{i}.json", session(f"O{i}", i, [trial("x", "mine", 60 + i % 3, 50)])) for i in range(observers)])
    out = capsys.readouterr().out.splitlines()[3:]
    assert len(out) == len(notes)
    for line, start in zip(out, notes, strict=True):
        assert line.startswith(start)
