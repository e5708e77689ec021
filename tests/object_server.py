"""A real S3 server for tests, moto's, in a process of its own that ends with this one."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from bagoftricks.store.objects import Objects

SERVER = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(["-p", sys.argv[1]])
"""
NUMBERS = count()


class ObjectServer:
    """A server that runs; ``environment`` is what a command needs to reach it."""

    def __init__(self, port: int, process: subprocess.Popen) -> None:
        self.process = process
        self.address = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        """The address of a new bucket."""
        name = f"bucket{next(NUMBERS)}"
        request = urllib.request.Request(f"{self.address}/{name}", method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            return f"s3://{name}"

    def objects(self) -> Objects:
        """The objects of a new bucket, for this process."""
        from bagoftricks.store.cloud import CloudObjects

        os.environ.update(self.environment)
        return CloudObjects(f"{self.new_bucket()}/runs")


@contextmanager
def object_server(log: Path = Path(os.devnull)) -> Iterator[ObjectServer]:
    """Start a server, which writes its requests into ``log``; end it after the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(port)]
    with open(log, "ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
    try:
        server = ObjectServer(port, process)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{server.address}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, "moto's server has ended"
                time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def missing() -> str:
    """The package without which no server can be started; empty if all are there."""
    return next((name for name in ("moto", "flask_cors", "obstore") if find_spec(name) is None), "")
