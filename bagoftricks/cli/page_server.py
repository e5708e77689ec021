"""Server of one page on this machine, which makes it again when it changes. It reads nothing of the disk by itself."""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bagoftricks.errors import UserError

LOCAL_ADDRESS = "127.0.0.1"  # other machines cannot reach it
LOOK_SECONDS = 1.0  # between two looks at the store
AGAIN_SECONDS = 20.0  # after which the page is made again all the same: a process that ends leaves no trace
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageServer(ThreadingHTTPServer):
    """Server that answers with the page that it was given last."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.page, self.version = b"", ""
        try:
            super().__init__((LOCAL_ADDRESS, port), PageHandler)
        except (OSError, OverflowError) as error:
            in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            why = "another program has it" if in_use else str(error)
            raise UserError(f"port={port}: {why}: type another, or port=0 for any that is free") from error

    @property
    def address(self) -> str:
        """Address to type into a browser."""
        return f"http://{LOCAL_ADDRESS}:{self.server_port}/"

    def show(self, page: str) -> None:
        """Answer with this page from now on; its version is the digest of its text."""
        version = hashlib.sha256(page.encode()).hexdigest()[:16]
        marked = page.replace("<html ", f'<html data-version="{version}" ', 1).encode()
        self.page, self.version = marked, version

    def hosts(self) -> set[str]:
        """Return the values of Host that a request may have: a page of elsewhere may have a name that leads here."""
        return {f"{name}:{self.server_port}" for name in (LOCAL_ADDRESS, "localhost")}


class PageHandler(BaseHTTPRequestHandler):
    """Answers to the page and its version, and to nothing else."""

    server: PageServer
    server_version, sys_version = "bagoftricks", ""
    timeout = 10.0  # seconds for a request to arrive

    def do_GET(self) -> None:
        """Answer with the page, or with its version."""
        if self.headers.get("Host") not in self.server.hosts():
            self._answer(HTTPStatus.FORBIDDEN, b"this address is not served\n", "text/plain")
        elif self.path == "/":
            self._answer(HTTPStatus.OK, self.server.page, "text/html")
        elif self.path == "/version":
            self._answer(HTTPStatus.OK, self.server.version.encode(), "text/plain")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is only one page\n", "text/plain")

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": f"{kind}; charset=utf-8", "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing about requests."""


def store_stamp(root: Path) -> object:
    """Return what changes when a run of the store begins, ends, or is saved, or a study does."""
    return [_times(root), _times(root / "studies")]


def _times(folder: Path) -> list[tuple[str, int]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.stat(follow_symlinks=False).st_mtime_ns) for entry in entries)
    except OSError:  # not there yet, or changing
        return []


def keep_serving(server: PageServer, make: Callable[[], str], stamp: Callable[[], object]) -> None:
    """Serve the page that ``make`` returns until an interruption; make it again when ``stamp`` changes."""
    seen, made = None, 0.0
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    try:
        while True:
            now = stamp()
            if now != seen or time.monotonic() - made > AGAIN_SECONDS:
                server.show(make())
                seen, made = now, time.monotonic()
            if thread.ident is None:
                thread.start()  # with a page to show
            time.sleep(LOOK_SECONDS)
    finally:
        if thread.ident is not None:
            server.shutdown()
        server.server_close()
