"""The page of a study of opinion in a browser: somebody rates, by the keyboard alone, and saves."""

import base64
import io
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.evaluation.opinion import Design, make_page
from keras_fsr.evaluation.protocol import baselines
from keras_fsr.evaluation.ratings import read_ratings, show

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
PAIRS = {(f"person{i}.png", model) for i in range(3) for model in ("mine", "bicubic")} | {("person0.png", None)}
KEYS = {"original": 4, "mine": 3, "bicubic": 1}  # excellent, good and poor: 90, 70 and 30


def nearest(lr: np.ndarray) -> np.ndarray:
    return lr.repeat(4, 0).repeat(4, 1)


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
def study(tmp_path_factory):
    """A page of three images and two models: six pairs, one control, two pairs for practice."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    files = [folder / f"person{i}.png" for i in range(3)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (64, 48, 3), np.uint8)).save(file)
    models = {"mine": nearest, "bicubic": baselines(4)["bicubic"]}
    make_page(models, files, 4, folder / "opinion.html", Design(practice=2))
    return folder / "opinion.html"


@pytest.fixture
def visit(browser, study):
    """Opens the page as a new observer, with a seed if one is given."""
    contexts = []

    def visit(seed: int | None = None, script: str = "", width: int = 1280, height: int = 900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        if seed is not None:
            script += f"crypto.getRandomValues = (array) => array.fill({seed});"
        context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.mistakes, page.requests = [], []
        page.on("pageerror", lambda error: page.mistakes.append(str(error)))
        page.on("console", lambda message: page.mistakes.append(message.text))
        page.on("request", lambda request: page.requests.append(request.url.partition(":")[0]))
        page.goto(study.as_uri())
        return page

    yield visit
    for context in contexts:
        for page in context.pages:
            assert page.mistakes == []
            assert set(page.requests) <= {"file", "data", "blob"}
        context.close()


def until(page, condition: str) -> None:
    """Not by `wait_for_function`, which the page's own policy stops."""
    for _ in range(3000):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(10)
    raise AssertionError(f"never {condition}")


def loaded(page, after: int = -1) -> None:
    """Waits for a pair, or the end, that is not at the position `after`."""
    until(page, f"session && session.position !== {after} && (shownAt > 0 || session.position === trials.length)")


def turn(page, key: str = "Enter") -> None:
    """Goes on to another pair, or back."""
    position = page.evaluate("session.position")
    page.keyboard.press(key)
    loaded(page, after=position)


def begin(page, observer: str = "AB") -> None:
    page.bring_to_front()
    page.keyboard.press("Tab")
    until(page, "document.activeElement.id === 'observer'")
    for key in (*observer, "Enter"):
        page.keyboard.press(key)
    loaded(page)


def shown(page) -> list[str]:
    """Which pictures are on the screen, A and B, told by their pixels: "original" or the model's name."""
    return page.evaluate(
        """() => ["A", "B"].map((side) => {
          const picture = at(`picture-${side}`).src;
          for (const image of study.images) {
            if (picture === image.original) return "original";
            for (const [model, uri] of Object.entries(image.processed)) if (picture === uri) return model;
          }
        })"""
    )


def rate(page) -> list[str]:
    """Rates the pair by `KEYS` and goes on; of two originals B becomes one step worse."""
    pair = shown(page)
    page.keyboard.press(str(KEYS[pair[0]] + 1))
    page.keyboard.press(str((KEYS[pair[1]] + 6) % 10))
    if pair == ["original", "original"]:
        page.keyboard.press("ArrowLeft")
    turn(page)
    return pair


def save(page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def finish(page, folder: Path) -> Path:
    while page.evaluate("session.position < trials.length"):
        rate(page)
    return save(page, folder)


def test_a_study_rated_by_keyboard_with_a_reload_in_the_middle(visit, tmp_path, capsys):
    page = visit()
    assert page.locator("#amount").inner_text() == "There are 9 pairs, the first 2 for practice. Allow 2 minutes."
    begin(page)
    counts = []
    for _ in range(4):
        counts.append(page.locator("#count").inner_text())
        rate(page)
    assert counts == ["Practice 1 of 2", "Practice 2 of 2", "Pair 1 of 7", "Pair 2 of 7"]

    page.keyboard.press("2")
    page.keyboard.press("ArrowRight")  # A is at 31
    before = shown(page)
    page.reload()
    loaded(page)
    assert page.locator("#count").inner_text() == "Pair 3 of 7"
    assert shown(page) == before
    assert page.locator("#scale-A").input_value() == "31"
    assert page.locator("#scale-A").get_attribute("aria-valuetext") == "poor"
    assert page.locator("#scale-B").get_attribute("aria-valuetext") == "not rated yet"

    turn(page, "Backspace")
    assert page.locator("#count").inner_text() == "Pair 2 of 7"
    turn(page)  # it is rated
    path = finish(page, tmp_path)

    assert path.name == "opinion-AB.json"
    ratings = read_ratings([path])[0]
    assert (
        sorted(ratings.scores, key=str)
        == [
            *((f"person{i}.png", model) for i in range(3) for model in ("bicubic", "mine")),
            ("person0.png", None),
        ]
        or len(ratings.scores) == 7
    )
    for (_, model), scores in ratings.scores.items():
        assert sorted(scores) == {"mine": [70, 90], "bicubic": [30, 90], None: [89, 90]}[model]
    show([path])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "model      MOS   DMOS  +-95 %  observers  ratings",
        "mine     70.00  20.00       -          1        3",
        "bicubic  30.00  60.00       -          1        3",
        "screening: none; with fewer than 6 observers nobody can be far from the others",
        "observers: 1, where BT.500 wants 15",
        "controls, the original beside itself: rated 1.0 apart on average; AB 1.0",
    ]
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["window"] == {"width": 1280, "height": 900, "pixel_ratio": 1, "zoom": 2}
    assert data["started"] < data["finished"]
    assert all(0 < trial["milliseconds"] < 60_000 for trial in data["trials"])


def test_the_file_tells_which_side_was_which(visit, tmp_path):
    page = visit(seed=5)
    begin(page)
    pairs = []
    while page.evaluate("session.position < trials.length"):
        pairs.append(rate(page))
    trials = json.loads(save(page, tmp_path).read_text(encoding="utf-8"))["trials"]
    for pair, trial in zip(pairs[2:], trials, strict=True):
        sides = ["original", trial["model"] or "original"]
        assert pair == (sides if trial["left"] == "reference" else sides[::-1])
    assert {trial["left"] for trial in trials} == {"reference", "processed"}


def test_order_and_sides_are_each_observers_own(visit):
    page = visit()
    plans = page.evaluate(
        """() => Array.from({ length: 300 }, (_, seed) => plan(seed).map(
          ({ image, model, left, practice }) => [image.name, model, left, practice ?? false]))"""
    )
    assert plans[7] == page.evaluate("plan(7).map((t) => [t.image.name, t.model, t.left, t.practice ?? false])")
    for trials in plans:
        assert [practice for *_, practice in trials] == [True] * 2 + [False] * 7
        assert {(image, model) for image, model, *_ in trials[2:]} == PAIRS
        assert None not in [model for _, model, *_ in trials[:2]]
        images = [image for image, *_ in trials[2:]]
        assert all(one != other for one, other in itertools.pairwise(images))
    lefts = np.array([[left == "reference" for _, _, left, _ in trials] for trials in plans])
    # 300 fair coins: 0.5 with a standard deviation of 0.029.
    assert np.abs(lefts.mean(axis=0) - 0.5).max() < 0.12
    assert len({tuple(row) for row in lefts.tolist()}) > 200
    firsts = [trials[2][:2] for trials in plans]
    assert all(15 < firsts.count(list(pair)) < 75 for pair in PAIRS)  # 43 expected


def test_the_seed_is_drawn_and_saved(visit, tmp_path):
    seeds = []
    for name in "ab":
        page = visit()
        begin(page, name)
        seeds.append(read_ratings([finish(page, tmp_path)])[0].seed)
    assert seeds[0] != seeds[1]


def test_nothing_on_the_screen_tells_the_sides(visit):
    page = visit()
    begin(page)
    sources = set()
    for _ in range(4):
        html = page.evaluate(
            """() => {
              const copy = document.body.cloneNode(true);
              for (const script of copy.querySelectorAll("script")) script.remove();
              for (const picture of copy.querySelectorAll("img")) picture.removeAttribute("src");
              return copy.outerHTML + document.title;
            }"""
        ).lower()
        sources |= {page.locator(f"#picture-{side}").get_attribute("src")[:22] for side in "AB"}
        for word in ("mine", "bicubic", "person", "original", "reference", "processed", "model", "control"):
            assert word not in html
        assert [page.locator(f"#picture-{side}").get_attribute("alt") for side in "AB"] == ["Picture A", "Picture B"]
        rate(page)
    assert sources == {"data:image/png;base64,"}


def check_layout(page, zoom: int, ratio: float, stacked: bool) -> None:
    """Both pictures, of 48x64, at so many of the screen's pixels for a pixel; none beyond the window's side."""
    assert page.evaluate("session.window.zoom") == zoom
    boxes = [page.locator(f"#picture-{side}").bounding_box() for side in "AB"]
    for box in boxes:
        assert [box["width"], box["height"]] == pytest.approx([48 * zoom / ratio, 64 * zoom / ratio], abs=0.01)
    assert (boxes[0]["y"] < boxes[1]["y"]) == stacked
    assert (boxes[0]["x"] < boxes[1]["x"]) != stacked
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_pictures_fit_the_window_at_a_whole_zoom(visit):
    page = visit(width=1280, height=900)
    begin(page)
    check_layout(page, 2, 1, stacked=False)
    for width, height, zoom in ((1280, 200, 1), (400, 800, 2), (320, 480, 1)):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("new Promise(requestAnimationFrame)")
        check_layout(page, zoom, 1, stacked=width < 500)


@pytest.mark.parametrize(("width", "ratio", "zoom"), [(400, 3, 6), (1280, 1.5, 3)])
def test_zoom_is_in_the_screens_own_pixels(visit, width, ratio, zoom):
    page = visit(width=width, height=800, device_scale_factor=ratio)
    begin(page)
    check_layout(page, zoom, ratio, stacked=width < 500)


def test_the_screen_has_exactly_the_pixels_on_mid_gray(visit):
    page = visit()
    begin(page)
    screen = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    for side in "AB":
        picture = page.locator(f"#picture-{side}")
        data = picture.get_attribute("src").partition(",")[2]
        expected = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).repeat(2, 0).repeat(2, 1)
        box = picture.bounding_box()
        x, y = round(box["x"]), round(box["y"])
        np.testing.assert_array_equal(screen[y : y + 128, x : x + 96], expected)
    for corner in (screen[5, 5], screen[890, 640], screen[y + 20, x - 5], screen[y + 20, x + 96 + 5]):
        assert corner.tolist() == [128, 128, 128]


def test_both_pictures_must_be_rated(visit):
    page = visit()
    begin(page)
    page.keyboard.press("Enter")
    assert page.locator("#message").inner_text() == "Please rate A, too."
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    assert page.locator("#message").inner_text() == "Please rate B, too."
    page.keyboard.press("End")  # the message moved the focus to B
    turn(page)
    assert page.evaluate("session.position") == 1
    assert page.evaluate("session.scores[0].rated") == [50, 100]


def test_keys_of_the_browser_and_keys_while_a_pair_loads_rate_nothing(visit):
    page = visit()
    begin(page)
    page.keyboard.press("Control+3")
    page.evaluate("shownAt = 0")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    assert page.evaluate("session.scores[0].rated") == [None, None]
    assert page.locator("#message").inner_text() == ""


def test_a_mouse_rates_too(visit):
    page = visit()
    begin(page)
    page.locator("#pair button", has_text="excellent").nth(1).click()
    page.locator("#scale-A").click()  # the very middle, where a scale stands that is not rated
    assert page.evaluate("session.scores[0].rated") == [50, 90]
    page.locator("#next").click()
    loaded(page, after=0)
    assert page.evaluate("session.position") == 1
    page.locator("#back").click()
    loaded(page, after=1)
    assert page.locator("#scale-B").input_value() == "90"


def test_a_browser_that_keeps_nothing_can_rate(visit, tmp_path):
    blocked = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } });"
    page = visit(script=blocked)
    assert page.locator("#volatile").is_visible()
    begin(page, "")
    path = finish(page, tmp_path)
    assert read_ratings([path])[0].observer.startswith("anonymous ")
    assert path.name.startswith("opinion-anonymous_")
    assert not visit().locator("#volatile").is_visible()


def test_a_reload_before_the_first_rating_goes_on(visit):
    page = visit()
    begin(page)
    before = page.evaluate("session")
    page.reload()
    loaded(page)
    assert page.evaluate("session") == before | {"window": page.evaluate("session.window")}


def test_damaged_storage_begins_anew(visit):
    page = visit()
    for kept in ("{", "null", "7", '{"seed": 1, "scores": [], "position": 0}'):
        page.evaluate("(kept) => localStorage.setItem(storageKey, kept)", kept)
        page.reload()
        assert page.locator("#start").is_visible()


def test_names_become_names_of_files(visit, tmp_path):
    page = visit()
    page.locator("#observer").fill('../<b>Žofie\u200d\U0001f600 "李"/' + "\U00020000" * 40)
    page.keyboard.press("Enter")
    loaded(page)
    path = finish(page, tmp_path)
    assert path.name.startswith("opinion-.._b_Žofie_李_")
    assert read_ratings([path])[0].observer.startswith(".. b Žofie 李 \U00020000")


def test_another_observer_begins_anew(visit, tmp_path):
    page = visit()
    begin(page)
    assert not page.locator("#another").is_visible()
    first = finish(page, tmp_path)
    saved = first.read_text(encoding="utf-8")
    page.reload()
    loaded(page)
    assert save(page, tmp_path).read_text(encoding="utf-8") == saved
    turn(page, "Backspace")
    turn(page)
    assert json.loads(save(page, tmp_path).read_text(encoding="utf-8"))["finished"] > json.loads(saved)["finished"]
    with page.expect_navigation():
        page.locator("#another").click()
    begin(page, "CD")
    second = finish(page, tmp_path)
    assert len(read_ratings([first, second])) == 2
