"""Connection to a Ray cluster: one that is there, or a new one on this machine, which ends with the command."""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

from bagoftricks.engines.scratch import scratch
from bagoftricks.errors import UserError, printable

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TQDM_PATCH_PRINT": "0",
}
OWN_FOLDERS = Path("/tmp")  # of new clusters; names of sockets must be short
REACH_SECONDS = 10.0  # to open a connection; Ray itself would try for minutes
STORE_BYTES = 512 * 2**20  # of a new cluster's memory for objects; what does not fit goes to its disk


@dataclass(frozen=True)
class NodeShare:
    """NodeShare of a node that one run takes."""

    cpus: float
    gpus: float

    def fits(self, resources: Mapping[str, float]) -> int:
        """Return the number of runs that a node with these resources can carry out at a time."""
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        rooms = [floor(there / each + 1e-9) for there, each in ((cpus, self.cpus), (gpus, self.gpus)) if each]
        return min(rooms, default=1)

    def words(self) -> str:
        """Return the share in words, as "1 GPU and 4 CPUs"."""
        return (f"{plural(self.gpus, 'GPU')} and " if self.gpus else "") + plural(self.cpus, "CPU")


def plural(number: float, of: str) -> str:
    """Return a number of things in words: "1 GPU", "0.5 GPUs"."""
    return f"{number:g} {of}{'s' * (number != 1)}"


def alive_nodes() -> list[dict[str, float]]:
    """Return the resources of each node that lives."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def cluster_line(nodes: list[dict[str, float]]) -> str:
    """Return one line about a cluster, as "8 CPUs, 2 GPUs on 2 nodes"."""
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    parts = [plural(cpus, "CPU")] + ([plural(gpus, "GPU")] if gpus else [])
    return f"{', '.join(parts)} on {plural(len(nodes), 'node')}"


@contextmanager
def connected(address: str, runtime_env: dict[str, Any]) -> Iterator[None]:
    """Be connected to a cluster within the block. Raises UserError if there is none at the address.

    A new one is on this machine alone and ends with the block; one that was there, or a connection that this process
    had before, is left as it is.
    """
    before = {name: os.environ.get(name) for name in (*QUIET, "RAY_AUTH_TOKEN", "RAY_AUTH_MODE")}
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    import ray

    if ray.is_initialized():
        yield
        return
    where = cluster_address(address)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "runtime_env": runtime_env}
    own = nullcontext() if where else scratch(OWN_FOLDERS, "bot-ray-")
    if not where:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray writes one into the home folder
        options |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        with own as folder, redirect_stdout(sys.stderr), no_worker_messages():  # standard output has results alone
            try:
                with own_handlers():
                    start(address, where, {**options, **({"_temp_dir": str(folder)} if folder else {})})
                yield
            finally:
                with own_handlers():
                    ray.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def start(address: str, where: str | None, options: dict[str, Any]) -> None:
    """Connect to a cluster, or start one. Raises UserError with Ray's reason if that fails."""
    import ray

    try:
        ray.init(address=where or "local", **options)
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        versions = "version" in str(error).lower() and "mismatch" in str(error).lower()
        why = " ".join(lines[:3]) if versions else lines[0]
        instead = "install the cluster's versions of Ray and Python here" if versions else "see ray status there"
        if where and not versions and where not in (address, os.environ.get("RAY_ADDRESS")):
            raise UserError(
                f"a Ray cluster was found at {where}, and does not answer ({printable(why)}): type ray stop and ray "
                "start again, or engine.address=local"
            ) from error
        place = f"engine.address={where}" if where else "engine.address=local"
        raise UserError(f"{place}: {printable(why)}: {instead}") from error


def cluster_address(address: str) -> str | None:
    """Return the address of a cluster that is there, None if one is to be started.

    Raises UserError if nobody answers at an address that was typed, or that RAY_ADDRESS names.
    """
    if address == "local":
        return None
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if named in ("", "auto"):  # of ray start on this machine
        found = started_here()
        return found if found and answers(found) else None
    if named == "local":
        return None
    if not answers(named):
        typed = f"engine.address={named}" if address != "auto" else f"RAY_ADDRESS={named}"
        raise UserError(
            f"{typed}: no Ray cluster answers there: start one with ray start --head, or type engine.address=local"
        )
    return named


def started_here() -> str | None:
    """Return the address that ``ray start`` has left on this machine, None without one.

    Ray's own search also finds the clusters of other commands, which end with them.
    """
    from ray._private.services import find_bootstrap_address

    found: str | None = find_bootstrap_address(None)
    return found


def answers(address: str) -> bool:
    """Return True if a connection to the address can be opened. Raises UserError for what is no address."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        raise UserError(f"engine.address={address}: must be auto, local, HOST:PORT (of ray start), or ray://HOST:10001")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError):
        return False
    return True


@contextmanager
def no_worker_messages() -> Iterator[None]:
    """Keep Ray from printing that a worker or a node died: the study's own lines tell what became of its runs."""
    from ray._private import worker

    before = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        worker._worker_logs_enabled = before


@contextmanager
def own_handlers() -> Iterator[None]:
    """Put back the handlers of signals that Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            if handler is not None:
                signal.signal(number, handler)


def tell(line: str) -> None:
    """Print one line on standard error."""
    print(printable(f"engine=ray: {line}"), file=sys.stderr, flush=True)
