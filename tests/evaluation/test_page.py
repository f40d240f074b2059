"""report.html and report.md: what stands in them, that they need nothing else, and that names stay names."""

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import OutputError
from keras_fsr.evaluation import statistics
from keras_fsr.evaluation.measures import BASIC, Measure
from keras_fsr.evaluation.page import Extremes, Strip, best_of, cell, facts, intro, write_page
from keras_fsr.evaluation.protocol import Row
from keras_fsr.evaluation.summary import Setting, make_summary

pytest.importorskip("jinja2", reason="needs jinja2: the extra report")
pytest.importorskip("matplotlib", reason="needs matplotlib: the extra report")

PSNR, GRID = BASIC[0], BASIC[4]
LPIPS = Measure("lpips", "LPIPS", ".4f", None, means="a distance")
NIQE = Measure("niqe", "NIQE", ".3f", None, blind=True)
MEASURES = [PSNR, GRID, LPIPS, NIQE]
SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    "a|b",
    '"><img src=http://x/y.png onerror=alert(1)>',
    r"$\frac{",
    "`[x](http://x)*b*`",
    "{{ 7 * 7 }}",
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture(autouse=True, scope="module")
def few_draws():
    """What is looked at here is the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 100)
        statistics.draws.cache_clear()
        yield
    statistics.draws.cache_clear()


def rows_of(figures: dict[str, dict[str, list[float]]]) -> list[Row]:
    """Rows of model -> key -> a figure an image."""
    rows = []
    for model, by_key in figures.items():
        for i in range(max(map(len, by_key.values()))):
            vectors = {key: np.array([values[i]]) for key, values in by_key.items() if i < len(values)}
            rows.append(Row(Path(f"{i}.png"), model, vectors))
    return rows


FIGURES = {
    "mine": {"psnr_y": [30.0, 31.0, 32.0, 33.0], "grid": [1.5] * 4, "lpips": [0.1, 0.2, 0.3, 0.4]},
    "bicubic": {"psnr_y": [28.0, 29.5, 30.0, 30.5], "grid": [0.9] * 4, "lpips": [0.1, 0.3, 0.2, 0.4]},
}


class Page(NamedTuple):
    html: str
    md: str
    written: list[Path]
    summary: dict


def written(
    folder: Path, figures=None, setting: dict | None = None, groups=None, strips=(), extremes=None, **options
):
    rows = rows_of(figures or FIGURES)
    setting = {"data": "test/256", "scale": 4, "lr": "reduced", "lr_folder": "", "sha256": "0" * 64} | (setting or {})
    summary = make_summary(rows, MEASURES, Setting(**setting), options.get("originals", {"grid": 1.02}), groups or {})
    extremes = extremes or Extremes(PSNR, ["w"], ["b"])
    paths = write_page(summary, rows, MEASURES, extremes, strips, folder)
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md")]
    return Page(*texts, paths, summary)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    return written(tmp_path_factory.mktemp("page"))


def strip(title: str, seed: int = 0) -> Strip:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 40, 3), np.uint8)
    return Strip(title, Image.fromarray(pixels).resize((80, 24)))


class Reader(HTMLParser):
    """The elements of a page, its text, its tables, and what does not close."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text, self.tables = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data if not self.tables[-1][-1][-1] else f" {data}"


def tables_of(md: str) -> list[list[list[str]]]:
    """The tables of a Markdown text: rows of cells, which end at every | that is not escaped."""
    tables, before = [], ""
    for line in md.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append([part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]])
        before = line
    return tables


# --- figures


def test_the_table_has_figures_intervals_and_differences(page):
    (table,) = Reader(page.html).tables
    assert table[0] == ["model", "PSNR-Y \N{UPWARDS ARROW}", "grid \N{DOWNWARDS ARROW}", "LPIPS \N{DOWNWARDS ARROW}"]
    assert [row[0] for row in table[1:]] == ["mine", "bicubic", "originals"]
    figure = page.summary["models"]["bicubic"]["psnr_y"]
    low, high = figure["low"], figure["high"]
    assert table[2][1] == f"29.50 {low:.2f} to {high:.2f} -2.00*"
    assert table[2][3].endswith("+0.0000"), "an interval around 0 has no asterisk"
    assert [text.split()[0] for text in table[1][1:]] == ["31.50", "1.50", "0.2500"]
    assert "*" not in "".join(table[1])
    assert table[3][1:] == ["", "1.02", ""]


def test_markdown_has_the_same_figures(page):
    figures, differences = tables_of(page.md)
    (html,) = Reader(page.html).tables
    assert figures[0] == html[0]
    assert [cell_.split()[0].strip("*") for cell_ in figures[2][1:]] == [text.split()[0] for text in html[1][1:]]
    assert figures[3][1] == re.sub(r" (\S+ to \S+) \S+$", r" (\1)", html[2][1])
    assert differences[2] == ["bicubic", "-2.00*", "-0.60*", "+0.0000"]
    assert len(differences) == 3
    assert "## Difference to mine" in page.md


def test_the_best_is_bold_by_what_is_printed_and_the_grid_is_not_ranked(page):
    figures, _ = tables_of(page.md)
    assert figures[2][0] == "**mine**"
    assert figures[2][1].startswith("**31.50**")
    assert figures[3][1].startswith("29.50")
    assert figures[2][2].startswith("1.50")
    assert figures[3][2].startswith("0.90")
    assert figures[2][3].startswith("0.2500"), "of equal figures none is the best"
    assert figures[3][3].startswith("0.2500")
    bold = [attributes for tag, attributes in Reader(page.html).elements if attributes.get("class") == "best"]
    assert len(bold) == 1
    assert '<tr class="first"><th scope="row">mine</th>' in page.html
    assert page.html.count('class="first"') == 1


def test_every_measure_of_images_has_a_plot(page):
    captions = re.findall(r"<figcaption>(.*?) \S+: .*?</figcaption><svg ", page.html)
    assert captions == ["PSNR-Y", "grid", "LPIPS"]


def test_best_is_not_decided_by_digits_that_are_not_shown():
    models = {"a": {"psnr_y": {"mean": 30.004}}, "b": {"psnr_y": {"mean": 29.996}}, "c": {"psnr_y": {"mean": 29.9}}}
    assert best_of(models, PSNR) == {"a", "b"}
    assert best_of({"a": models["a"], "d": {}}, PSNR) == set(), "one figure alone is not the best"
    low = {name: {"lpips": figures["psnr_y"]} for name, figures in models.items()}
    assert best_of(low, LPIPS) == {"c"}


@pytest.mark.parametrize(
    ("low", "high", "sure"), [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.3, False), (0.0, 0.3, False)]
)
def test_an_asterisk_marks_a_difference_whose_interval_leaves_out_0(low, high, sure):
    figure = {"mean": 30.0, "low": 29.0, "high": 31.0, "difference": {"mean": 0.2, "low": low, "high": high}}
    made = cell(figure, PSNR)
    assert made == {
        "text": "30.00",
        "interval": "29.00 to 31.00",
        "difference": "+0.20*" if sure else "+0.20",
        "sure": sure,
    }


def test_a_figure_that_is_not_there_is_a_dash(tmp_path):
    figures = FIGURES | {"perfect": {"psnr_y": [math.inf] * 4, "grid": [1.0] * 4}}
    table = Reader(written(tmp_path, figures).html).tables[0]
    assert table[3][0] == "perfect"
    assert table[3][1] == table[3][3] == "\N{EN DASH}"
    first = written(tmp_path, {"perfect": figures["perfect"], **FIGURES})
    assert Reader(first.html).tables[0][2][1].startswith("31.50")
    assert "nan" not in Reader(first.html).tables[0][2][1]


def test_measures_that_nobody_has_are_no_columns(page):
    assert "NIQE \N{DOWNWARDS ARROW}" not in page.html
    assert "| NIQE" not in page.md


def test_one_image_has_no_interval_and_the_page_says_so(tmp_path):
    one = {model: {key: values[:1] for key, values in by_key.items()} for model, by_key in FIGURES.items()}
    page = written(tmp_path, one)
    for text in (page.html, page.md):
        assert "One image, 2 methods." in text
        assert "One image has no intervals and says little about others." in text
        assert " to 30" not in text
        assert "*</span>" not in text
    assert tables_of(page.md)[0][2] == ["**mine**", "**30.00**", "1.50", "0.1000"]
    assert intro({**page.summary, "images": 2}) == "2 images, 2 methods. LR: reduced."


def test_it_says_on_how_many_images_a_figure_rests(tmp_path):
    partly = {
        "mine": {**FIGURES["mine"], "niqe": [4.0, math.nan, 5.0, math.nan]},
        "bicubic": {**FIGURES["bicubic"], "niqe": [6.0, math.nan, 7.0, math.nan]},
    }
    page = written(tmp_path, partly)
    assert Reader(page.html).tables[0][1][4].startswith("4.500")
    for text in (page.html, page.md):
        assert text.count("NIQE could be measured on 2 images only.") == 1
        assert "PSNR-Y could be" not in text


def test_facts_tell_what_was_measured_with_what():
    summary = make_summary(
        rows_of(FIGURES),
        MEASURES,
        Setting("test/256", 4, "", "", "ab" * 32, {"mine": "cd" * 32}, {"pieapp": "no weights"}),
        {},
        {},
    )
    lines = facts(summary, [PSNR, LPIPS])
    assert lines[0] == f"Images: test/256, SHA-256 of names and contents {'ab' * 32}."
    assert lines[1].startswith("4 pixels are cut")
    assert "PSNR-Y: peak signal-to-noise ratio of the BT.601 luma, dB; more is better." in lines
    assert "LPIPS: a distance; less is better." in lines
    assert "Not measured, for want of weights or packages: pieapp." in lines
    assert f"mine: file with SHA-256 {'cd' * 32}." in lines
    assert f"numpy {np.__version__}" in lines[-1]


def test_groups_have_tables_of_their_own(tmp_path):
    members = {Path(f"{i}.png"): "real" if i < 3 else "drawn" for i in range(4)}
    page = written(tmp_path, groups={"source": members})
    _, drawn, real = Reader(page.html).tables
    assert [row[1].split()[0] for row in real[1:]] == ["31.00", "29.17"]
    assert drawn[1:] == [["mine", "33.00", "1.50", "0.4000"], ["bicubic", "30.50", "0.90", "0.4000"]]
    assert "By source" in page.html
    assert 'drawn <span class="soft">1 image</span>' in page.html
    assert 'real <span class="soft">3 images</span>' in page.html
    table = tables_of(page.md)[2]
    assert [row[:2] for row in table[2:]] == [
        ["drawn (1)", "mine"],
        ["drawn (1)", "bicubic"],
        ["real (3)", "mine"],
        ["real (3)", "bicubic"],
    ]
    assert table[4][2].startswith("31.00 (")


def test_worst_and_best_are_named(tmp_path):
    page = written(tmp_path, extremes=Extremes(LPIPS, ["bad", "worse"], ["good"]))
    assert "Worst and best of mine by LPIPS" in page.html
    assert "<p><b>Worst:</b> bad, worse</p>" in page.html
    assert "<p><b>Best:</b> good</p>" in page.html
    assert "Worst: bad, worse\n" in page.md


# --- pictures


def test_strips_are_in_the_page_and_beside_it(tmp_path):
    page = written(tmp_path, strips=[strip("Worst: a"), strip("Best: b", seed=1)])
    files = [tmp_path / "strips" / name for name in ("01.webp", "02.webp")]
    assert page.written == [tmp_path / "report.html", tmp_path / "report.md", *files]
    images = [attributes for tag, attributes in Reader(page.html).elements if tag == "img"]
    assert len(images) == 2
    for image, file, title in zip(images, files, ("Worst: a", "Best: b"), strict=True):
        data = base64.b64decode(image["src"].removeprefix("data:image/webp;base64,"), validate=True)
        assert data == file.read_bytes()
        assert Image.open(io.BytesIO(data)).size == (80, 24) == (int(image["width"]), int(image["height"]))
        assert title in image["alt"]
        assert f"### {title}\n" in page.md
        assert f"![{image['alt']}](strips/{file.name})" in page.md
    with Image.open(files[1]) as shown:
        difference = np.asarray(shown, int) - np.asarray(strip("", seed=1).image, int)
    # Seen: 17.5, of random colours, whose chroma the file halves; 85 to the other strip.
    assert np.abs(difference).mean() < 25


def test_without_strips_there_is_no_folder_of_them(tmp_path):
    page = written(tmp_path)
    assert page.written == sorted(tmp_path.iterdir())
    assert "<img" not in page.html


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"missing/report\.html: cannot be written"):
        written(tmp_path / "missing")


# --- names


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Page:
    """Every name that comes from outside is one that would break a page."""
    nasty = " ".join(HOSTILE)
    models = dict.fromkeys(HOSTILE, FIGURES["mine"])
    return written(
        tmp_path_factory.mktemp("hostile"),
        models,
        {"data": nasty, "lr": nasty, "models": {nasty: "0"}, "left_out": {nasty: nasty}},
        {nasty: {Path(f"{i}.png"): nasty for i in range(4)}},
        [strip(nasty)],
        Extremes(PSNR, [nasty], [nasty]),
    )


def test_a_page_needs_nothing_else_and_runs_nothing(page, hostile):
    for html in (page.html, hostile.html):
        elements = Reader(html).elements
        assert {tag for tag, _ in elements}.isdisjoint(
            {"script", "link", "iframe", "object", "embed", "base", "form"}
        )
        for tag, attributes in elements:
            assert not [name for name in attributes if name.startswith("on")], tag
            for name in ("src", "href", "xlink:href", "srcset", "poster", "action", "data"):
                target = attributes.get(name)
                assert target is None or target.startswith("#") or (tag, name) == ("img", "src"), target
            assert tag != "img" or attributes["src"].startswith("data:image/webp;base64,")
        assert "@import" not in html
        assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_names_stay_names_in_html(hostile):
    reader = Reader(hostile.html)
    assert len([tag for tag, _ in reader.elements if tag == "img"]) == 1
    text = "".join(reader.text)
    for name in HOSTILE:
        # heading and title, LR, table, plots, group's heading and table, lists, strip, facts
        assert text.count(name) >= 12, name
    assert [row[0] for row in reader.tables[0][1:-1]] == list(HOSTILE)


def test_names_stay_names_in_markdown(hostile):
    assert re.search(r"(?<!\\)<", hostile.md) is None
    assert re.search(r"(?<!\\)`", hostile.md) is None
    links = re.findall(r"(?<!\\)\[.*?(?<!\\)\]\((.*?)\)", hostile.md)
    assert links == ["strips/01.webp"]
    tables = tables_of(hostile.md)
    assert len(tables) == 3
    for table in tables:
        assert len({len(row) for row in table}) == 1
    assert [re.sub(r"\\(.)", r"\1", row[0].strip("*")) for row in tables[0][3:-1]] == [
        name.strip("*") for name in HOSTILE[1:]
    ]
    assert r"a\|b" in hostile.md


def test_no_template_is_left_in_the_texts(page, hostile):
    for text in (page.html, page.md):
        assert not re.search(r"\{\{|\}\}|\{%|%\}", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))
    assert "{{ 7 * 7 }}" in hostile.html
    assert "49" not in re.sub(r"\d\.49|<svg.*?</svg>|base64,\S+", "", hostile.md)
