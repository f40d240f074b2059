"""What stands before Gradio: it lets through what the page needs, from the page alone, and no more than the limit."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect

PAGES = (
    "",
    "assets/",
    "config",
    "favicon.ico",
    "login",
    "logout",
    "robots.txt",
    "static/",
    "theme.css",
)
API = (
    "cancel",
    "file=",
    "heartbeat/",
    "queue/",
    "reset",
    "run/",
    "startup-events",
    "upload",
    "upload_progress",
)
UPLOAD = "gradio_api/upload"
RESERVE = 100_000_000  # bytes of the disk that uploads leave free
LOOPBACK = ("localhost", "127.0.0.1", "::1")

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Guard:
    """An ASGI application before another.

    Args:
        app: the other.
        local: refuse names of this computer other than localhost, by which a page elsewhere could reach it
            (DNS rebinding).
        max_body: bytes of a request; larger ones get 413, or are broken off.
        folder: where uploads go; with less than `RESERVE` free on its disk they get 507.
    """

    def __init__(self, app, local: bool, max_body: int, folder: Path):
        self.app, self.local, self.max_body, self.folder = app, local, max_body, folder

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["path"], headers)
        if refusal:
            await _answer(send, *refusal)
            return
        answer = _Answer(send)
        try:
            with suppress(ClientDisconnect):  # of those who leave while they upload, the server has nothing to tell
                await self.app(scope, self._limited(receive), answer)
        except _TooLargeError:
            if not answer.begun:
                await _answer(send, *self._too_large())

    def _refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.local and _name(host) not in LOOPBACK:
            return 403, "this server answers to localhost alone; start it with --host for others"
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "requests of other sites are refused"
        if not allowed(path):
            return 404, "there is no such page"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.max_body:
            return self._too_large()
        if path.strip("/") == UPLOAD and shutil.disk_usage(self.folder).free < RESERVE + self.max_body:
            return 507, "the server has no room for more photos; try again in an hour"
        return None

    def _too_large(self) -> tuple[int, str]:
        return 413, f"the request is too large; at most {self.max_body / 1e6:.0f} MB are taken"

    def _limited(self, receive):
        """Breaks off a request that does not say its length and sends too much."""
        taken = 0

        async def limited() -> dict:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_body:
                raise _TooLargeError
            return message

        return limited


def allowed(path: str) -> bool:
    """Whether the page needs this path; Gradio has many more, some of which would fetch addresses for a caller."""
    path = path.removeprefix("/")
    if path.startswith("gradio_api/"):
        path, paths = path.removeprefix("gradio_api/"), API
    else:
        paths = PAGES
    if path.lower().startswith(("file=http:", "file=https:")):
        return False
    return any(path.startswith(p) if p.endswith(("/", "=")) else path.rstrip("/") == p for p in paths)


def _name(host: str) -> str | None:
    """A host without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


async def _answer(send, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _TooLargeError(Exception):
    """A request has sent more than it may."""


class _Answer:
    """Sends on what the application behind answers, with `HEADERS`."""

    def __init__(self, send):
        self._send, self.begun = send, False

    async def __call__(self, message: dict) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            message = {**message, "headers": [*message["headers"], *HEADERS]}
        await self._send(message)
