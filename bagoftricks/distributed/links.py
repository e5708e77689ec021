"""Detect lost ranks: rank 0 holds a connection to each other rank, which breaks when a rank dies.

A collective of gloo fails when a peer dies; one of NCCL hangs. So a thread watches the connections: when one breaks
without a goodbye, the process has a few seconds to end by itself, then it is ended. Errors travel over the same
connection, so that rank 0 can print them. Messages are JSON, after a handshake with a random key.
"""

import json
import os
import secrets
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import Any

from bagoftricks.errors import RankFailed, RankLost, Remote, UserError, printable

GRACE_SECONDS = 5.0  # for the main thread to notice a lost peer by itself
REASON_SECONDS = 2.0  # for the error message to arrive after a collective has failed
Message = dict[str, str]
BYE: Message = {}
EXPECTED = ("TrainingFailed", "RunElsewhere", "RankLost")  # errors that one line explains


def error_message(error: BaseException) -> Message:
    """Return an error as a message."""
    kind = "user" if isinstance(error, UserError) else "interrupted" if isinstance(error, KeyboardInterrupt) else ""
    kind = "expected" if type(error).__name__ in EXPECTED else kind
    lines = f"{error}".splitlines() or [type(error).__name__]
    return {
        "kind": kind,
        "name": type(error).__name__,
        "text": lines[0],
        "trace": "".join(traceback.format_exception(error)),
    }


def error_from_message(message: Message, who: str = "", known: tuple[type[Exception], ...] = ()) -> BaseException:
    """Return the error of a message: UserError, KeyboardInterrupt, one of the ``known`` ones, or RankFailed."""
    name, text = message["name"], message["text"]
    if message["kind"] == "user":
        return UserError(text)
    if message["kind"] == "interrupted":
        return KeyboardInterrupt(text)
    if message["kind"] == "expected":
        kind: type[Exception] = next((kind for kind in known if kind.__name__ == name), RankLost)
        return kind(f"{who}: {text}" if who else text)
    named = text if name == RankFailed.__name__ else f"{name}: {text}"
    error = RankFailed(f"{who}: {named}" if who else named)
    error.__cause__ = Remote("\n" + message["trace"])
    return error


class Link:
    """Connections of one rank: to all the others on rank 0, to rank 0 on the others."""

    def __init__(self, names: dict[Connection, str], on_peer_lost: Callable[[BaseException], object]) -> None:
        self.names, self.on_peer_lost = names, on_peer_lost
        self.trouble: BaseException | None = None
        self.known, self.over = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def reason(self) -> BaseException:
        """Return the reason for a failed collective: a peer's error, or RankLost."""
        self.known.wait(REASON_SECONDS)
        return self.trouble or RankLost("the connection to another rank broke")

    def shutdown(self, error: BaseException | None) -> None:
        """Send a goodbye, or the error."""
        self.over.set()
        message = json.dumps(BYE if error is None else error_message(error)).encode()
        for connection in self.names:
            with suppress(OSError, ValueError):
                connection.send_bytes(message)

    def _watch(self) -> None:
        left = dict(self.names)
        while left and self.trouble is None:
            for connection in wait(list(left)):
                assert isinstance(connection, Connection)
                who = left.pop(connection)
                message = _received(connection)
                if message != BYE and self.trouble is None:
                    lost = RankLost(f"{who} is gone: it was killed, or its machine was lost")
                    self.trouble = lost if message is None else error_from_message(message, who)
        if self.trouble is None:
            return
        self.known.set()
        if not self.over.wait(GRACE_SECONDS):  # the main thread waits for a message that will never come
            self.shutdown(self.trouble)
            self.on_peer_lost(self.trouble)
            os._exit(1)


def _received(connection: Connection) -> Message | None:
    try:
        message: Message = json.loads(connection.recv_bytes())
    except (OSError, EOFError):
        return None
    return message


def open_link(rank: int, size: int, host: str, exchange: Callable[[Any], Any]) -> Link:
    """Connect the ranks. ``exchange`` returns rank 0's value on every rank; rank 0 can be reached at ``host``."""
    me = f"rank {rank} (process {os.getpid()} on {socket.gethostname()})"
    if rank:
        port, key = exchange(None)
        connection = Client((host, port), authkey=key)
        connection.send_bytes(me.encode())
        return Link({connection: connection.recv_bytes().decode()}, lambda error: None)
    key = secrets.token_bytes(32)
    found: dict[Connection, str] = {}
    with Listener(("", 0), backlog=size, authkey=key) as listener:
        exchange((listener.address[1], key))
        for _ in range(size - 1):
            peer = listener.accept()
            found[peer] = peer.recv_bytes().decode()
            peer.send_bytes(me.encode())
    return Link(found, _print_line)


def _print_line(error: BaseException) -> None:
    print(printable(f"bot-train: {error}"), file=sys.stderr, flush=True)
