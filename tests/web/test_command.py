"""`keras-fsr web`: its password, its refusals, its start and its end."""

import os
import signal
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

import keras_fsr
from keras_fsr import cli
from keras_fsr.commands import web

needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio: pip install '.[web]'")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_password_of_file_and_of_environment(tmp_path, monkeypatch):
    file = tmp_path / "password.txt"
    file.write_bytes(b" pass word \r\nsecond line\n")
    monkeypatch.setenv(web.PASSWORD_VARIABLE, "other")
    assert web.read_login("me", file) == ("me", " pass word ")
    assert web.read_login("me", None) == ("me", "other")
    assert web.read_login(None, None) is None


def test_a_password_may_come_from_a_pipe(tmp_path):
    file = tmp_path / "pipe"
    os.mkfifo(file)
    writer = threading.Thread(target=file.write_text, args=("secret\nnot this\n",))
    writer.start()
    assert web.read_login("me", file) == ("me", "secret")
    writer.join()


@pytest.mark.parametrize("case", ["no name", "no password", "empty", "missing", "binary"])
def test_half_a_login_is_refused(tmp_path, monkeypatch, capfd, case):
    monkeypatch.delenv(web.PASSWORD_VARIABLE, raising=False)
    file = tmp_path / "password.txt"
    contents = {"no name": b"secret", "empty": b"\nx", "binary": b"\xff\xfe"}
    if case in contents:
        file.write_bytes(contents[case])
    name = [] if case == "no name" else ["--user", "me"]
    password = [] if case == "no password" else ["--password-file", str(file)]
    assert cli.main(["web", *name, *password]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert ("me: no password" if case == "no password" else "password.txt: ") in error
    assert "secret" not in error


@needs_gradio
def test_a_port_in_use_is_one_line(capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["web", "--port", str(port)]) == 2
    assert capfd.readouterr().err == (
        f"keras-fsr: error: 127.0.0.1:{port}: cannot be listened on; choose another --port or --host\n"
    )


@needs_gradio
@pytest.mark.parametrize("host", ["a..b", "a" * 70, "\udce9", "192.0.2.1", "::g"])
def test_no_address_is_one_line(host, monkeypatch, capfd):
    monkeypatch.setenv(web.PASSWORD_VARIABLE, "secret")
    assert cli.main(["web", "--host", host, "--user", "me", "--port", "7899"]) == 2
    shown = host.replace("\udce9", "?")
    assert capfd.readouterr().err == (
        f"keras-fsr: error: {shown}:7899: cannot be listened on; choose another --port or --host\n"
    )


@pytest.mark.parametrize(("option", "most"), [("--port", 65535), ("--max-upload", 1000000)])
def test_numbers_have_an_end(capfd, option, most):
    with pytest.raises(SystemExit):
        cli.main(["web", option, "9" * 30])
    assert f"argument {option}: {'9' * 30} is above {most}" in capfd.readouterr().err


@needs_gradio
def test_settings_of_gradio_need_not_be_numbers():
    environment = {**os.environ, "PYTHONPATH": str(Path(keras_fsr.__file__).parents[1]), "GRADIO_NUM_PORTS": "x"}
    subprocess.run([sys.executable, "-c", "import keras_fsr.web.serve"], env=environment, check=True)


@needs_gradio
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_leaves_nothing(tmp_path, end):
    port, package = free_port(), Path(keras_fsr.__file__).parents[1]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(package)}
    # A proxy that nobody runs: the server must not look for itself behind it.
    environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "keras_fsr.cli", "web", "--port", str(port), "--host"]
    command += ["127.0.0.1" if end == signal.SIGINT else "0.0.0.0"]
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    try:
        line = process.stdout.readline()
        assert line.endswith(f":{port}/ (Ctrl+C ends it)\n"), process.communicate(timeout=30)
        assert len(list(tmp_path.glob("keras-fsr-web-*"))) == 1
        process.send_signal(end)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert list(tmp_path.glob("keras-fsr-web-*")) == []
    if end == signal.SIGINT:
        assert (process.returncode, errors) == (130, "keras-fsr: interrupted\n")
    else:
        assert process.returncode == 0
        assert errors.startswith("keras-fsr: no password: ")
        assert errors.count("\n") == 1
