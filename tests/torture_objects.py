"""Kills the workers of a small study that two machines train over one S3 server, and compares what comes of it.

    python -m tests.torture_objects [--kills 50] [--seed 0] [--folder FOLDER]

The study is trained once in peace, into a folder. Then two sweeps with caches of their own train it into a bucket of
moto's server, while processes are ended by SIGKILL at keyed random moments: one worker, or a whole sweep, which starts
again with its cache or, as a new machine would, without it. Now and then the server stops answering for some seconds.
What is in the bucket at the end, and the study's table, must be equal bit for bit to those of the folder, but for the
clock; every record must have been written once; nothing else may lie about.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bagoftricks.rng import Key
from bagoftricks.store.addresses import open_objects
from tests.object_server import ObjectServer, object_server
from tests.torture import OURS, STUDY, left_behind, litter, run_kills, table

MACHINES = ("one", "two")


@dataclass
class Cloud:
    """Two machines that train one study over one server."""

    folder: Path
    server: ObjectServer
    url: str
    seed: int
    study: list[str]
    sweeps: dict[str, subprocess.Popen] = field(default_factory=dict)
    did: Counter = field(default_factory=Counter)

    def start(self, machine: str) -> None:
        """Start, or start again, the sweep of one machine."""
        own = {"XDG_CACHE_HOME": str(self.folder / machine), "PYTHONPATH": str(OURS), "OMP_NUM_THREADS": "1"}
        with open(self.folder / f"{machine}.txt", "a", encoding="utf-8") as output:
            self.sweeps[machine] = subprocess.Popen(
                [sys.executable, "-m", "bagoftricks.cli.sweep", *self.study, f"store={self.url}", "format=json"],
                env={**os.environ, **self.server.environment, **own},
                cwd=self.folder, start_new_session=True, stdout=output, stderr=output,
            )  # fmt: skip
        self.did["starts"] += 1

    def carry_out(self, kills: int) -> list[int]:
        """Kill until the kills are done or the study is; return the exit status of each sweep."""
        for machine in MACHINES:
            self.start(machine)
        while any(sweep.poll() is None for sweep in self.sweeps.values()):
            draw = Key(self.seed).fold("moment", sum(self.did.values())).numpy()
            time.sleep(float(draw.exponential(1.0)))
            machine = MACHINES[int(draw.integers(2))]
            if self.kills >= kills or self.sweeps[machine].poll() is not None:
                continue
            what = draw.random()
            if what < 0.1:
                self.stall(float(draw.uniform(0.5, 4.0)))
            elif what < 0.3:
                self.kill_machine(machine, wipe=bool(draw.random() < 0.5))
            else:
                self.kill_worker(machine, draw)
        return [sweep.returncode for sweep in self.sweeps.values()]

    @property
    def kills(self) -> int:
        return self.did["workers"] + self.did["machines"] + self.did["machines lost"]

    def kill_worker(self, machine: str, draw) -> None:
        leases = sorted((self.folder / machine).glob("bagoftricks/stores/*/runs/*/lease.json"))
        with suppress(OSError, ValueError, IndexError):
            pid = json.loads(leases[int(draw.integers(len(leases)))].read_text())["pid"] if leases else None
            if pid is not None and os.getpgid(pid) == self.sweeps[machine].pid:  # not the other machine's
                os.kill(pid, signal.SIGKILL)
                self.did["workers"] += 1

    def kill_machine(self, machine: str, *, wipe: bool) -> None:
        os.killpg(self.sweeps[machine].pid, signal.SIGKILL)
        self.sweeps[machine].wait()
        if wipe:
            shutil.rmtree(self.folder / machine, ignore_errors=True)
        self.did["machines lost" if wipe else "machines"] += 1
        self.start(machine)

    def stall(self, seconds: float) -> None:
        self.server.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.server.process.send_signal(signal.SIGCONT)
        self.did["stalls"] += 1


def contents(url: str, folder: Path) -> Path:
    """Write every object into a folder."""
    objects = open_objects(url)
    for listed in objects.list():
        if not listed.key.startswith("."):
            path = folder / listed.key
            path.parent.mkdir(parents=True, exist_ok=True)
            objects.download(listed.key, path)
    return folder


def records_written(log: Path) -> Counter:
    """How often the server took a record, by run."""
    return Counter(re.findall(r'PUT /[^ ]*/([0-9a-f]{20})/record\.json HTTP/1\.1" 200', log.read_text()))


def torture(folder: Path, *, kills: int, seed: int, study: list[str] | None = None) -> dict:
    """What happened, and what is wrong with what came of it: nothing, in ``wrong``."""
    began, study = time.monotonic(), study or list(STUDY)
    calm, log = folder / "calm", folder / "server.txt"
    command = [sys.executable, "-m", "bagoftricks.cli.sweep", *study, f"store={calm}", "format=json"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(OURS), "OMP_NUM_THREADS": "1"}, check=True, **quiet)
    wanted, expected, wrong, did = left_behind(calm), table(calm), [], Counter()
    stores, continuations = 0, sum(run.pop("continuations") for run in wanted.values())
    with object_server(log) as server:
        os.environ.update(server.environment)
        while not stores or did["workers"] + did["machines"] + did["machines lost"] < kills:
            cloud = Cloud(folder, server, f"{server.new_bucket()}/runs", seed + stores, study)
            statuses = cloud.carry_out(kills - sum(did[what] for what in ("workers", "machines", "machines lost")))
            store = contents(cloud.url, folder / f"store{stores}")
            got = left_behind(store)
            continuations += sum(run.pop("continuations") for run in got.values())
            wrong += [f"{name} differs" for name in wanted if wanted[name] != got.get(name)]
            wrong += [f"{name} is too many" for name in got if name not in wanted]
            wrong += [f"{path} was left behind" for path in litter(store)]
            wrong += [] if table(store) == expected else [f"the table of {store.name} differs"]
            wrong += [f"a sweep ended with {status}" for status in statuses if status]
            did, stores = did + cloud.did, stores + 1
            for machine in MACHINES:
                shutil.rmtree(folder / machine, ignore_errors=True)
        written = records_written(log)
    wrong += [f"{name} was recorded {count} times" for name, count in written.items() if count != stores]
    wrong += [f"{name} was recorded never" for name in wanted if name not in written]
    seconds = round(time.monotonic() - began)
    facts = {"runs": len(wanted) * stores, **did, "continuations": continuations, "seconds": seconds}
    return {**facts, "table_rows": len(expected.splitlines()) - 1, "wrong": wrong}


if __name__ == "__main__":
    sys.exit(run_kills(torture, __doc__))
