"""Records of degradations and ratings of strangers."""

import json
import os

import corpus
import pytest

from keras_fsr.data.degraded_folder import replay_folder
from keras_fsr.errors import DataError
from keras_fsr.evaluation.ratings import show

IMAGE = corpus.images()["gray.png"]


@pytest.mark.parametrize(
    "change",
    [
        {"lr": "../harm.png"},
        {"lr": "/tmp/harm.png"},
        {"file": "../../etc/passwd"},
        {"lr": "a.sh"},
        {"scale": 0},
        {"scale": True},
        {"steps": [{"step": "system"}]},
        {"steps": [{"step": "__class__"}]},
        {"steps": [{"step": "Resize", "share": 1e9, "mode": "area"}]},
        {"steps": [{"step": "Blur", "kind": "iso", "size": 10**9 + 1, "sigma_x": 1, "sigma_y": 1}]},
        {"steps": [{"step": "Learned", "network": "../x.keras", "scale": 2, "omega": [], "seed": 0}]},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_records_that_lead_out_or_ask_for_too_much_are_refused(write, tmp_path, change):
    (tmp_path / "in").mkdir()
    write("in/a.png", corpus.images()["rgb.png"])
    record = {"file": "a.png", "lr": "a.png", "scale": 2, "steps": []}
    path = write("records.jsonl", json.dumps(record | change) + "\n")
    with pytest.raises(DataError, match=r"records\.jsonl, line 1: is no record of a degradation") as caught:
        replay_folder(tmp_path / "in", tmp_path / "out", path)
    assert str(caught.value).isprintable()
    assert sorted(os.listdir(tmp_path)) == ["in", "records.jsonl"]


@pytest.mark.parametrize("line", ["[" * 100_000, "5", "null", '{"file": 5}', "{}", "\\", '{"file": "\\u0000"}'])
def test_lines_that_are_no_records_are_refused(write, tmp_path, line):
    with pytest.raises(DataError, match=r"records\.jsonl, line 1: is no record"):
        replay_folder(tmp_path, tmp_path / "out", write("records.jsonl", line))


@pytest.mark.parametrize(
    "change",
    [
        {"observer": "\x1b[2J"},
        {"observer": "a\nb"},
        {"study": "=cmd|' /C calc'!A0\0"},
        {"seed": 10**400},
        {"planned": float("nan")},
        {"trials": {}},
        {"version": [1]},
        {"__class__": "x"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_ratings_that_the_page_would_not_save_are_refused(write, change):
    session = json.loads(corpus.ratings()["one.json"])
    path = write("one.json", json.dumps(session | change))
    with pytest.raises(DataError, match=r"one\.json: is no file of ratings") as caught:
        show([path])
    assert str(caught.value).isprintable()


def test_ratings_nested_without_end_are_refused(write):
    with pytest.raises(DataError, match=r"one\.json: is no file of ratings"):
        show([write("one.json", "[" * 100_000)])
