"""Recipes and presets of strangers: nothing in them runs, and no name leads out of a run."""

import json
import os
from pathlib import Path

import corpus
import pytest

from keras_fsr.degradations import presets
from keras_fsr.errors import RecipeError
from keras_fsr.training.recipes import load_recipe

IMAGE = corpus.images()["gray.png"]


def refused(path: Path, read=load_recipe) -> str:
    with pytest.raises(RecipeError) as caught:
        read(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert told.isprintable()
    assert len(told) < 1100
    return told


@pytest.mark.parametrize(
    "value",
    [
        '!!python/object/apply:os.system ["touch harm"]',
        "!!python/object/apply:subprocess.Popen [[touch, harm]]",
        "!!python/object/new:os.system [touch harm]",
        "!!python/name:os.system",
        "!!python/module:harm",
        "!!bool maybe",
        "!!int ''",
        "!!timestamp never",
        "2001-99-99",
        "!!float x",
        "!!binary ö",
        "!local x",
        f"{'1' * 5000}",
        "\0",
    ],
)
@pytest.mark.parametrize("read", [load_recipe, presets.load])
def test_tags_of_yaml_run_nothing(write, tmp_path, monkeypatch, value, read):
    monkeypatch.chdir(tmp_path)
    path = write("a.yaml", f"name: {value}\norder: staged\n")
    refused(path, read)
    assert os.listdir(tmp_path) == ["a.yaml"]


def test_aliases_are_refused_before_they_are_multiplied(write):
    bomb = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    assert "an alias" in refused(write("a.yaml", f"a0: &a0 [x]\n{bomb}name: x\n"))


@pytest.mark.parametrize("text", ["[" * 50_000, "{a: " * 20_000, "- " * 20_000, "name: x\n" + "#" * 200_000])
def test_deep_and_huge_files_are_refused_at_once(write, text):
    assert "is not plain YAML (" in refused(write("a.yaml", text))


@pytest.mark.parametrize(
    "name", ["../harm", "/tmp/harm", "..", ".", "", ".hidden", "a/b", "a\\b", "a\0b", "a\nb", "x" * 61, "\u202eexe"]
)
def test_a_name_that_leads_out_of_the_run_is_refused(write, name):
    # RUN/NAME.keras is what a training writes at its end.
    assert "cannot be a file's" in refused(write("a.yaml", f"name: {json.dumps(name)}\n"))


@pytest.mark.parametrize("name", ["face_x4", "my faces, 2nd try", "größer", "x" * 60, "a.b-c+d"])
def test_names_that_are_files_are_taken(write, name):
    assert load_recipe(write("a.yaml", f"name: {json.dumps(name)}\n")).name == name


@pytest.mark.parametrize(
    "section", ["generator: {options: {1: 2}}", "perceptual: {taps: {1: 2.0}}", "budget: {1: 2}"]
)
def test_keys_that_are_no_text_are_refused(write, section):
    assert "keys are text" in refused(write("a.yaml", f"name: x\n{section}\n"))


@pytest.mark.parametrize("value", ["{learning_rate: NUMBER}", "{? NUMBER : 1}", "NUMBER", "[1, [NUMBER]]"])
@pytest.mark.parametrize("number", ["1" * 400, f"0x{'f' * 5000}"])
def test_huge_numbers_are_refused_in_files_and_overrides(write, value, number):
    value = value.replace("NUMBER", number)
    assert "a whole number of more than 64 bits" in refused(write("a.yaml", f"name: x\ntraining: {value}\n"))
    with pytest.raises(RecipeError, match=r"--set training=.*: the value is not plain YAML"):
        load_recipe(write("a.yaml", "name: x\n"), [f"training={value}"])


def test_long_values_are_told_in_short(write):
    told = refused(write("a.yaml", f"name: x\nscale: {'a' * 50_000}\n"))
    assert told.endswith("but must be of type int")


@pytest.mark.parametrize("text", ["!!timestamp x", "[" * 3000, "!!int ''"])
def test_overrides_that_yaml_breaks_on_are_refused(write, text):
    with pytest.raises(RecipeError, match=r"--set scale=.*: the value is not plain YAML"):
        load_recipe(write("a.yaml", "name: x\n"), [f"scale={text}"])
