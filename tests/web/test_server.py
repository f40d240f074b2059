"""The server, asked past the page: what it refuses, and that it deletes what it was given."""

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest

MAX_UPLOAD = 200_000


@pytest.fixture(scope="module")
def site(serve):
    with serve(max_upload=MAX_UPLOAD) as (address, folder):
        yield address, folder


FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


def multipart(content: bytes) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n'
    return head + content + b"\r\n--edge--\r\n"


def ask(address: str, method: str, path: str, body=None, headers=None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def call(address: str, photo: dict, session: str = "someone") -> str:
    """What the server says of a photo that is given past the page."""
    config = json.loads(ask(address, "GET", "/config")[1])
    (enlarging,) = [it["id"] for it in config["dependencies"] if it["api_name"] == "enlarge"]
    photo = photo | {"meta": {"_type": "gradio.FileData"}}
    order = {"data": [photo, "face_x4", 1, False], "fn_index": enlarging, "session_hash": session}
    body = json.dumps(order).encode()
    status, _ = ask(address, "POST", "/gradio_api/queue/join", body, {"Content-Type": "application/json"})
    assert status == 200
    return ask(address, "GET", f"/gradio_api/queue/data?session_hash={session}")[1].decode()


def test_files_of_the_server_and_addresses_are_not_taken(site, save_image, monkeypatch):
    fetched = []

    async def fetch(*_, **__):
        fetched.append(1)
        return str(outside)

    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", fetch)
    outside = save_image("outside.png", np.zeros((8, 8, 3), np.uint8))
    for path in (str(outside), f"{site[1]}/../{outside.name}", "https://example.com/x.png"):
        answer = call(site[0], {"path": path})
        assert '"success":false' in answer
        assert "became" not in answer
        assert ask(site[0], "GET", f"/gradio_api/file={path}")[0] in (403, 404)
    status, content = ask(site[0], "POST", "/gradio_api/upload", multipart(outside.read_bytes()), FORM)
    assert status == 200
    assert not fetched
    assert "8 × 8 became 32 × 32" in call(site[0], {"path": json.loads(content)[0]})


def test_other_sites_and_names_are_refused(site):
    join = ("POST", "/gradio_api/queue/join", b"{}")
    assert ask(site[0], *join, {"Origin": "http://evil.example"})[0] == 403
    assert ask(site[0], *join, {"Origin": site[0]})[0] == 422  # as far as Gradio
    assert ask(site[0], "GET", "/", None, {"Host": "evil.example"})[0] == 403


def test_photos_are_deleted_after_a_while(serve, save_image, monkeypatch):
    from keras_fsr.web import page

    monkeypatch.setattr(page, "KEEP", 1)
    monkeypatch.setattr(page, "SWEEP", 1)
    content = save_image("photo.png", np.zeros((8, 8, 3), np.uint8)).read_bytes()
    with serve() as (address, folder):
        path = json.loads(ask(address, "POST", "/gradio_api/upload", multipart(content), FORM)[1])[0]
        assert " became " in call(address, {"path": path})
        assert len([file for file in folder.rglob("*") if file.is_file()]) == 3  # it, and the two of the result
        deadline = time.monotonic() + 60
        while any(file.is_file() for file in folder.rglob("*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not [file for file in folder.rglob("*") if file.is_file()]
    assert not folder.exists()


def test_eight_users_are_answered_while_others_are_slow_or_vanish(serve, save_image, capfd):
    content = multipart(save_image("photo.png", np.zeros((8, 8, 3), np.uint8)).read_bytes())
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['Content-Type']}\r\n"
    head += f"Content-Length: {len(content)}\r\n\r\n"

    def use(number: int) -> str:
        path = json.loads(ask(address, "POST", "/gradio_api/upload", content, FORM)[1])[0]
        return call(address, {"path": path}, f"user{number}")

    with serve() as (address, folder):
        place = urlsplit(address)
        slow = [socket.create_connection((place.hostname, place.port), timeout=30) for _ in range(30)]
        for one in slow:
            one.sendall(head.encode() + content[:-20])
        for one in slow[::2]:
            one.close()
        with ThreadPoolExecutor(8) as users:
            answers = list(users.map(use, range(8)))
        assert all("8 × 8 became 32 × 32" in answer for answer in answers)
        for one in slow[1::2]:
            one.sendall(content[-20:])
            assert one.recv(12) == b"HTTP/1.1 200"
            one.close()
        # Equal uploads are one file; what was broken off lies in the folder itself.
        assert len([file for file in folder.glob("*/**/*") if file.is_file()]) == 8 * 2 + 1
    assert capfd.readouterr() == ("", "")


def test_too_large_a_request_is_refused(site, capfd):
    large = multipart(b"x" * (MAX_UPLOAD + 1))
    assert ask(site[0], "POST", "/gradio_api/upload", large, FORM)[0] == 413
    assert ask(site[0], "POST", "/gradio_api/queue/join", b"x", {"Content-Length": "99999999"})[0] == 413
    piecemeal = (
        b"x" * 100_000 for _ in range(20)
    )  # its length is not said; of a body that is broken off FastAPI says 400
    assert ask(site[0], "POST", "/gradio_api/queue/join", piecemeal, {"Content-Type": "application/json"})[0] == 400
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("method", "path"), [("GET", "/config"), ("POST", "queue/join"), ("POST", "upload")])
def test_without_the_password_nothing_is_to_be_had(locked, method, path):
    path = path if path.startswith("/") else f"/gradio_api/{path}"
    assert ask(locked, method, path, multipart(b"x"), FORM)[0] == 401


@pytest.fixture(scope="module")
def locked(serve):
    with serve(login=("me", "secret")) as (address, _):
        yield address
