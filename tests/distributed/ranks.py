"""Functions carried out by several ranks: gloo between processes of this machine."""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

PRELOAD = ["bagoftricks.engines.local", "torchvision", "torch._dynamo", "tests.distributed.ranks"]


def on_ranks(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return the values of ``function(world, *arguments)`` on each rank; all can be pickled."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    port = free_port()
    started = []
    for rank in range(size):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_carry_out, args=(rank, size, port, theirs, function, arguments))
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        return [_result(rank, connection) for rank, (_, connection) in enumerate(started)]
    finally:
        for process, _ in started:
            process.join(10)
            process.kill()


def _result(rank: int, connection: Connection) -> Any:
    assert wait([connection], timeout=300), f"rank {rank} does not answer"
    try:
        good, value = pickle.loads(connection.recv_bytes())  # recv would share memory with a process that has ended
    except EOFError:
        raise AssertionError(f"rank {rank} died") from None
    assert good, f"rank {rank}:\n{value}"
    return value


def _carry_out(
    rank: int, size: int, port: int, connection: Connection, function: Callable[..., Any], arguments: Any
) -> None:
    import torch

    from bagoftricks.distributed import in_ranks, join

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        world = join(torch.device("cpu"))
        with in_ranks(world):
            connection.send_bytes(pickle.dumps((True, function(world, *arguments))))
    except BaseException:
        connection.send_bytes(pickle.dumps((False, traceback.format_exc())))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
