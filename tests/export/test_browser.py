"""The page that enlarges in a browser, in Chromium: what it makes equals Python's tiles, and it speaks to no one."""

import base64
import contextlib
import importlib.util
import io
import re
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fsr.deploy.fixed_size import fix_size
from keras_fsr.errors import FSRError
from keras_fsr.inference import tiles
from keras_fsr.inference.engines import dequantized, quantized
from keras_fsr.inference.predictor import Predictor

FOLDER = Path(__file__).parents[2] / "export" / "browser"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
WINDOW = {"width": 1280, "height": 900}


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"browser_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build, serve = script("build"), script("serve")


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
def runtime():
    """The runtime's packages are in the user's cache."""
    try:
        for name in build.PACKAGES:
            build.package(name, build.cache())
    except FSRError as error:
        if "fetch" not in str(error):
            raise
        pytest.skip(f"needs npm and its registry, once: {error}")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Kind -> file for 64x64 pixels: a small network with random weights as float32 and uint8; a shipped model."""
    import keras
    import tensorflow as tf

    from keras_fsr.generators.edge import build as network
    from keras_fsr.layers import PixelShuffle

    class ClipOfInt8(keras.layers.Layer):
        def call(self, x):
            return tf.quantization.fake_quant_with_min_max_args(x, 0.0, 1.0)

    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    model = keras.Model(*network(keras.layers, 4, 16, 1, PixelShuffle(4), clip=ClipOfInt8()))
    model.set_weights([rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    signature = [keras.InputSpec(shape=(1, 64, 64, 3), dtype="float32")]
    model.export(folder / "saved", verbose=False, input_signature=signature)
    files = {}
    for kind in ("float32", "uint8"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
        if kind == "uint8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: [[rng.random((1, 64, 64, 3), np.float32)]]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        files[kind] = folder / f"face_{kind}.tflite"
        files[kind].write_bytes(converter.convert())
    files["shipped"] = fix_size("face_x4_edge", folder / "face_x4_edge_64x64.tflite", (64, 64))
    return files


@pytest.fixture(scope="module")
def sites(models, runtime, tmp_path_factory):
    """Type -> the address of a page with that model."""
    with contextlib.ExitStack() as servers:
        addresses = {}
        for kind, model in models.items():
            site = tmp_path_factory.mktemp("site")
            build.build(model, site)
            addresses[kind] = servers.enter_context(served(site))
        yield addresses


@contextlib.contextmanager
def served(site: Path):
    server = serve.server(site, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


HEAR = """
window.heard = [];
const Native = Worker;
window.Worker = class extends Native {
  constructor(address) {
    super(address);
    this.addEventListener("message", ({ data }) => heard.push(data));
    window.heardWorker = this;
  }
};
"""


@pytest.fixture(scope="module")
def visit(browser):
    """Opens a page and waits until its network is loaded. What its worker says is kept in `heard`."""
    contexts = []

    def visit(address: str, worker_prefix: str = "", service_workers: str = "block"):
        context = browser.new_context(viewport=WINDOW, has_touch=True, service_workers=service_workers)
        contexts.append(context)
        context.set_default_timeout(120_000)  # the machine may be busy with other things
        context.add_init_script(HEAR)
        if worker_prefix:
            text = worker_prefix + (FOLDER / "worker.js").read_text(encoding="utf-8")
            headers = {**serve.HEADERS, "Content-Type": "text/javascript"}
            context.route("**/worker.js", lambda route: route.fulfill(body=text, headers=headers))
        page = context.new_page()
        page.address, page.requests, page.mistakes = address, [], []
        context.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.mistakes.append(str(error)))
        page.on("console", lambda message: page.mistakes.append(message.text) if message.type == "error" else None)
        page.goto(address)
        page.locator("#loading").wait_for(state="hidden")
        return page

    yield visit
    for context in contexts:
        context.close()


def check(page) -> None:
    """The page has made no mistake and has asked no other server for anything."""
    assert page.mistakes == []
    assert f"{page.address}/model.tflite" in page.requests
    own = (f"{page.address}/", f"blob:{page.address}/")
    assert [url for url in page.requests if not url.startswith(own)] == []


@pytest.fixture(scope="module")
def pages(visit, sites):
    """Type -> an open page with that model; opening one takes seconds."""
    return {kind: visit(address) for kind, address in sites.items()}


@pytest.fixture(scope="module")
def plain(visit, sites):
    """An open page whose server sent none of the headers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "HEADERS", {})
        return visit(sites["float32"])


@pytest.fixture
def page(pages):
    """The open page of the float32 model, as it was left by the test before, in a large window."""
    page = pages["float32"]
    page.set_viewport_size(WINDOW)
    page.emulate_media(color_scheme="light")
    page.evaluate("heard.length = 0")
    yield page
    check(page)


def in_python(model: Path, pixels: np.ndarray) -> np.ndarray:
    return Predictor(model, threads=1).predict(pixels)


def astronaut(height: int, width: int) -> np.ndarray:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for its photo")
    return data.astronaut()[20 : 20 + height, 180 : 180 + width]


def noise(side: int) -> np.ndarray:
    """A square of which each tile needs the network."""
    return np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)


def enlarge(page, file: Path) -> None:
    page.set_input_files("#file", file)
    page.locator("#done").wait_for()


def enlarged(page, file: Path) -> np.ndarray:
    enlarge(page, file)
    return result(page)


def result(page) -> np.ndarray:
    """The pixels of the file that the page offers."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Download PNG").click()
    image = Image.open(download.value.path())
    assert image.format == "PNG"
    assert image.convert("RGBA").getextrema()[3] == (255, 255)
    page.file_name = download.value.suggested_filename
    return np.asarray(image.convert("RGB"))


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    """Equal but for single levels, where other processors' kernels may round differently."""
    assert one.shape == other.shape
    difference = np.abs(one.astype(int) - other)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) < 0.01 * difference.size


def own_worker(page):
    """The page's worker; LiteRT.js has threads besides."""
    (worker,) = [worker for worker in page.workers if worker.url.endswith("/worker.js")]
    return worker


# (100, 90) is 3 x 3 tiles; the others have a side shorter than a tile's own part, or than the mirrored border.
@pytest.mark.parametrize("kind", ["float32", "uint8", "shipped"])
def test_result_is_the_predictors(pages, models, save_image, kind):
    page = pages[kind]
    for height, width in ((100, 90), (20, 130), (3, 5)):
        pixels = astronaut(height, width)
        file = save_image(f"face {height}.new.png", pixels)
        expected = in_python(models[kind], pixels)
        assert np.std(expected - pixels.repeat(4, 0).repeat(4, 1).astype(float)) > 1  # the network does something
        assert_same(enlarged(page, file), expected)
        assert page.file_name == f"face {height}.new_x4.png"
        assert page.input_value("#file") == ""  # so that the same file can be chosen again
        assert f"{width} × {height} became {width * 4} × {height * 4} pixels in " in page.inner_text("#facts")
    check(page)


def test_tiling_is_that_of_python_to_the_bit(page):
    """With a network whose every pixel has another error, and hangs on the call's last: all that is done shows."""

    def of_one_size(size: int, part: np.ndarray) -> np.ndarray:
        height, width = part.shape[:2]
        result = network(np.pad(part, ((0, size - height), (0, size - width), (0, 0)), mode="symmetric"))
        return result[: 2 * height, : 2 * width]

    def network(part: np.ndarray) -> np.ndarray:
        levels = np.rint(part * 255).astype(np.uint8).repeat(2, 0).repeat(2, 1).astype(np.float32)
        noise = (np.arange(levels.size) * 37 % 101).reshape(levels.shape).astype(np.float32) - np.float32(50.3)
        return (levels + (noise + levels[-1, -1, 0] / 8)) / 255

    code = """async ({ width, height, rgba, settings }) => {
      const { upscale, countTiles } = await import("./tiles.js");
      const { size } = settings;
      const calls = [];
      const network = async (part) => Float32Array.from({ length: part.length * 4 }, (_, i) => {
        const [y, x, channel] = [i / (size * 6) >> 1, (i / 3 >> 1) % size, i % 3];
        const noise = Math.fround(Math.fround(i * 37 % 101 - Math.fround(50.3)) + part.at(-3) / 8);
        const level = Math.fround(part[(y * size + x) * 3 + channel] + noise);
        return Math.fround(Math.fround(level / 255) * 255);
      });
      const data = Uint8ClampedArray.from(atob(rgba), (character) => character.charCodeAt());
      const output = await upscale({ width, height, data }, network, settings, (...args) => calls.push(args));
      let text = "";
      for (let i = 0; i < output.data.length; i += 999) text += String.fromCharCode(...output.data.slice(i, i + 999));
      return [btoa(text), output.width, output.height, calls, countTiles(width, height, settings)];
    }"""
    sizes = ((1, 1), (2, 70), (24, 25), (31, 40), (61, 77), (96, 50))
    for (height, width), (size, overlap) in zip(sizes * 2, [(32, 8)] * 6 + [(36, 11)] * 6, strict=True):
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        tile = size - overlap
        expected = tiles.upscale(pixels, partial(of_one_size, size), 2, tile=tile, overlap=overlap)
        rgba = np.dstack([pixels, np.full((height, width), 7, np.uint8)]).tobytes()
        settings = {"scale": 2, "size": size, "overlap": overlap}
        image = {"width": width, "height": height, "rgba": base64.b64encode(rgba).decode(), "settings": settings}
        text, *sides, calls, count = page.evaluate(code, image)
        assert sides == [2 * width, 2 * height]
        got = np.frombuffer(base64.b64decode(text), np.uint8).reshape(2 * height, 2 * width, 4)
        np.testing.assert_array_equal(got[..., :3], expected)
        assert (got[..., 3] == 255).all()
        assert calls == [[done, count] for done in range(1, count + 1)]
        assert count == tiles.count_tiles(height, width, tile, overlap)


@pytest.mark.parametrize(("scale", "zero"), [(1 / 255, 0), (0.0043, 7), (0.003, 0), (1 / 254, 1)])
def test_bytes_stand_for_what_they_do_in_python(page, scale, zero):
    end = {"dtype": np.uint8, "quantization": (float(np.float32(scale)), zero)}
    levels = np.arange(256, dtype=np.float32)
    numbers = {"type": "uint8", "scale": end["quantization"][0], "zero": zero}
    given = own_worker(page).evaluate("(numbers) => Array.from(numbersOfLevels(numbers))", numbers)
    np.testing.assert_array_equal(given, quantized(levels / np.float32(255), end))
    meant = own_worker(page).evaluate("(numbers) => Array.from(levelsOfNumbers(numbers))", numbers)
    np.testing.assert_array_equal(meant, dequantized(np.arange(256, dtype=np.uint8), end) * np.float32(255))


def test_memory_does_not_grow_with_the_tiles(page, save_image):
    grown = []
    for _ in range(3):
        enlarge(page, save_image("face.png", noise(400)))
        code = "import('./runtime/core.js').then((core) => core.getGlobalLiteRt().liteRtWasm.HEAPU8.length)"
        grown.append(own_worker(page).evaluate(code))
    assert grown[2] == grown[1]  # 81 tiles, each of 0.8 MB


def test_threads_are_used_where_the_headers_allow_them(page):
    assert page.evaluate("crossOriginIsolated")
    threads = min(4, page.evaluate("navigator.hardwareConcurrency"))
    about = page.locator("#about").inner_text()
    assert about.startswith(f"Network face_float32, float32, tiles of 64 × 64 pixels, {threads} thread")
    assert any(url.endswith("litert_wasm_threaded_internal.wasm") for url in page.requests)


@pytest.mark.parametrize("lacking", ["headers", "relaxed SIMD"])
def test_lesser_servers_and_browsers_do_it_too(request, visit, sites, models, save_image, lacking):
    if lacking == "headers":
        page, binary = request.getfixturevalue("plain"), "litert_wasm_internal"
    else:  # which LiteRT.js finds out by a program of a few bytes
        prefix = "const all = WebAssembly.instantiate; WebAssembly.instantiate = (program, ...rest) => "
        prefix += "program.length < 99 ? Promise.reject(new Error('no')) : all(program, ...rest);"
        page, binary = visit(sites["float32"], prefix), "litert_wasm_compat_internal"
    assert page.locator("#about").inner_text().endswith("1 thread.")
    assert f"{page.address}/runtime/wasm/{binary}.wasm" in page.requests
    pixels = astronaut(40, 60)
    expected = in_python(models["float32"], pixels)
    assert_same(enlarged(page, save_image("face.png", pixels)), expected)
    check(page)


def test_a_site_that_lacks_a_file_says_so(visit, sites):
    page = visit(sites["float32"], "self.fetch = async () => new Response('', { status: 404 });")
    expected = "The network cannot be loaded here (model.json: 404). Reload the page, or try a newer browser."
    assert page.get_by_role("alert").inner_text() == expected
    assert not page.locator("#start").is_visible()


def test_a_turned_photo_becomes_upright(page, models, tmp_path):
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6  # EXIF's orientation: turn it clockwise
    Image.fromarray(astronaut(60, 90)).save(path, exif=exif, quality=95, subsampling=0)
    upright = np.rot90(np.asarray(Image.open(path)), -1)
    assert upright.shape == (90, 60, 3)
    expected = in_python(models["float32"], upright).astype(int)
    # The decoders may differ in the last bit.
    assert np.abs(enlarged(page, path) - expected).mean() < 0.5


def test_transparent_photos_stand_on_white(page, models, save_image):
    alpha = np.tile(np.linspace(0, 255, 70).astype(np.uint8), (50, 1))
    photo = Image.fromarray(np.dstack([astronaut(50, 70), alpha]))
    flat = np.asarray(Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB"))
    got = enlarged(page, save_image("cut.png", np.asarray(photo)))
    expected = in_python(models["float32"], flat).astype(int)
    assert np.abs(got - expected).max() <= 6  # the canvas rounds twice
    assert "What was transparent is white now." in page.inner_text("#facts")
    enlarge(page, save_image("opaque.png", np.dstack([astronaut(50, 70), np.full((50, 70), 255, np.uint8)])))
    assert "white" not in page.inner_text("#facts")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "text.png",
            b"this is text",
            "text.png is not a picture that this browser can read. Try a JPEG, PNG or WebP.",
        ),
        ("none.jpg", b"", "none.jpg is not a picture"),
        ("area.png", (2001, 2000), "This photo has 2001 × 2000 pixels, which is too large: at most 4 million,"),
        (
            "side.png",
            (4097, 5),
            "This photo has 4097 × 5 pixels, which is too large: at most 4 million, and 4096 a side",
        ),
    ],
)
def test_what_cannot_be_enlarged_is_said_and_the_page_goes_on(page, save_image, tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.new("RGB", content).save(path)
    page.set_input_files("#file", path)
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text().startswith(message)
    assert page.get_by_role("button", name="Choose a photo").is_visible()
    assert not page.locator("#busy").is_visible()
    enlarge(page, save_image("face.png", astronaut(20, 20)))
    assert not page.get_by_role("alert").is_visible()


PASTE = """(text, name) => {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt());
  window.data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  return new ClipboardEvent("paste", { clipboardData: data });
}"""


def in_base64(pixels: np.ndarray) -> str:
    """A PNG file as text."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def act(page, file: Path, progress: str, code: str) -> None:
    """Enlarges a file, and lets the page do something as soon as it tells of some progress."""
    page.evaluate(
        f"""() => {{
          const count = document.getElementById("count");
          window.acted = new Promise((resolve) => new MutationObserver((_, observer) => {{
            if (count.textContent !== "{progress}") return;
            observer.disconnect();
            window.before = heard.length;
            {code};
            resolve();
          }}).observe(count, {{ childList: true }}));
        }}"""
    )
    page.set_input_files("#file", file)
    page.evaluate("acted")


CANCEL = 'document.getElementById("cancel").click()'
FIRST = "Tile 1 of 529"  # 23 rows of 23


def heard_since_then(page) -> list:
    """Job, tile, number of tiles and whether there is a result, of all that the worker has said since `act`."""
    code = "heard.slice(before).map(({ job, tile, of, result }) => [job, tile ?? 0, of ?? 0, Boolean(result)])"
    return page.evaluate(code)


def test_cancel_ends_the_work(page, models, save_image):
    act(page, save_image("long.png", noise(1000)), FIRST, CANCEL)
    assert page.get_by_role("button", name="Choose a photo").is_visible()
    assert not page.get_by_role("progressbar", name="Tiles done").is_visible()
    pixels = astronaut(20, 30)
    got = enlarged(page, save_image("face.png", pixels))
    assert_same(got, in_python(models["float32"], pixels))
    heard = heard_since_then(page)
    assert len([tile for _, tile, of, _ in heard if of == 529]) <= 20  # what was on its way
    assert [job for job, *_, done in heard if done] == [heard[-1][0]]  # one result, of the second job


@pytest.mark.parametrize("late", ["tile: 7, of: 9", "refusal: 'no'", "result: { blob: new Blob(), seconds: 1 }"])
def test_what_comes_of_an_ended_job_is_ignored(page, save_image, late):
    act(page, save_image("long.png", noise(1000)), FIRST, CANCEL)
    message = f"new MessageEvent('message', {{ data: {{ job: heard[0].job, {late} }} }})"
    page.evaluate(f"heardWorker.dispatchEvent({message})")
    page.wait_for_timeout(100)
    assert page.locator("#start").is_visible()
    assert not page.locator("#done").is_visible()
    assert not page.get_by_role("alert").is_visible()
    assert page.locator("#count").text_content() != "Tile 7 of 9"


def test_another_photo_takes_the_place_of_one_under_way(page, save_image):
    paste = f'document.dispatchEvent(({PASTE})("{in_base64(astronaut(20, 30))}", "face.png"))'
    act(page, save_image("long.png", noise(1000)), FIRST, paste)
    page.locator("#done").wait_for()
    assert result(page).shape == (80, 120, 3)
    assert page.file_name == "face_x4.png"
    heard = heard_since_then(page)
    assert len([tile for _, tile, of, _ in heard if of == 529]) <= 20
    assert [done for *_, done in heard].count(True) == 1


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_photos_can_be_pasted_and_dropped(page, way):
    page.evaluate(
        f"""([way, text]) => {{
          document.dispatchEvent(new ClipboardEvent("paste", {{ clipboardData: new DataTransfer() }})); // no file
          let event = ({PASTE})(text, "image.png");
          for (const type of way === "drop" ? ["dragover", "drop"] : []) {{
            event = new DragEvent(type, {{ dataTransfer: data, cancelable: true }});
            if (document.dispatchEvent(event)) throw new Error("the browser would open the file itself");
          }}
          if (way === "paste") document.dispatchEvent(event);
        }}""",
        [way, in_base64(astronaut(20, 30))],
    )
    page.locator("#done").wait_for()
    assert result(page).shape == (80, 120, 3)
    assert page.file_name == "image_x4.png"


def shares(page) -> tuple[str, str, str]:
    """How much of the photo as it was is shown: as the range has it, as it is read out, and as it is cut."""
    clip = page.locator("#before").evaluate("(picture) => getComputedStyle(picture).clipPath")
    split = page.locator("#split")
    return (
        split.input_value(),
        split.get_attribute("aria-valuetext"),
        clip.replace("calc(100% - ", "").replace(")", ""),
    )


def test_before_and_after_by_keyboard_mouse_and_touch(page, save_image):
    enlarge(page, save_image("face.png", astronaut(60, 80)))
    assert page.evaluate("document.activeElement.id") == "split"
    assert shares(page)[:2] == ("50", "50 % before")
    page.keyboard.press("ArrowLeft")
    assert shares(page)[:2] == ("49", "49 % before")
    page.keyboard.press("Home")
    assert page.get_by_role("slider", name="How much of the photo as it was is shown").input_value() == "0"

    box = page.locator("#compare").bounding_box()
    y = box["y"] + 40
    page.mouse.move(box["x"] + box["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, y)
    assert shares(page)[0] == "75"
    page.mouse.move(box["x"] + box["width"] + 50, y)
    page.mouse.up()
    assert shares(page)[:2] == ("100", "100 % before")
    page.mouse.move(box["x"] + 5, y)
    assert shares(page)[0] == "100"
    page.touchscreen.tap(box["x"] + box["width"] * 0.25, y)
    assert shares(page)[:2] == ("25", "25 % before")


def test_each_side_of_the_divider_shows_its_picture(page, save_image):
    got = enlarged(page, save_image("black.png", noise(160)[:120] % 2))
    middle = got[200:280, 440:520].mean((0, 1))  # what the network makes of black, far from the edges
    assert middle.max() > 5
    screen = np.asarray(Image.open(io.BytesIO(page.locator("#compare").screenshot())).convert("RGB")).astype(float)
    assert screen.shape[1:] == (640, 3)
    assert screen[200:280, 120:200].max() <= 1
    assert np.abs(screen[200:280, 440:520].mean((0, 1)) - middle).max() < 3


def test_a_result_larger_than_the_window_is_shown_at_its_size(page, save_image):
    page.set_viewport_size({"width": 380, "height": 700})
    enlarge(page, save_image("face.png", astronaut(150, 120)))
    zoom = page.get_by_role("button", name="Actual size")
    assert page.locator("#compare").bounding_box()["width"] <= 380
    zoom.click()
    assert zoom.get_attribute("aria-pressed") == "true"
    assert page.locator("#compare").bounding_box()["width"] == 480
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    assert page.locator("#scroller").evaluate("(scroller) => scroller.scrollLeft") > 0  # its middle is in view
    zoom.click()
    assert page.locator("#compare").bounding_box()["width"] <= 380
    enlarge(page, save_image("small.png", astronaut(20, 20)))
    assert not zoom.is_visible()


@pytest.mark.parametrize("width", [380, 1280])
def test_nothing_is_wider_than_the_window_and_colours_follow_the_system(page, save_image, width):
    page.set_viewport_size({"width": width, "height": 800})
    for file in (__file__, save_image("face.png", astronaut(60, 100))):  # an alert, then a result
        page.set_input_files("#file", file)
        page.locator("#busy").wait_for(state="hidden")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    levels = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        style = "(body) => [getComputedStyle(body).backgroundColor, getComputedStyle(body).color]"
        levels[scheme] = [int(text[4:].split(",")[0]) for text in page.locator("body").evaluate(style)]
    assert levels["light"][0] > 200 > 60 > levels["light"][1]
    assert levels["dark"][0] < 60 < 200 < levels["dark"][1]


def test_once_loaded_it_needs_no_network(page, save_image):
    page.context.set_offline(True)
    try:
        assert enlarged(page, save_image("face.png", astronaut(30, 30))).shape == (120, 120, 3)
    finally:
        page.context.set_offline(False)


def test_it_starts_again_without_its_server(visit, models, runtime, save_image, tmp_path):
    build.build(models["uint8"], tmp_path / "site")
    with served(tmp_path / "site") as address:
        page = visit(address, service_workers="allow")
        page.evaluate("navigator.serviceWorker.ready.then(() => {})")
        for _ in range(200):
            kept = page.evaluate("caches.open('keras-fsr').then((cache) => cache.keys()).then((keys) => keys.length)")
            if kept:  # they are put in all at once
                break
            page.wait_for_timeout(50)
    page.goto(f"{address}/index.html")  # another name of the page
    page.locator("#loading").wait_for(state="hidden")
    assert page.evaluate("crossOriginIsolated")
    assert enlarged(page, save_image("face.png", astronaut(30, 30))).shape == (120, 120, 3)
    page.mistakes.clear()  # what the browser says of the server that is gone


@contextlib.contextmanager
def stranger():
    """Another server, that would answer anybody: its address, and the paths that it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Cross-Origin-Resource-Policy", "cross-origin")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_policy_stops_the_page_and_its_worker_from_speaking_to_others(page, plain):
    with stranger() as (address, asked):
        speak = f"fetch('{address}/secret').then(() => 'answered', () => 'stopped')"
        for speaker in (page, own_worker(page), plain):  # without headers the page has its own policy
            assert speaker.evaluate(speak) == "stopped"
        assert asked == []
        assert own_worker(plain).evaluate(speak) == "answered"  # so the others would have been seen
        assert asked == ["/secret"]
    for speaker in (page, plain):
        assert any("Content Security Policy" in mistake for mistake in speaker.mistakes)
        speaker.mistakes.clear()
        speaker.requests[:] = [url for url in speaker.requests if not url.startswith(address)]


def test_files_name_no_other_server():
    for name in build.PAGE:
        text = (FOLDER / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")  # only a name
        assert re.findall(r"""\w+://|["'(=]//""", text) == [], name


def test_every_control_has_a_name(page, save_image):
    enlarge(page, save_image("face.png", astronaut(200, 200)))
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, progress, img")]
          .filter((e) => !(e.ariaLabel || e.alt || e.textContent.trim())).map((e) => e.outerHTML)"""
    )
    assert nameless == []
