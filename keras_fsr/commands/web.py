"""`keras-fsr web`: the page in the browser, for this computer alone unless told otherwise."""

import os
import signal
import sys
import threading
from pathlib import Path

from keras_fsr.commands.shared import add_command, number_to, positive
from keras_fsr.errors import FSRError

FIRST = ("face_x4", "face_x4_gan", "face_x4_real")
"""The models that are shown before the others."""
PASSWORD_VARIABLE = "KERAS_FSR_PASSWORD"
LARGEST_PASSWORD = 1000  # letters


def add(commands) -> None:
    parser = add_command(
        commands,
        "web",
        "serve a page on which photos are enlarged, to this computer alone",
        "keras-fsr web --open",
        "keras-fsr web --host 0.0.0.0 --user studio --password-file password.txt",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets others in (127.0.0.1)"
    )
    parser.add_argument("--port", type=number_to(65535), default=7860, help="(7860)")
    parser.add_argument("--user", help="name to log in by, with the password of the file or of " + PASSWORD_VARIABLE)
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="file whose first line is the password")
    parser.add_argument("--max-pixels", type=positive, default=4_000_000, help="refuse larger photos (4000000)")
    parser.add_argument(
        "--max-upload", type=number_to(10**6), default=32, metavar="MB", help="refuse larger files (32)"
    )
    parser.add_argument("--jobs", type=positive, default=2, metavar="N", help="photos worked on at once (2)")
    parser.add_argument(
        "--queue", type=positive, default=16, metavar="N", help="photos that wait; more are refused (16)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.set_defaults(call=run)


def run(arguments) -> None:
    login = read_login(arguments.user, arguments.password_file)
    from keras_fsr import pretrained
    from keras_fsr.web.guard import LOOPBACK
    from keras_fsr.web.serve import Settings, served

    settings = Settings(
        arguments.host,
        arguments.port,
        arguments.max_pixels,
        arguments.max_upload * 2**20,
        arguments.queue,
        arguments.jobs,
        login,
    )
    if not login and arguments.host.strip("[]") not in LOOPBACK:
        print("keras-fsr: no password: whoever reaches this computer can use the page; see --user", file=sys.stderr)
    models = sorted(pretrained.names(), key=lambda name: ([*FIRST, name].index(name), name))
    ended = threading.Event()
    with served(settings, models) as address:
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        print(f"{address} (Ctrl+C ends it)", flush=True)
        if arguments.open:
            import webbrowser

            webbrowser.open(address)
        ended.wait()


def read_login(user: str | None, file: Path | None) -> tuple[str, str] | None:
    """Name and password; None where there is no name.

    Raises:
        FSRError: a name without a password, a password file without a name, or one that cannot be read.
    """
    if not user:
        if file:
            raise FSRError(f"{file}: is of no use without a name; give it by --user")
        return None
    password = _first_line(file) if file else os.environ.get(PASSWORD_VARIABLE, "")
    if not password:
        raise FSRError(f"{file or user}: no password; give one in --password-file or in {PASSWORD_VARIABLE}")
    return user, password


def _first_line(file: Path) -> str:
    try:
        with open(file, encoding="utf-8-sig", newline="\n") as lines:  # perhaps a pipe: <(pass show web)
            return lines.readline(LARGEST_PASSWORD).strip("\r\n")
    except UnicodeDecodeError:  # which shows a byte of the password
        raise FSRError(f"{file}: cannot be read (no UTF-8 text)") from None
    except (OSError, ValueError) as error:
        raise FSRError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
