"""A run on several devices: start the ranks, hand them the settings in a file, and relay what rank 0 reports.

``python -m torch.distributed.run`` starts them as ``bagoftricks.run.rank``, so that it does not matter what
this process is: a command, a job of a multirun or of a scheduler, a worker of a sweep. Rank 0 holds a connection to it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from bagoftricks.distributed import World, in_ranks, join
from bagoftricks.distributed.links import Message, error_from_message, error_message
from bagoftricks.distributed.norms import check_groups
from bagoftricks.errors import RunElsewhere, TrainingFailed, UserError
from bagoftricks.run.environment import find_device
from bagoftricks.run.execute import execute
from bagoftricks.run.prepare import Prepared, prepare
from bagoftricks.run.reporter import Reporter, SilentReporter
from bagoftricks.run.signals import Signals
from bagoftricks.settings import Settings
from bagoftricks.started import other_rank
from bagoftricks.store.store import Record, RunState, Store

SETTINGS, OUTPUT, TELLS = "settings.json", "output.txt", "tells"
TOLD = ("note", "begin", "step", "epoch", "end")  # what a reporter is told
LEAVING_SECONDS = 20.0  # between what rank 0 says last and its end, after a good one
FAILING_SECONDS = 3.0  # after any other


# --- in the process that starts the ranks ---


def execute_on_ranks(settings: Settings, reporter: Reporter, command: str, ranks: int) -> Record:
    """Start ``ranks`` ranks and wait for the record. Raises what rank 0 raised, RankFailed where it said nothing."""
    store = Store(settings.store)
    store.writable()
    prepared = prepare(settings)
    refuse_unshared(prepared, ranks)
    name = prepared.id
    if not settings.rerun and (record := store.record(name)):
        reporter.note(f"run {name} is finished: this is its record (rerun=true trains it anew)")
        return record
    signals = Signals()
    with signals, tempfile.TemporaryDirectory(prefix="bot-") as folder:
        last = RankLauncher(Path(folder), settings, command, ranks).watch(reporter, signals)
    if last is not None:
        error = error_from_message(last, known=(TrainingFailed, RunElsewhere))
        if store.state(name) is RunState.MISSING:  # rank 0 could not leave a mark
            store.mark_failed(name, f"{error}", last["trace"])
        if isinstance(error, KeyboardInterrupt):
            signals.pass_on()
        raise error
    record = store.record(name)
    assert record is not None, "rank 0 has written its record"
    return record


def refuse_unshared(prepared: Prepared, ranks: int) -> None:
    """Raise UserError for a batch, or groups of images in it, that so many ranks cannot share."""
    settings, micro = prepared.settings, prepared.recipe.micro_batch
    together = World()
    together.size = ranks
    together.check_batch(settings.batch_size, micro)
    check_groups(prepared.checked.network, together, settings.batch_size, micro)
    gpus, name = torch.cuda.device_count(), settings.runtime.device
    if name.startswith("cuda:"):
        raise UserError(f"runtime.device={name}: is one GPU, runtime.devices={ranks} asks for more; type device=cuda")
    if prepared.checked.device.type == "cuda" and ranks > gpus:
        raise UserError(f"runtime.devices={ranks}: there are {gpus} GPUs here; type runtime.devices={gpus} or less")


class RankLauncher:
    """The processes of one run, and the connection to the first of them."""

    def __init__(self, folder: Path, settings: Settings, command: str, ranks: int) -> None:
        self.folder, self.stopping = folder, False
        self.first: tuple[Connection, int] | None = None  # rank 0's connection and process
        values = {"settings": asdict(settings), "command": command}
        (folder / SETTINGS).write_text(json.dumps(values), encoding="utf-8")
        self.listener = Listener(str(folder / TELLS), family="AF_UNIX")
        with open(folder / OUTPUT, "wb") as output:
            self.agent = subprocess.Popen(
                starter(ranks, folder / SETTINGS),
                env=child_environment(ranks),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which passes it on
            )

    def watch(self, reporter: Reporter, signals: Signals) -> Message | None:
        """Pass on what rank 0 tells, and the signals that come, until it says how it ended: None for well."""
        try:
            connection = self._await_first(signals)
            if connection is None:
                return self._silent_end()
            while True:
                self._pass_on(signals)
                if not connection.poll(0.2):
                    continue
                what, *about = json.loads(connection.recv_bytes())
                if what == "over":
                    ended: Message | None = about[0]
                    self._let_go(LEAVING_SECONDS if ended is None else FAILING_SECONDS)
                    return ended
                if what in TOLD:
                    getattr(reporter, what)(*about)
        except (EOFError, ConnectionError):
            return self._silent_end()
        finally:
            self._kill()

    def _await_first(self, signals: Signals) -> Connection | None:
        """The connection of rank 0; None where the ranks end before it is there."""
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

    def _let_go(self, seconds: float) -> None:
        """Let the ranks end by themselves."""
        with suppress(subprocess.TimeoutExpired):
            self.agent.wait(seconds)

    def _silent_end(self) -> Message:
        """What is to be said where rank 0 is gone without a word."""
        self._let_go(FAILING_SECONDS)
        lines = (self.folder / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
        output = "\n".join(lines[-40:])
        if self.first is None:
            return {"kind": "", "name": "RankFailed", "text": "the ranks could not be started", "trace": output}
        died = re.search(r"exitcode\s*: -(\d+) \(pid: (\d+)\)", output)
        how = (
            f"by {signal.Signals(int(died[1])).name}"
            if died and int(died[2]) == self.first[1]
            else "or its machine was lost"
        )
        text = f"rank 0 (process {self.first[1]}) was killed {how}"
        return {"kind": "expected", "name": "RankLost", "text": text, "trace": output}

    def _kill(self) -> None:
        """End what is left. Ranks end by themselves when the one that started them, or rank 0, is gone."""
        if self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()
        self.listener.close()
        if self.first is not None:
            self.first[0].close()


def _socket_of(listener: Listener) -> Any:
    """What can be waited for: the standard library has no time limit for ``accept``."""
    return listener._listener._socket  # type: ignore[attr-defined]


def starter(ranks: int, settings: Path) -> list[str]:
    """The command that starts the ranks on this machine."""
    rendezvous = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--rdzv-id={uuid4().hex}"]
    return [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", "--local-addr=127.0.0.1"),
        *(*rendezvous, "-m", "bagoftricks.run.rank", str(settings)),
    ]


def child_environment(ranks: int) -> dict[str, str]:
    """This process's environment, with the threads shared out, and without what it says of ranks around it."""
    strange = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    kept["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // ranks))
    if sys.platform == "linux":
        kept.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a machine's own name need not be known to it
    return kept


# --- in each rank ---


class Relay:
    """A reporter that tells the process that has started the ranks."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def note(self, text: str) -> None:
        self.tell("note", text)

    def begin(self, run_id: str, steps: int, done: int) -> None:
        self.tell("begin", run_id, steps, done)

    def step(self) -> None:
        self.tell("step")

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.tell("epoch", dict(row))

    def end(self) -> None:
        self.tell("end")

    def tell(self, what: str, *about: Any) -> None:
        with suppress(OSError):  # nobody is left to tell: ``heed`` sees to that
            self.connection.send_bytes(json.dumps([what, *about]).encode())


def as_rank(path: Path) -> int:
    """What a rank does that ``Ranks`` has started with the settings in this file; its exit status."""
    for name in ("SIGTERM", "SIGINT", "SIGUSR2"):  # whoever started the ranks says when to stop
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    values = json.loads(path.read_text(encoding="utf-8"))
    settings = Settings.of(values["settings"])
    relay = None
    if not other_rank():
        relay = Relay(Client(str(path.parent / TELLS), family="AF_UNIX"))
        relay.connection.send_bytes(str(os.getpid()).encode())
    ended: Message | None = None
    try:
        world = join(find_device(settings.runtime.device))
        if relay is not None:
            threading.Thread(target=listen_for_stop, args=(relay.connection, world), daemon=True).start()
            world.on_peer_lost(lambda error: relay.tell("over", error_message(error)))
        with in_ranks(world):
            execute(settings, relay or SilentReporter(), values["command"], None, world)
    except BaseException as error:
        ended = error_message(error)
    if relay is not None:
        relay.tell("over", ended)
    return 0 if ended is None else 1


def exit_with_parent(starter: int) -> None:
    """End with the process that has started this one."""
    while os.getppid() == starter:
        time.sleep(1)
    os._exit(1)


def listen_for_stop(connection: Connection, world: World) -> None:
    """Note when the starting process asks to stop, and end with it."""
    try:
        while connection.recv_bytes():
            world.stop_asked = True
    except (EOFError, OSError):
        os._exit(1)
