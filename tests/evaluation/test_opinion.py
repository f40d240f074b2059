"""The page of a study of opinion: what it holds, and what it hides. In test_opinion_browser somebody rates on it."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.errors import DataError, ModelError, OutputError
from keras_fsr.evaluation import opinion
from keras_fsr.evaluation.opinion import Design, make_page, spread
from keras_fsr.evaluation.protocol import baselines, reduce_image


class Page(HTMLParser):
    """The study of a page, its text and attributes outside of scripts and styles."""

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.texts, self.attributes, self.study = [], [], None
        self._inside = ""
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        self._inside = "study" if ("id", "study") in attrs else tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "study":
            self.study = json.loads(data)
        elif self._inside not in ("script", "style"):
            self.texts.append(data)


def pixels(uri: str) -> np.ndarray:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def nearest(lr: np.ndarray) -> np.ndarray:
    return lr.repeat(4, 0).repeat(4, 1)


@pytest.fixture
def files(save_image):
    rng = np.random.default_rng(0)
    shapes = {"hr/one.png": (32, 40), "hr/two.png": (35, 33), "hr/deep/three.png": (24, 24)}
    return [save_image(name, rng.integers(0, 256, (*shape, 3), np.uint8)) for name, shape in shapes.items()]


def models() -> dict:
    return {"mine": nearest, "bicubic": baselines(4)["bicubic"]}


def test_the_page_holds_exactly_the_pixels(files, tmp_path):
    line = make_page(models(), files, 4, tmp_path / "page.html")
    study = Page(tmp_path / "page.html").study
    assert [image["name"] for image in study["images"]] == ["one.png", "two.png", "deep/three.png"]
    for file, image in zip(files, study["images"], strict=True):
        hr = np.asarray(Image.open(file))
        hr = hr[: hr.shape[0] // 4 * 4, : hr.shape[1] // 4 * 4]
        lr = reduce_image(hr, 4)
        np.testing.assert_array_equal(pixels(image["original"]), hr)
        assert list(image["processed"]) == ["mine", "bicubic"]
        for name, model in models().items():
            np.testing.assert_array_equal(pixels(image["processed"][name]), model(lr))
    size = len((tmp_path / "page.html").read_bytes())
    assert line == (
        f"{tmp_path / 'page.html'}: study {study['id']}, 3 images x 2 models, 1 controls, 5 pairs for practice; "
        f"{size / 1e6:.1f} MB"
    )


def test_the_page_needs_and_reaches_nothing_else(files, tmp_path):
    make_page(models(), files, 4, tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert not re.search(r"https?://|\bsrc=|@import|url\(|fetch\(|XMLHttpRequest|sendBeacon|WebSocket", page.source)
    links = [value for name, value in page.attributes if name in ("href", "src", "action", "formaction")]
    assert links == ["data:,"]
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'; img-src data:;" in policy


def test_nothing_that_is_seen_tells_models_images_or_sides(files, tmp_path):
    make_page(models(), files, 4, tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    seen = " ".join([*page.texts, *(f"{name}={value}" for name, value in page.attributes)]).lower()
    assert "excellent" in seen
    for word in (
        "mine",
        "bicubic",
        "one.png",
        "two",
        "three",
        "original",
        "reference",
        "processed",
        "model",
        "control",
    ):
        assert word not in seen


def test_names_cannot_end_the_script(files, tmp_path):
    name = '</script><script>alert("1")</script><!--'
    make_page({name: nearest}, files, 4, tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert list(page.study["images"][0]["processed"]) == [name]
    assert page.source.count("<script") == 2
    assert "alert" not in " ".join(page.texts)


def test_the_study_has_one_id_for_one_content(files, tmp_path):
    def make(scale=4, **design):
        upscalers = {"bicubic": baselines(scale)["bicubic"]}
        make_page(upscalers, files, scale, tmp_path / "page.html", Design(**design))
        return Page(tmp_path / "page.html").study["id"]

    assert make() == make()
    assert re.fullmatch("[0-9a-f]{16}", make())
    others = {make(), make(zoom=3), make(images=2), make(practice=1), make(controls=0), make(scale=2)}
    assert len(others) == 6


@pytest.mark.parametrize(
    ("design", "controls", "practice"),
    [
        (Design(), [0], 5),  # 6 pairs: one control for 8, begun
        (Design(controls=3), [0, 1], 5),
        (Design(controls=1), [0, 1, 2], 5),  # 6 are wanted, there are 3 images
        (Design(controls=0), [], 5),
        (Design(practice=0), [0], 0),
        (Design(practice=9), [0], 6),
    ],
)
def test_controls_and_practice(files, tmp_path, design, controls, practice):
    make_page(models(), files, 4, tmp_path / "page.html", design)
    study = Page(tmp_path / "page.html").study
    assert study["controls"] == controls
    assert study["practice"] == practice
    assert study["zoom"] == 2


def test_a_limit_takes_images_evenly(files, tmp_path):
    make_page(models(), files, 4, tmp_path / "page.html", Design(images=2))
    assert [image["name"] for image in Page(tmp_path / "page.html").study["images"]] == ["one.png", "two.png"]
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(3), 9) == spread(range(3), None) == [0, 1, 2]
    assert spread(range(3), 0) == []


def test_results_of_others_and_given_lr_are_shown(files, tmp_path, save_image):
    theirs = {file: save_image(f"theirs/{file.name}", np.asarray(Image.open(file)) // 2) for file in files[:1]}
    make_page({"mine": nearest}, files[:1], 4, tmp_path / "p.html", results={"theirs": theirs}, make_lr=every_fourth)
    shown = Page(tmp_path / "p.html").study["images"][0]
    hr = np.asarray(Image.open(files[0]))
    np.testing.assert_array_equal(pixels(shown["processed"]["theirs"]), hr // 2)
    np.testing.assert_array_equal(pixels(shown["processed"]["mine"]), nearest(hr[::4, ::4]))
    with pytest.raises(DataError, match="theirs has no result"):
        make_page({}, files, 4, tmp_path / "p.html", results={"theirs": theirs})


def every_fourth(file: Path, hr: np.ndarray) -> np.ndarray:
    return hr[::4, ::4]


def test_progress_is_told(files, tmp_path):
    calls = []
    make_page(models(), files, 4, tmp_path / "page.html", progress=lambda *done: calls.append(done))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_page_too_large_for_browsers_is_refused(files, tmp_path, monkeypatch):
    make_page(models(), files, 4, tmp_path / "page.html", Design(images=2))
    study = Page(tmp_path / "page.html").study
    size = sum(len(uri) for image in study["images"] for uri in [image["original"], *image["processed"].values()])
    (tmp_path / "page.html").unlink()
    monkeypatch.setattr(opinion, "LARGEST_PAGE", size - 1)
    with pytest.raises(DataError, match=r"page\.html: over 0 MB with 2 of 3 images, .*; take fewer or smaller"):
        make_page(models(), files, 4, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    monkeypatch.setattr(opinion, "LARGEST_PAGE", size)
    make_page(models(), files, 4, tmp_path / "page.html", Design(images=2))


def test_there_must_be_something_to_rate(files, tmp_path):
    with pytest.raises(DataError, match="give images"):
        make_page(models(), [], 4, tmp_path / "page.html")
    with pytest.raises(DataError, match="give images"):
        make_page({}, files, 4, tmp_path / "page.html")
    with pytest.raises(DataError, match="different names"):
        make_page(models(), files, 4, tmp_path / "page.html", results={"mine": {}})


@pytest.mark.parametrize("name", ["", "two\nlines", "\udcff"])
def test_names_that_ratings_could_not_have_are_refused(files, tmp_path, save_image, name):
    with pytest.raises(DataError, match="rename it"):
        make_page({name: nearest}, files, 4, tmp_path / "page.html")
    if name:
        odd = save_image(f"hr/{name}.png", np.zeros((8, 8, 3), np.uint8))
        with pytest.raises(DataError, match="rename it"):
            make_page(models(), [*files, odd], 4, tmp_path / "page.html")


@pytest.mark.parametrize("design", [{"images": 0}, {"zoom": 0}, {"controls": -1}, {"practice": -1}])
def test_impossible_designs_are_refused(design):
    with pytest.raises(DataError, match=f"{next(iter(design))} .* is not possible"):
        Design(**design)


def test_what_cannot_be_made_is_told(files, tmp_path, save_image):
    with pytest.raises(ModelError, match="mine"):
        make_page({"mine": lambda lr: lr}, files, 4, tmp_path / "page.html")
    with pytest.raises(DataError, match=r"tiny\.png"):
        make_page(models(), [save_image("tiny.png", np.zeros((3, 3, 3), np.uint8))], 4, tmp_path / "page.html")
    with pytest.raises(OutputError, match=r"page\.html"):
        make_page(models(), files, 4, tmp_path / "none" / "page.html")
