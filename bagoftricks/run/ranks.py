"""A run on several devices: start the ranks with the settings in a file, and relay the progress that rank 0 sends.

``python -m torch.distributed.run`` starts them as ``bagoftricks.run.rank``, so that this process can be anything: a
command, a job of a multirun or of a scheduler, a worker of a sweep. Rank 0 holds a connection to it.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from bagoftricks.cores import thread_limit
from bagoftricks.distributed import World, in_ranks, join
from bagoftricks.distributed.links import Message, error_from_message, error_message
from bagoftricks.distributed.norms import check_groups
from bagoftricks.errors import RankLost, RunElsewhere, TrainingFailed, UserError
from bagoftricks.run.deaths import death_by
from bagoftricks.run.environment import find_device
from bagoftricks.run.execute import execute
from bagoftricks.run.failures import RESUME
from bagoftricks.run.prepare import Prepared, prepare
from bagoftricks.run.reporter import EpochRow, Reporter, SilentReporter
from bagoftricks.run.signals import Signals
from bagoftricks.settings import Settings
from bagoftricks.started import other_rank
from bagoftricks.store.record import Record
from bagoftricks.store.store import RunState, Store

SETTINGS, OUTPUT, SOCKET = "settings.json", "output.txt", "socket"
REPORTS = ("note", "begin", "step", "epoch", "end")  # methods of a reporter that rank 0 may call
LEAVING_SECONDS = 20.0  # between the last message of rank 0 and its end, after success
FAILING_SECONDS = 8.0  # after a failure: longer than a rank waits for a lost one


# --- in the process that starts the ranks ---


@dataclass
class RankedRun:
    """One run that ranks carry out which this process starts."""

    settings: Settings
    reporter: Reporter
    command: str
    ranks: int

    def carry_out(self) -> Record:
        """Start the ranks and return the record. Raises the error of rank 0, RankFailed if it sent none."""
        store = Store(self.settings.store)
        store.writable()
        prepared = prepare(self.settings)
        check_ranks(prepared, self.ranks)
        name = prepared.id
        if not self.settings.rerun and (record := store.record(name)):
            self.reporter.note(f"run {name} is finished: this is its record (rerun=true trains it again)")
            return record
        self.launch(name, store)
        record = store.record(name)
        assert record is not None, "rank 0 has written its record"
        return record

    def launch(self, name: str, store: Store) -> None:
        """Start the ranks, relay what rank 0 reports, and raise its error."""
        signals = Signals()
        with signals, tempfile.TemporaryDirectory(prefix="bot-") as folder:
            launcher = RankLauncher(Path(folder), self.settings, self.command, self.ranks)
            last = launcher.watch(self.reporter, signals)
        if last is None:
            return
        error = error_from_message(last, known=(TrainingFailed, RunElsewhere))
        if last["name"] == RankLost.__name__ or store.state(name) is RunState.MISSING:  # rank 0 knew or recorded less
            store.mark_failed(name, f"{error}", last["trace"])
        if isinstance(error, KeyboardInterrupt):
            signals.pass_on()
        raise error


def check_ranks(prepared: Prepared, ranks: int) -> None:
    """Raise UserError if ``ranks`` ranks cannot share the batch, its groups of images, or the GPUs here."""
    settings, micro = prepared.settings, prepared.recipe.micro_batch
    if not hasattr(socket, "AF_UNIX"):
        raise UserError(f"runtime.devices={ranks}: {sys.platform} has no sockets for them: type runtime.devices=1")
    world = World()
    world.size = ranks
    world.check_batch(settings.batch_size, micro)
    check_groups(prepared.checked.network, world, settings.batch_size, micro)
    gpus, name = torch.cuda.device_count(), settings.runtime.device
    if name.startswith("cuda:"):
        raise UserError(f"runtime.device={name}: is one GPU, runtime.devices={ranks} needs more; type device=cuda")
    if prepared.checked.device.type == "cuda" and ranks > gpus:
        raise UserError(f"runtime.devices={ranks}: there are {gpus} GPUs here; type runtime.devices={gpus} or less")


class RankLauncher:
    """Ranks of one run as processes, with a connection to rank 0."""

    def __init__(self, folder: Path, settings: Settings, command: str, ranks: int) -> None:
        self.folder, self.stopping = folder, False
        self.first: tuple[Connection, int] | None = None  # rank 0's connection and process
        values = {"settings": asdict(settings), "command": command}
        (folder / SETTINGS).write_text(json.dumps(values), encoding="utf-8")
        self.listener = Listener(str(folder / SOCKET), family="AF_UNIX")
        with open(folder / OUTPUT, "wb") as output:
            self.agent = subprocess.Popen(
                rank_command(ranks, folder / SETTINGS),
                env=child_environment(ranks),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which passes it on
            )

    def watch(self, reporter: Reporter, signals: Signals) -> Message | None:
        """Relay the reports of rank 0 and the signals of this process; return the error of rank 0, None without one."""
        try:
            connection = self._connect(signals)
            if connection is None:
                return self._lost()
            while True:
                self._pass_on(signals)
                if not connection.poll(0.2):
                    continue
                kind, *values = json.loads(connection.recv_bytes())
                if kind == "over":
                    error: Message | None = values[0]
                    self._await_end(LEAVING_SECONDS if error is None else FAILING_SECONDS)
                    return self._lost() if error and error["name"] == RankLost.__name__ else error
                if kind in REPORTS:
                    getattr(reporter, kind)(*values)
        except (EOFError, ConnectionError):
            if signals.caught is not None:  # the signal that stops this process has ended a rank that was starting
                raise KeyboardInterrupt from None
            return self._lost()
        finally:
            self._kill()

    def _connect(self, signals: Signals) -> Connection | None:
        """Return the connection of rank 0, None if the ranks end before it connects."""
        while self.agent.poll() is None:
            if signals.caught is not None:
                raise KeyboardInterrupt  # nothing has begun
            if wait([_socket_of(self.listener)], 0.2):
                connection = self.listener.accept()
                self.first = connection, int(connection.recv_bytes())
                return connection
        return None

    def _pass_on(self, signals: Signals) -> None:
        if signals.caught is not None and not self.stopping and self.first is not None:
            self.stopping = True
            self.first[0].send_bytes(b"stop")

    def _await_end(self, seconds: float) -> None:
        """Wait for the ranks to end by themselves."""
        with suppress(subprocess.TimeoutExpired):
            self.agent.wait(seconds)

    def _lost(self) -> Message:
        """Return the error to report if a rank ended without a message."""
        self._await_end(FAILING_SECONDS)
        lines = (self.folder / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
        output = "\n".join(lines[-40:])
        if died := re.search(r"exitcode: -(\d+)\) local_rank: (\d+) \(pid: (\d+)\)", "\n".join(lines)):  # the first one
            text = f"rank {died[2]} (process {died[3]}) {death_by(int(died[1]))}: {RESUME}"
        elif self.first is None:
            return {"kind": "", "name": "RankFailed", "text": "the ranks could not be started", "trace": output}
        else:
            text = f"rank 0 (process {self.first[1]}), or the process that started it, was killed: {RESUME}"
        return {"kind": "expected", "name": "RankLost", "text": text, "trace": output}

    def _kill(self) -> None:
        """Kill the launcher of the ranks. The ranks end when it, or rank 0, is gone."""
        if self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()
        self.listener.close()
        if self.first is not None:
            self.first[0].close()


def _socket_of(listener: Listener) -> Any:
    """Return the socket to wait for: ``accept`` of the standard library has no time limit."""
    return listener._listener._socket  # type: ignore[attr-defined]


def rank_command(ranks: int, settings: Path) -> list[str]:
    """Return the command that starts the ranks on this machine."""
    rendezvous = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--rdzv-id={uuid4().hex}"]
    return [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", "--local-addr=127.0.0.1"),
        *(*rendezvous, "-m", "bagoftricks.run.rank", str(settings)),
    ]


def child_environment(ranks: int) -> dict[str, str]:
    """Return the environment of the ranks: this process's, without its own rank, and with the threads divided."""
    own_rank = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(own_rank)}
    variables["OMP_NUM_THREADS"] = str(max(1, thread_limit() // ranks))
    if sys.platform == "linux":
        variables.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a machine may not resolve its own name
    return variables


# --- in each rank ---


class Relay:
    """A reporter that sends each call to the process that started the ranks."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def note(self, text: str) -> None:
        self.send("note", text)

    def begin(self, run_id: str, steps: int, done: int) -> None:
        self.send("begin", run_id, steps, done)

    def step(self) -> None:
        self.send("step")

    def epoch(self, row: EpochRow) -> None:
        self.send("epoch", dict(row))

    def end(self) -> None:
        self.send("end")

    def send(self, kind: str, *values: Any) -> None:
        """Send one message; if the other process is gone, ``listen_for_stop`` ends this one."""
        with suppress(OSError):
            self.connection.send_bytes(json.dumps([kind, *values]).encode())


def run_as_rank(path: Path) -> int:
    """Carry out the run with the settings in the file ``path`` as one of its ranks; return the exit status."""
    leave_stopping_to_the_starter("SIGINT", "SIGUSR2", "SIGHUP")
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    values = json.loads(path.read_text(encoding="utf-8"))
    settings = Settings.of(values["settings"])
    relay = None
    if not other_rank():
        relay = Relay(Client(str(path.parent / SOCKET), family="AF_UNIX"))
        relay.connection.send_bytes(str(os.getpid()).encode())
    failure: Message | None = None
    try:
        world = join(find_device(settings.runtime.device))
        leave_stopping_to_the_starter("SIGTERM")  # not before: it ends the wait for a rank that died on its way
        if relay is not None:
            threading.Thread(target=listen_for_stop, args=(relay.connection, world), daemon=True).start()
            world.on_peer_lost(lambda error: relay.send("over", error_message(error)))
        with in_ranks(world):
            execute(settings, relay or SilentReporter(), values["command"], None, world)
    except BaseException as error:
        failure = error_message(error)
    if relay is not None:
        relay.send("over", failure)
    return 0 if failure is None else 1


def leave_stopping_to_the_starter(*names: str) -> None:
    """Ignore the signals: the process that started the ranks sends "stop"."""
    for name in names:
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)


def exit_with_parent(parent: int) -> None:
    """End this process when its ``parent`` has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def listen_for_stop(connection: Connection, world: World) -> None:
    """Set ``world.stop_asked`` when the starting process sends "stop"; end this process when it has ended."""
    try:
        while connection.recv_bytes():
            world.stop_asked = True
    except (EOFError, OSError):
        os._exit(1)
