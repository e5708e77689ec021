"""A Ray cluster of several nodes on this machine, whose nodes and workers can be killed."""

import os
import secrets
import shutil
import signal
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

STORE_BYTES = 80 * 2**20  # of each node's memory for objects


class Nodes:
    """Cluster of nodes with one CPU each; the first has none for runs, as the one of a driver."""

    def __init__(self, count: int = 2) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self.cluster.address
        self.nodes: list[Any] = []
        for _ in range(count):
            self.add()

    def add(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))

    def kill_node(self, number: int) -> None:
        """Kill a node as a power cut would; its workers end with it."""
        self.cluster.remove_node(self.nodes.pop(number), allow_graceful=False)

    def workers(self) -> list[int]:
        """Processes that carry out a task of ours at the moment."""
        return [pid for pid, title in titles().items() if title.startswith("ray::train_on_node")]

    def kill_worker(self, number: int = 0) -> bool:
        with suppress(IndexError, ProcessLookupError):
            os.kill(self.workers()[number], signal.SIGKILL)
            return True
        return False

    def close(self) -> None:
        self.cluster.shutdown()


@contextmanager
def ray_nodes(count: int = 2):
    """A cluster that is gone after the block, with all its files."""
    folder = tempfile.mkdtemp(prefix="bot-nodes-")
    ours = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    nodes = None
    try:
        nodes = Nodes(count)
        yield nodes
    finally:
        if nodes is not None:
            nodes.close()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder, ignore_errors=True)


def titles() -> dict[int, str]:
    """Process -> what it calls itself."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return found
