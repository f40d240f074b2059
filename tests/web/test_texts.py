"""What the page says of a model is what its card says."""

import dataclasses

import pytest

from keras_fsr import pretrained
from keras_fsr.web import texts


@pytest.mark.parametrize("name", pretrained.names())
def test_every_card_is_told_with_figures_limits_licence_and_data(name):
    card = pretrained.card(name)
    text = texts.about(card)
    assert text.startswith(f"## {name}\n")
    assert f"**{texts.GUESS}**" in text
    assert all(f"- {limit}" in text for limit in card.limits)
    assert f"- Licence: {card.licence}" in text
    assert f"- Training data: {card.training['data']['training_images']} images (" in text
    sets = [title for title, rows in card.figures.items() if "bicubic" in rows]
    assert sets or card.figures["headline"] in text
    for title in sets:
        rows = card.figures[title]
        assert f"| {title}, {rows[name]['images']} images | {name} | bicubic |" in text
        for row in (name, "bicubic"):
            assert f" {rows[row]['psnr_y']:.2f} (" in text


def test_a_choice_is_one_line():
    card = dataclasses.replace(pretrained.card("face_x4"), purpose="for looks")
    assert texts.choice(card) == "face_x4: for looks"
    assert texts.choice(dataclasses.replace(card, purpose="")) == "face_x4"


def test_intervals_and_the_fidelity_model_are_told_where_they_are_known():
    row = {"images": 3, "psnr_y": 30.126, "psnr_y_95": [29.5, 31.0]}
    figures = {"mine": {"m": row, "bicubic": {"images": 3, "psnr_y": 28.0}}, "headline": "30 dB"}
    card = dataclasses.replace(pretrained.card("face_x4"), name="m", figures=figures, fidelity="face_x4", training={})
    text = texts.about(card)
    assert "| mine, 3 images | m | bicubic |\n|---|---|---|\n" in text
    assert "| PSNR-Y in dB, higher is better | 30.13 (29.50 to 31.00) | 28.00 |\n\n" in text
    assert "30 dB" not in text
    assert "| SSIM" not in text
    assert "Tuned from face_x4," in text
    assert "Training data" not in text


def test_a_card_without_a_comparison_has_its_headline():
    card = dataclasses.replace(pretrained.card("face_x4"), figures={"headline": "30 dB"})
    assert "### Figures\n\n30 dB\n\n### Limits" in texts.about(card)
