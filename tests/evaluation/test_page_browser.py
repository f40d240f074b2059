"""The report in a browser: it loads by itself, is quiet, and fits a telephone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.evaluation import statistics
from keras_fsr.evaluation.measures import BASIC
from keras_fsr.evaluation.page import Extremes, Strip, write_page
from keras_fsr.evaluation.protocol import Row
from keras_fsr.evaluation.summary import Setting, make_summary

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
LONG = "a_long_name_without_any_space_in_it_" * 3
NAMES = ("mine", "<script>alert(1)</script>", '"><img src=http://localhost/x.png onerror=alert(1)>', LONG)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the browser chromium on the PATH")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A report of long and of hostile names with a group and a strip of five columns."""
    pytest.importorskip("jinja2", reason="needs jinja2: the extra report")
    pytest.importorskip("matplotlib", reason="needs matplotlib: the extra report")
    rng = np.random.default_rng(0)
    files = [Path(f"{LONG}{i}.png") for i in range(3)]
    keys = [measure.key for measure in BASIC]
    rows = [Row(file, name, {key: rng.uniform(1, 40, 3) for key in keys}) for file in files for name in NAMES]
    setting = Setting(LONG, 4, LONG, "", "0" * 64, {LONG: "1" * 64}, {"pieapp": f"/{LONG}: no weights"})
    groups = {LONG: dict.fromkeys(files, LONG)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 50)
        statistics.draws.cache_clear()
        summary = make_summary(rows, BASIC, setting, {"grid": 1.02}, groups)
    statistics.draws.cache_clear()
    strips = [Strip(f"Worst: {name}", Image.new("RGB", (1328, 586), (9, 99, 9))) for name in (LONG, NAMES[1])]
    folder = tmp_path_factory.mktemp("report")
    write_page(summary, rows, BASIC, Extremes(BASIC[0], [LONG], [NAMES[2]]), strips, folder)
    return folder / "report.html"


@pytest.fixture(params=[("light", 1200), ("dark", 400)], ids=["desk", "telephone"])
def page(request, browser, report):
    scheme, width = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.requests, page.said = [], []
    page.on("request", lambda asked: page.requests.append(asked.url))
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
    page.goto(report.as_uri())
    yield page
    context.close()


def test_it_asks_for_nothing_and_says_nothing(page, report):
    assert [url for url in page.requests if not url.startswith("data:")] == [report.as_uri()]
    assert page.said == []
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth])") == [[True, 1328]] * 2
    assert page.locator("tbody th").all_inner_texts()[: len(NAMES)] == list(NAMES)


def test_it_fits_the_window_and_wide_things_scroll_inside(page):
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = page.evaluate(
        "[...document.querySelectorAll('.scroll, .strip')].map(e => [e.clientWidth, e.scrollWidth, "
        "getComputedStyle(e).overflowX])"
    )
    assert len(inside) == 4
    for shown, whole, overflow in inside:
        assert shown <= width
        assert whole > shown
        assert overflow == "auto"
    outside = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, p, li, figure, svg, figcaption')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []


def test_ink_stands_out_from_the_paper_in_both_schemes(page):
    colours = page.evaluate(
        "(() => {const s = getComputedStyle(document.body); const t = getComputedStyle(document.querySelector("
        "'svg text')); return [s.color, s.backgroundColor, t.fill]})()"
    )
    ink, paper, text = (sum(map(int, colour.strip("rgb()").split(","))) / 3 for colour in colours)
    assert abs(ink - paper) > 150
    assert text == ink
