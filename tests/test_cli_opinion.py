"""`keras-fsr opinion` and `fit-niqe`: what they write, and how they refuse."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr import cli
from keras_fsr.metrics.niqe import NIQE


@pytest.fixture
def originals(tmp_path):
    folder = tmp_path / "hr"
    folder.mkdir()
    for index in range(3):
        small = np.random.default_rng(index).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(small).resize((64, 64)).save(folder / f"{index}.png")
    return folder


def refused(capsys, *arguments) -> str:
    assert cli.main([str(argument) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_a_study_is_made_of_models_interpolations_and_results(originals, tmp_path, capsys):
    arguments = ["--model", "face_x4,lanczos", "--results", f"them={originals}", "--images", "2"]
    out = tmp_path / "study"
    assert cli.main(["opinion", *arguments, "--data", str(originals), "-o", str(out)]) == 0
    assert "2 images x 3 models" in capsys.readouterr().out
    page = (out / "opinion.html").read_text(encoding="utf-8")
    study = json.loads(re.search(r'<script [^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    assert [image["name"] for image in study["images"]] == ["0.png", "1.png"]
    assert list(study["images"][0]["processed"]) == ["face_x4", "lanczos", "them"]


def test_ratings_are_read(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    assert "a.json: is no file of ratings" in refused(capsys, "opinion", tmp_path / "a.json")


def test_a_study_or_ratings_and_not_both(originals, tmp_path, capsys):
    assert "give one" in refused(capsys, "opinion", "--data", originals)
    assert "leave out one" in refused(capsys, "opinion", "a.json", "--model", "face_x4")


def test_fit_niqe_makes_a_prior_that_niqe_takes(tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder = tmp_path / "pristine"
    folder.mkdir()
    for index in range(4):  # 30 blocks each, all about as sharp
        noise = rng.normal(128, 20 + 10 * index, (480, 576, 3))
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    prior = tmp_path / "made" / "prior.npz"
    assert cli.main(["fit-niqe", str(folder), "-o", str(prior)]) == 0
    assert "prior of 4 images" in capsys.readouterr().out
    with Image.open(folder / "0.png") as image:
        assert 0 < NIQE(prior)(np.asarray(image)) < 100


def test_fit_niqe_of_too_little_is_one_line(originals, tmp_path, capsys):
    assert "a prior of NIQE needs 100" in refused(capsys, "fit-niqe", originals, "-o", tmp_path / "prior.npz")
    assert not Path(tmp_path / "prior.npz").exists()
