"""Shipped models: their cards, and the refusal of files that are missing or changed."""

import dataclasses
import json

import pytest

from keras_fsr import pretrained
from keras_fsr.errors import ModelError

# SHA-256 of b"weights", by coreutils' sha256sum.
DIGEST = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
CARD = {
    "name": "tiny_x2",
    "description": "a test",
    "scale": 2,
    "parameters": 7,
    "licence": "Apache-2.0",
    "sha256": {"tiny_x2.tflite": DIGEST},
    "architecture": {"num_blocks": 1},
    "training": {"hours": 0.5},
    "figures": {"psnr_y": 30.0},
    "limits": ["for tests only"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of shipped models with one of them."""
    (tmp_path / "tiny_x2.json").write_text(json.dumps(CARD), encoding="utf-8")
    (tmp_path / "tiny_x2.tflite").write_bytes(b"weights")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    return tmp_path


def test_a_name_leads_to_no_other_folder(folder):
    (folder.parent / "X.json").write_text("[1]", encoding="utf-8")
    for name in (str(folder.parent / "X"), "../X", "sub/../tiny_x2", str(folder / "tiny_x2")):
        with pytest.raises(ModelError, match=f"{name}: no such model; shipped are tiny_x2, or give a file"):
            pretrained.find(name)


def test_names_are_those_of_the_cards(folder):
    (folder / "another_x4.json").write_text(json.dumps({**CARD, "name": "another_x4"}))
    (folder / "camera_x4.json").write_text(json.dumps({**CARD, "name": "camera_x4", "kind": "degradation"}))
    (folder / "no_card.tflite").write_bytes(b"")
    assert pretrained.names() == ["another_x4", "tiny_x2"]
    assert pretrained.names(pretrained.DEGRADATION) == ["camera_x4"]


def test_card_holds_what_its_file_says(folder):
    assert dataclasses.asdict(pretrained.card("tiny_x2")) == {
        **CARD,
        "subgroups": {},
        "fidelity": "",
        "kind": "upscaler",
        "purpose": "",
        "float_model": "",
    }


def test_card_may_hold_subgroups(folder):
    (folder / "tiny_x2.json").write_text(json.dumps({**CARD, "subgroups": {"small": 1}}))
    assert pretrained.card("tiny_x2").subgroups == {"small": 1}


@pytest.mark.parametrize("read", [pretrained.card, pretrained.weights])
def test_unknown_name_lists_the_shipped_ones(read, folder):
    with pytest.raises(ModelError, match="tiny_x3: no such model; shipped are tiny_x2, or give a file"):
        read("tiny_x3")


def test_unchanged_weights_are_handed_out(folder):
    assert pretrained.weights("tiny_x2") == folder / "tiny_x2.tflite"


def test_missing_weights_are_refused(folder):
    (folder / "tiny_x2.tflite").unlink()
    with pytest.raises(ModelError, match="tiny_x2.tflite: is missing; install the package again"):
        pretrained.weights("tiny_x2")


def test_weights_that_the_card_does_not_list_are_refused(folder):
    (folder / "tiny_x2.keras").write_bytes(b"weights")
    with pytest.raises(ModelError, match="tiny_x2.keras: is missing"):
        pretrained.weights("tiny_x2", ".keras")


@pytest.mark.parametrize("changed", [b"weightz", b"", b"weights\n"])
def test_changed_weights_are_refused(changed, folder):
    (folder / "tiny_x2.tflite").write_bytes(changed)
    with pytest.raises(ModelError, match="tiny_x2.tflite: differs from the file that was shipped"):
        pretrained.weights("tiny_x2")


def test_an_int8_form_has_the_keras_file_of_its_float_model(folder):
    card = {**CARD, "sha256": {**CARD["sha256"], "tiny_x2.keras": DIGEST}}
    (folder / "tiny_x2.json").write_text(json.dumps(card), encoding="utf-8")
    (folder / "tiny_x2.keras").write_bytes(b"weights")
    small = {**CARD, "name": "small_x2", "float_model": "tiny_x2", "sha256": {"small_x2.tflite": DIGEST}}
    (folder / "small_x2.json").write_text(json.dumps(small), encoding="utf-8")
    (folder / "small_x2.tflite").write_bytes(b"weights")
    assert pretrained.weights("small_x2") == folder / "small_x2.tflite"
    assert pretrained.weights("small_x2", ".keras") == folder / "tiny_x2.keras"


def test_digest_is_sha256(folder):
    assert pretrained.digest(folder / "tiny_x2.tflite") == DIGEST


@pytest.mark.parametrize("name", pretrained.names())
def test_shipped_model_is_complete_and_unchanged(name):
    card = pretrained.card(name)
    assert card.name == name
    assert f"{name}.tflite" in card.sha256
    for file in card.sha256:
        pretrained.weights(name, file.removeprefix(name))
    if card.fidelity:
        start = pretrained.card(card.fidelity)
        assert (card.scale, card.parameters) == (start.scale, start.parameters)
        assert {**card.architecture, "name": ""} == {**start.architecture, "name": ""}
        assert not start.fidelity


def test_a_perceptual_model_knows_its_fidelity_model(folder):
    (folder / "tuned_x2.json").write_text(json.dumps({**CARD, "name": "tuned_x2", "fidelity": "tiny_x2"}))
    assert pretrained.fidelity_of("tuned_x2") == folder / "tiny_x2.tflite"
    with pytest.raises(ModelError, match=r"tiny_x2: takes no strength.*use a perceptual model \(tuned_x2\)"):
        pretrained.fidelity_of("tiny_x2")
    with pytest.raises(ModelError, match="mine.tflite: a strength needs the fidelity model too"):
        pretrained.fidelity_of(folder / "mine.tflite")
    with pytest.raises(ModelError, match="tiny_x3: no such model"):
        pretrained.fidelity_of("tiny_x3")
    (folder / "tiny_x2.tflite").write_bytes(b"changed")
    with pytest.raises(ModelError, match="tiny_x2.tflite: differs"):
        pretrained.fidelity_of("tuned_x2")
