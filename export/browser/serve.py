"""Serves a site that `build.py` has made to this computer alone: `python export/browser/serve.py site`.

The headers are what another server should send, too. The first two let the runtime use several threads; the policy
keeps the page, and its worker, from speaking to any other server.
"""

import argparse
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asks each time whether a file has changed
}


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder with the headers, whatever this system thinks that .js is."""

    extensions_map = {  # noqa: RUF012 -- as in the base class
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the browser's console tells what is missing."""


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder on 127.0.0.1; port 0 takes any that is free."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(folder)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    if not (arguments.folder / "index.html").is_file():
        print(f"serve: error: {arguments.folder}: holds no index.html; build the site first", file=sys.stderr)
        return 2
    try:
        running = server(arguments.folder, arguments.port)
    except OSError as error:
        print(f"serve: error: port {arguments.port}: {error.strerror}; choose another by --port", file=sys.stderr)
        return 2
    print(f"http://127.0.0.1:{arguments.port}/ (Ctrl+C ends it)", flush=True)
    try:
        running.serve_forever()
    except KeyboardInterrupt:
        running.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
