"""Distributions: a dot an image, no names that turn into markup, and the colours of the page."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from keras_fsr.evaluation.measures import BASIC, Measure
from keras_fsr.evaluation.plots import distribution
from keras_fsr.evaluation.protocol import Row

pytest.importorskip("matplotlib", reason="needs matplotlib: the extra report")

PSNR, GRID = BASIC[0], BASIC[4]
SVG = "{http://www.w3.org/2000/svg}"
ALPHA = "fill-opacity: 0.35"  # of the dots


def rows_of(measure: Measure = PSNR, **figures: list[float]) -> list[Row]:
    return [
        Row(Path(f"{i}.png"), model, {measure.key: np.array([value])})
        for model, values in figures.items()
        for i, value in enumerate(values)
    ]


def dots(svg: str) -> list[tuple[float, float]]:
    """Places of the dots, (x, y) in points."""
    uses = ElementTree.fromstring(svg).iter(f"{SVG}use")
    return [(float(use.get("x")), float(use.get("y"))) for use in uses if ALPHA in use.get("style", "")]


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize(("named", "kept"), [("nonsense", None), ("svg", "svg")])
def test_no_backend_of_matplotlib_is_in_the_way(named, kept):
    code = (
        "import os\nfrom keras_fsr.quiet import import_matplotlib\nimport_matplotlib()\n"
        f"assert os.environ.get('MPLBACKEND') == {kept!r}\nfrom matplotlib.figure import Figure, mpl\n"
        f"assert mpl.rcParams['backend'] == 'svg' or {kept is None}\nFigure().savefig(os.devnull, format='svg')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MPLBACKEND": named}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_every_image_is_a_dot_on_the_line_of_its_model():
    svg = distribution(rows_of(low=[20.0, 22.0, 24.0], high=[30.0, 31.0]), PSNR)
    places = dots(svg)
    assert len(places) == 5
    low, high = places[:3], places[3:]
    assert max(y for _, y in low) < min(y for _, y in high), "the first model on top"
    # 2 dB are twice as far as 1 dB, higher figures to the right.
    steps = np.diff([x for x, _ in low])
    assert steps[0] == pytest.approx(steps[1], rel=1e-3)
    assert high[1][0] - high[0][0] == pytest.approx(steps[0] / 2, rel=1e-3)
    assert low[2][0] < high[0][0]
    assert [text for text in texts(svg) if text in ("low", "high")] == ["low", "high"]


def test_the_median_is_marked_in_the_pages_accent():
    svg = distribution(rows_of(m=[10.0, 11.0, 12.0, 30.0]), PSNR)
    xs = [x for x, _ in dots(svg)]
    marked = [path for path in ElementTree.fromstring(svg).iter(f"{SVG}path") if "--accent" in path.get("style", "")]
    (ends,) = ([float(x) for x in re.findall(r"[ML] (\S+) ", path.get("d"))] for path in marked)
    assert ends == pytest.approx([(xs[1] + xs[2]) / 2] * 2, abs=0.01)


def test_colours_are_the_pages_own():
    svg = distribution(rows_of(m=[1.0, 2.0]), PSNR)
    assert "currentColor" in svg
    colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", re.sub(r'(?:href|id)="[^"]*"|url\([^)]*\)', "", svg)))
    assert colours == set()


def test_figures_that_are_not_finite_are_left_out():
    svg = distribution(rows_of(a=[30.0, math.inf, math.nan, 31.0], b=[29.0]), PSNR)
    assert len(dots(svg)) == 3
    assert distribution(rows_of(perfect=[math.inf, math.inf]), PSNR) == ""
    assert distribution(rows_of(a=[math.nan]), PSNR) == ""


def test_a_model_without_figures_keeps_its_line():
    svg = distribution(rows_of(a=[math.nan, math.nan], b=[29.0, 30.0]), PSNR)
    assert len(dots(svg)) == 2
    assert {"a", "b"} <= set(texts(svg))


def test_a_vector_is_drawn_by_the_figure_of_its_image():
    rows = [Row(Path(f"{i}.png"), "m", {"grid": np.array([0.5, peak])}) for i, peak in enumerate((1.0, 2.0, 4.0))]
    xs = [x for x, _ in dots(distribution(rows, GRID))]
    assert xs[2] - xs[1] == pytest.approx(2 * (xs[1] - xs[0]), rel=1e-3)


def test_a_measure_of_sets_alone_has_no_plot():
    assert distribution(rows_of(m=[1.0, 2.0]), Measure("psnr_y", "tar", ".3f", None, one=None)) == ""


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '"><b>', "-->", r"$\notacommand{$", "$x^2$", "a_b^c", "100%", "a&amp;b", "a\\b"],
)
def test_names_are_drawn_as_they_are(name):
    svg = distribution(rows_of(**{name: [1.0, 2.0]}), PSNR)
    assert name in texts(svg)  # and it is well-formed XML
    assert "<script" not in svg
    assert "<!--" not in svg


@pytest.mark.filterwarnings("error")
def test_of_a_long_name_the_end_is_drawn():
    names = [f"runs/{'very/' * 30}{i}.tflite" for i in range(2)]
    svg = distribution(rows_of(**{name: [1.0, 2.0] for name in names}, **{"b" * 40: [1.5]}), PSNR)
    drawn = [text for text in texts(svg) if len(text) > 20]
    assert [len(text) for text in drawn] == [40] * 3
    assert all(text.startswith("...") and name.endswith(text[3:]) for text, name in zip(drawn, names, strict=False))
    assert drawn[2] == "b" * 40
    xs = [x for x, _ in dots(svg)]
    assert max(xs) - min(xs) > 150


def test_plots_of_a_page_share_no_id_and_load_nothing():
    values = {"a": [1.0, 2.0, 3.0], "b": [2.0, 2.5, 4.0]}
    plots = [
        distribution(rows_of(Measure(key, key, ".1f", None), **values), Measure(key, key, ".1f", None))
        for key in ("psnr_y", "ssim_y", "lpips")
    ]
    ids = [name for svg in plots for name in re.findall(r'\bid="([^"]*)"', svg)]
    assert len(ids) == len(set(ids)) > 0
    for svg in plots:
        assert svg.startswith("<svg ")
        inside = set(re.findall(r'\bid="([^"]*)"', svg))
        targets = re.findall(r'href="([^"]*)"', svg) + re.findall(r"url\(([^)]*)\)", svg)
        assert targets
        assert {target.removeprefix("#") for target in targets} <= inside


def test_equal_figures_give_equal_files():
    rows = rows_of(a=[1.0, 2.0, 3.0], b=[2.0, 2.5, 4.0])
    assert distribution(rows, PSNR) == distribution(rows, PSNR)
    assert "dc:date" not in distribution(rows, PSNR)
