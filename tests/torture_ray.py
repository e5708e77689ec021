"""Kills workers, nodes and drivers of a small study on a Ray cluster, and compares what comes of it.

    python -m tests.torture_ray [--kills 50] [--seed 0] [--folder FOLDER]

The study is trained once in peace, on this machine's own pool. Then on a cluster of two nodes on this machine, while
processes are ended by SIGKILL at keyed random moments: the worker of one run, a whole node (another takes its place),
or the sweep itself, which is started again. What is in the store at the end, and the study's table, must be equal bit
for bit but for the clock; every run must have been finished once; nothing else may lie about.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bagoftricks.rng import Key
from tests.ray_nodes import Nodes, ray_nodes
from tests.torture import OURS, STUDY, left_behind, litter, run_kills, table

ENDED = re.compile(r"\[\d+/\d+\] (.*, seed \d+): top-1")
SMALL_STUDY = [word for word in STUDY if not word.startswith("slots=")]


@dataclass
class RayTorture:
    """Study on a cluster, what is killed of it, and what it says."""

    folder: Path
    nodes: Nodes
    seed: int
    kills: int
    did: Counter = field(default_factory=Counter)

    def sweep(self, store: Path, *engine: str) -> subprocess.Popen:
        self.did["starts"] += 1
        with open(store.with_suffix(".txt"), "a", encoding="utf-8") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "bagoftricks.cli.sweep", *SMALL_STUDY, f"store={store}", "format=json", *engine],
                cwd=self.folder, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(OURS)},
                stdout=subprocess.PIPE, stderr=output, start_new_session=True, text=True,
            )  # fmt: skip

    @property
    def killed(self) -> int:
        return sum(self.did[what] for what in ("worker", "node", "sweep"))

    def carry_out(self, store: Path) -> str:
        """Train the study into a store, and kill while there are kills left; return what it printed."""
        while True:
            process = self.sweep(store, "engine=ray", f"engine.address={self.nodes.address}", "engine.max_retries=1000")
            while process.poll() is None and self.killed < self.kills:
                draw = Key(self.seed).fold("kill", self.killed, self.did["starts"]).numpy()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(float(draw.exponential(3.0)))
                    break
                self.kill(process, draw)
            out, _ = process.communicate()
            if process.returncode == 0:
                return out
            self.did[f"status {process.returncode}"] += 1

    def kill(self, process: subprocess.Popen, draw) -> None:
        """Kill something of a study that is under way."""
        if not self.nodes.workers():
            return
        what = str(draw.choice(["worker", "node", "sweep"], p=[0.7, 0.2, 0.1]))
        number = int(draw.integers(2))
        if what == "worker":
            self.did[what] += self.nodes.kill_worker(number) or self.nodes.kill_worker()
        elif what == "node":
            self.did[what] += 1
            self.nodes.kill_node(number)
            self.nodes.add()
        else:
            self.did[what] += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def torture_ray(folder: Path, *, kills: int, seed: int) -> dict:
    """What happened, and what is wrong with what came of it: nothing, in ``wrong``."""
    began, wrong, stores = time.monotonic(), [], []
    with ray_nodes(2) as nodes:
        job = RayTorture(folder, nodes, seed, kills)
        calm = folder / "calm"
        job.sweep(calm).communicate()
        wanted, expected, peace = left_behind(calm), table(calm), time.monotonic() - began
        while not stores or job.killed < kills:
            store = folder / f"store{len(stores)}"
            stores.append(store)
            out = job.carry_out(store)
            got = left_behind(store)
            wrong += [f"{name} of {store.name} differs" for name in wanted if wanted[name] != got.get(name)]
            wrong += [f"{name} of {store.name} is too many" for name in got if name not in wanted]
            wrong += [f"{path} was left behind" for path in litter(store)]
            wrong += [] if table(store) == expected else [f"the table of {store.name} differs"]
            wrong += [] if json.loads(out) else ["standard output is no JSON"]
            ends = Counter(ENDED.findall(store.with_suffix(".txt").read_text()))
            wrong += [f"{name} of {store.name} was finished {count} times" for name, count in ends.items() if count > 1]
    wrong += [] if wanted else ["the study in peace failed"]
    facts = {"runs": len(wanted) * len(stores), "kills": job.killed, "did": dict(job.did), "wrong": wrong}
    return {**facts, "seconds": round(time.monotonic() - began), "seconds_in_peace": round(peace)}


if __name__ == "__main__":
    sys.exit(run_kills(torture_ray, __doc__))
