"""What the guard lets through to the server behind it, and what it answers itself."""

import asyncio
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from keras_fsr.web import guard


def ask(path="/", headers=None, body=(b"",), local=True, max_body=100, kind="http"):
    """(status, headers, what the application behind got) of a request; the last is None where it got nothing."""
    got, sent, messages = [], [], [{"type": "http.request", "body": part, "more_body": True} for part in body]

    async def behind(scope, receive, send):
        got.append(scope)
        for _ in body:
            got.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    headers = {"host": "localhost:7860"} | (headers or {})
    scope = {"type": kind, "path": path, "headers": [(n.encode(), v.encode()) for n, v in headers.items()]}
    asyncio.run(guard.Guard(behind, local, max_body, Path("/"))(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), got or None


def test_the_page_passes_with_headers_that_keep_it_at_home():
    status, headers, got = ask()
    assert status == 200
    assert got[0]["path"] == "/"
    assert headers[b"x-own"] == b"1"
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http" not in headers[b"content-security-policy"]
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("http://localhost:7860", True),
        ("https://localhost:7860", True),
        ("http://localhost:7861", False),
        ("http://evil.example", False),
        ("http://localhost:7860.evil.example", False),
        ("null", False),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_other_origins_are_refused(origin, passes, local):
    status, _, got = ask("/gradio_api/queue/join", {"origin": origin}, local=local)
    assert status == (200 if passes else 403)
    assert (got is not None) == passes


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "127.0.0.1:1", "[::1]:7860", "LOCALHOST"])
def test_a_local_server_answers_to_local_names(host):
    assert ask(headers={"host": host})[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "localhost.evil.example", "", "[x"])
def test_a_local_server_answers_to_no_other_name(host):
    status, _, got = ask(headers={"host": host})
    assert status == 403
    assert got is None


def test_a_server_for_others_answers_to_any_name():
    assert ask(headers={"host": "studio.example"}, local=False)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=https://example.com/x.png",
        "/gradio_api/file=HTTP://example.com/x.png",
        "/gradio_api/proxy=https://example.hf.space/x",
        "/gradio_api/component_server",
        "/gradio_api/vibe-edit/",
        "/gradio_api/runs",
        "/gradio_api/call/enlarge",
        "/gradio_api/upload_progressx",
        "/monitoring",
        "/openapi.json",
        "/docs",
    ],
)
def test_what_the_page_does_not_need_is_not_there(path):
    status, _, got = ask(path)
    assert status == 404
    assert got is None


@pytest.mark.parametrize(
    "path", ["/gradio_api/upload", "/gradio_api/file=/tmp/a.png", "/assets/a.js", "/login/", "/config"]
)
def test_what_the_page_needs_is(path):
    assert ask(path)[0] == 200


@pytest.mark.parametrize("length", ["101", "-1", "x", "99999999999999999999"])
def test_a_request_that_says_that_it_is_too_large_is_refused_unread(length):
    status, headers, got = ask("/gradio_api/upload", {"content-length": length})
    assert status == 413
    assert got is None
    assert headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/upload/"])
def test_uploads_end_before_the_disk_is_full(monkeypatch, path):
    usage, free = namedtuple("usage", "free"), guard.RESERVE + 100
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(free))
    assert ask(path)[0] == 200
    free -= 1
    status, _, got = ask(path)
    assert status == 507
    assert got is None
    assert ask("/config")[0] == 200


def test_one_that_does_not_say_is_broken_off():
    status, _, got = ask("/gradio_api/upload", {"content-length": "100"}, body=(b"x" * 60, b"x" * 40))
    assert status == 200
    assert len(got) == 3
    status, _, got = ask("/gradio_api/upload", body=(b"x" * 60, b"x" * 41))
    assert status == 413
    assert len(got) == 2
