"""The server of the page: its folder of temporary files, what stands before it, its end."""

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import gradio as gr
from starlette.middleware import Middleware

from keras_fsr.errors import FSRError
from keras_fsr.web import page
from keras_fsr.web.guard import LOOPBACK, Guard
from keras_fsr.web.jobs import Jobs, Predictors

FOLDER_VARIABLE = "GRADIO_TEMP_DIR"
BESIDES = 1_000_000  # bytes of a request besides the photo
SESSIONS = (
    64  # of which Gradio keeps the page's settings, 40 kB each; by default of 10,000, and they are all the same
)


class Settings(NamedTuple):
    """How the page is served.

    host, port: the address to listen on; names of this computer other than those of `LOOPBACK` let others in.
    max_pixels, max_upload: of a photo; the latter in bytes.
    queue: jobs that wait; at_once: jobs that are worked on.
    login: name and password, None for neither.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    max_pixels: int = 4_000_000
    max_upload: int = 32 * 2**20
    queue: int = 16
    at_once: int = 2
    login: tuple[str, str] | None = None


@contextmanager
def served(settings: Settings, models: Sequence[str]) -> Iterator[str]:
    """Serves the page for shipped models, the first of which is chosen; yields its address.

    At the end jobs are cancelled, and photos and results deleted.

    Raises:
        FSRError: the address is taken or is none of this computer's.
    """
    with _folder() as folder:
        jobs = Jobs(folder, Predictors(settings.max_pixels))
        blocks = page.build(jobs, models, settings.max_pixels, settings.at_once, settings.queue)
        try:
            yield _launch(blocks, settings, folder)
        finally:
            jobs.cancel_all()
            blocks.close(verbose=False)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder in which Gradio, too, keeps its files; it asks for it at every upload."""
    before = os.environ.get(FOLDER_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="keras-fsr-web-", ignore_cleanup_errors=True) as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(FOLDER_VARIABLE)
            if before:
                os.environ[FOLDER_VARIABLE] = before


def _launch(blocks: gr.Blocks, settings: Settings, folder: Path) -> str:
    host = settings.host.strip("[]")
    guard = Middleware(Guard, host in LOOPBACK, settings.max_upload + BESIDES, folder)
    try:
        _check_address(host, settings.port)
        _, address, _ = blocks.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=settings.port,
            auth=settings.login,
            max_file_size=settings.max_upload,
            state_session_capacity=SESSIONS,
            app_kwargs={"middleware": [guard]},
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            theme=page.THEME,
            css=page.STYLE,
            js=page.SCRIPT,
        )
    except (OSError, OverflowError, ValueError):
        raise FSRError(f"{host}:{settings.port}: cannot be listened on; choose another --port or --host") from None
    return address


def _check_address(host: str, port: int) -> None:
    """Listens for a moment: where Gradio's server cannot, it says so at length, and late."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    socket.create_server(address, family=family).close()
