"""The page in Chromium: what it makes is the Predictor's, it speaks to no one else, and several can use it."""

import re
import threading
import time

import numpy as np
import pytest
from PIL import Image

from keras_fsr import pretrained
from keras_fsr.inference.predictor import Predictor

MAX_PIXELS, MAX_UPLOAD = 40_000, 200_000


@pytest.fixture(scope="module")
def site(serve):
    with serve(max_pixels=MAX_PIXELS, max_upload=MAX_UPLOAD) as (address, folder):
        yield address, folder


@pytest.fixture(scope="module")
def visit(browser):
    """Opens a page. What it asks for, and what goes wrong in it, is kept."""
    contexts = []

    def visit(address: str, **options):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)  # the machine may be busy with other things
        page = context.new_page()
        page.address, page.requests, page.mistakes = address, [], []
        context.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.mistakes.append(str(error)))
        page.on("console", lambda said: page.mistakes.append(said.text) if said.type == "error" else None)
        page.goto(address)
        page.locator("h1, h2").first.wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def opened(visit, site):
    """One open page for most of the tests, for opening one takes seconds."""
    return visit(site[0], permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture
def page(opened):
    """The open page as the test before left it; in the end it has made no mistake and has asked no one else."""
    yield opened
    own = (f"{opened.address}/", f"blob:{opened.address}/", "data:")
    assert len(opened.requests) > 20
    assert [url for url in opened.requests if not url.startswith(own)] == []
    assert opened.mistakes == []


@pytest.fixture
def gate(monkeypatch):
    """While it is cleared, networks wait before each tile."""
    from keras_fsr.inference.parallel import Pool

    opened, call = threading.Event(), Pool.__call__
    opened.arrived = threading.Semaphore(0)

    def waiting(self, pixels):
        opened.arrived.release()
        assert opened.wait(60)
        return call(self, pixels)

    monkeypatch.setattr(Pool, "__call__", waiting)
    yield opened
    opened.set()


def give(page, file) -> None:
    page.set_input_files("#photo input[type=file]", file)


def start(page) -> None:
    page.get_by_role("button", name="Enlarge", exact=True).click()


def enlarge(page, file) -> None:
    give(page, file)
    page.locator("#status").get_by_text(re.compile(r"pixels\.$")).wait_for()
    start(page)
    page.get_by_text(" became ").wait_for()


def downloaded(page):
    """The file that the page offers: (its name, its path)."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Download PNG").or_(page.get_by_role("button", name="Download PNG")).click()
    return download.value.suggested_filename, download.value.path()


def test_the_download_is_the_predictors_file(page, turned, tmp_path):
    enlarge(page, turned)
    assert "turned face.jpg: 40 × 28 became 160 × 112 pixels in " in page.inner_text("#status")
    name, path = downloaded(page)
    assert name == "turned face_x4.png"
    assert path.read_bytes() == Predictor("face_x4").predict(turned, tmp_path / "out.png").read_bytes()
    with Image.open(path) as image:
        assert image.size == (160, 112)
        assert image.info["icc_profile"]


def test_the_slider_shows_before_and_after(page, turned):
    enlarge(page, turned)
    images = page.locator("#pair img")
    sizes = images.evaluate_all("(all) => all.map((image) => [image.naturalWidth, image.naturalHeight])")
    assert sizes == [[40, 28], [160, 112]]
    boxes = images.evaluate_all("(all) => all.map((image) => image.getBoundingClientRect().width)")
    assert abs(boxes[0] - boxes[1]) < 2

    def shown():
        """Share of the middle row in which the page shows the enlarged photo's half."""
        return page.locator("#pair .outer").evaluate("(it) => it.getBoundingClientRect().x")

    before = shown()
    box = page.locator("#pair .outer").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert shown() == pytest.approx(before + 60, abs=3)


def test_a_16_bit_tiff_which_the_browser_cannot_show_is_enlarged(page, tmp_path):
    import cv2

    file = tmp_path / "deep.tif"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 65536, (12, 20, 3), np.uint16))
    enlarge(page, file)
    assert downloaded(page)[1].read_bytes() == Predictor().predict(file, tmp_path / "out.png").read_bytes()


def test_strength_is_for_models_with_a_fidelity_model(page, turned, tmp_path):
    strength = page.get_by_label("number input for Strength")
    assert not strength.is_visible()
    page.locator(".models label", has_text="face_x4_gan: ").click()
    strength.fill("0.4")
    strength.press("Tab")
    enlarge(page, turned)
    expected = Predictor("face_x4_gan", strength=0.4).predict(turned, tmp_path / "out.png")
    assert downloaded(page)[1].read_bytes() == expected.read_bytes()
    page.get_by_role("tab", name="About this model").click()
    card = page.locator("#card")
    assert pretrained.card("face_x4_gan").limits[-1].split("'")[0] in card.inner_text()
    assert "plausible invention" in card.inner_text()
    page.get_by_role("tab", name="Enlarge").click()
    page.locator(".models label", has_text="face_x4: ").click()
    strength.wait_for(state="hidden")


def test_no_face_is_said(page, turned):
    faces = page.get_by_label("Faces in a larger photo")
    faces.check()
    enlarge(page, turned)
    assert "No face was found" in page.inner_text("#status")
    faces.uncheck()


def test_a_pasted_photo_is_taken(page, turned, tmp_path):
    page.evaluate("""async () => {
      const canvas = new OffscreenCanvas(9, 7);
      canvas.getContext("2d").fillRect(2, 2, 4, 4);
      const blob = await canvas.convertToBlob({ type: "image/png" });
      await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    }""")
    enlarge(page, turned)  # so that a photo is there already
    page.locator("h1").click()
    page.keyboard.press("Control+V")
    page.get_by_text("9 × 7 pixels.").wait_for()
    start(page)
    page.get_by_text("9 × 7 became 36 × 28 pixels").wait_for()


@pytest.mark.parametrize("kind", ["text", "large", "tiny"])
def test_a_bad_file_is_one_line_and_no_traceback(page, turned, tmp_path, capfd, kind):
    enlarge(page, turned)  # whose result goes
    file = tmp_path / f"{kind}.png"
    if kind == "text":
        file.write_text("this is text")
        words = "text.png: is not an image; give a PNG, JPEG, WebP, TIFF or BMP file"
    elif kind == "large":
        Image.new("RGB", (201, 200)).save(file)
        words = "large.png: has 201 x 200 pixels, more than the limit of 40000; make it smaller or raise the limit"
    else:
        Image.new("RGB", (3, 9)).save(file)
        words = "tiny.png: is 3x9 pixels, too small to enlarge; at least 4 a side are needed"
    capfd.readouterr()
    give(page, file)
    if kind == "tiny":
        page.get_by_text("3 × 9 pixels.").wait_for()
        start(page)
    page.get_by_role("alert").get_by_text(words, exact=True).wait_for()
    assert page.get_by_role("button", name="Enlarge", exact=True).is_enabled() == (kind == "tiny")
    assert page.get_by_role("button", name="Download PNG").is_disabled()
    assert capfd.readouterr() == ("", "")


def test_cancel_ends_the_job_and_the_next_one_is_done(page, turned, gate, site):
    give(page, turned)
    page.get_by_text("40 × 28 pixels.").wait_for()
    start(page)
    assert gate.arrived.acquire(timeout=60)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    gate.set()
    start(page)
    page.get_by_text(" became ").wait_for()


def test_too_large_a_file_is_refused(visit, site, tmp_path):
    file = tmp_path / "large.png"
    file.write_bytes(b"x" * (MAX_UPLOAD + 1))
    page = visit(site[0])
    give(page, file)
    page.get_by_text("exceed the maximum allowed size").wait_for()
    assert "large.png" in page.get_by_text("exceed the maximum allowed size").inner_text()


def test_names_of_files_are_text():
    pytest.importorskip("gradio", reason="needs gradio: pip install '.[web]'")
    from keras_fsr.web import page as module

    assert module.said("<i>.png") == "<p>&lt;i&gt;.png</p>"
    assert "&lt;i&gt;" in module.refused("<i>.png")


def test_two_at_once_are_both_answered_and_one_that_leaves_harms_nobody(visit, site, turned, gate, tmp_path):
    pages = [visit(site[0]) for _ in range(3)]
    for page in pages:
        give(page, turned)
        page.get_by_text("40 × 28 pixels.").wait_for()
    for page in pages[:2]:
        start(page)
        assert gate.arrived.acquire(timeout=60)  # both are at work
    start(pages[2])  # and this one waits
    folders = {path.name for path in site[1].iterdir()}
    pages[0].context.close()
    running = site_jobs(site)
    deadline = time.monotonic() + 60
    while not running[0][1].is_set() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [cancelled.is_set() for _, cancelled, _ in running] == [True, False]
    gate.set()
    expected = Predictor("face_x4").predict(turned, tmp_path / "out.png").read_bytes()
    for page in pages[1:]:
        page.get_by_text(" became ").wait_for()
        assert downloaded(page)[1].read_bytes() == expected
    assert len({path.name for path in site[1].iterdir()} - folders) == 1  # the third job's; the first one's is gone


def test_the_queue_is_bounded_and_a_password_asked_for(visit, serve, turned, gate):
    with serve(at_once=1, queue=1, login=("me", "secret")) as (address, _):
        first = visit(address)
        for password in ("wrong", "secret"):
            first.get_by_label("username").fill("me")
            first.get_by_label("password").fill(password)
            first.get_by_role("button", name="Login").click()
            if password == "wrong":
                first.get_by_text("Incorrect Credentials").wait_for()
        first.locator("#photo").wait_for()
        pages = [first, first.context.new_page(), first.context.new_page()]
        for page in pages:
            if page is not first:
                page.goto(address)
            give(page, turned)
            page.get_by_text("40 × 28 pixels.").wait_for()
            start(page)
            if page is first:
                assert gate.arrived.acquire(timeout=60)
            elif page is pages[1]:
                page.get_by_text("queue: 1/1").wait_for()
        pages[2].get_by_text("This application is currently busy. Please try again.").wait_for()
        gate.set()
        for page in pages[:2]:
            page.get_by_text(" became ").wait_for()
        start(pages[2])
        pages[2].get_by_text(" became ").wait_for()


def site_jobs(site) -> list:
    """The running jobs of the server, which is in this process."""
    import gc

    from keras_fsr.web.jobs import Jobs

    (jobs,) = [it for it in gc.get_objects() if isinstance(it, Jobs) and it._folder == site[1]]
    return list(jobs._running)
