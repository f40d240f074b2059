"""Photos, the page on a free port, and Chromium to look at it."""

import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

MODELS = ("face_x4", "face_x4_gan")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def turned(tmp_path):
    """A JPEG that lies on its side, 40 x 28 pixels when upright, with a colour profile."""
    path = tmp_path / "turned face.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise(40, 28)).save(path, exif=exif, icc_profile=profile)
    return path


@pytest.fixture
def astronaut(save_image):
    """A photo of 128 x 128 pixels with a face in it."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for its photo")
    return save_image("astronaut.png", data.astronaut()[:256:2, 96:352:2])


@pytest.fixture(scope="session")
def serve():
    """Serves the page with some settings: a context manager that yields (address, folder of its files)."""
    pytest.importorskip("gradio", reason="needs gradio: pip install '.[web]'")
    from keras_fsr.web import serve as module

    @contextmanager
    def serving(**settings):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with module.served(module.Settings(port=port, **settings), MODELS) as address:
            import os

            yield address.rstrip("/"), Path(os.environ[module.FOLDER_VARIABLE])

    return serving


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the browser chromium on the PATH")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()
