"""Kills runs, jobs, daemons and commands of a small study on a SLURM of one node, and compares what comes of it.

    python -m tests.torture_slurm [--kills 50] [--seed 0] [--folder FOLDER]

The study is trained once in peace, on this machine's own pool. Then as jobs of SLURM, while at keyed random moments the
process of one run or all processes of one job are killed, a job is requeued, a daemon is killed and started again, or
the waiting command is killed and typed again. What is in the store at the end, and the study's table, must be equal bit
for bit but for the clock; nothing else may lie about.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bagoftricks.rng import Key
from tests.slurm_cluster import SlurmCluster, kill_worker, slurm_cluster
from tests.torture import OURS, STUDY, left_behind, litter, run_kills, table

SHARES = {"run": 0.5, "job": 0.25, "requeue": 0.1, "daemon": 0.05, "sweep": 0.1}
SLURM_STUDY = [word for word in STUDY if not word.startswith("slots=")]
SLURM_STUDY += ["engine=slurm", "engine.runs_per_job=4", "engine.tries=1000"]


@dataclass
class SlurmTorture:
    """Study on a cluster, and what is killed of it."""

    folder: Path
    cluster: SlurmCluster
    seed: int
    kills: int
    did: Counter = field(default_factory=Counter)

    @property
    def killed(self) -> int:
        return sum(self.did[what] for what in SHARES)

    def sweep(self, store: Path, study: list[str]) -> subprocess.Popen:
        self.did["starts"] += 1
        environment = {**self.cluster.environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(OURS)}
        with open(store.with_suffix(".txt"), "a", encoding="utf-8") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "bagoftricks.cli.sweep", *study, f"store={store}", "format=json"],
                cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def carry_out(self, store: Path) -> None:
        """Train the study into a store, and kill while there are kills left."""
        while True:
            process = self.sweep(store, SLURM_STUDY)
            while process.poll() is None and self.killed < self.kills:
                draw = Key(self.seed).fold("kill", self.killed, self.did["starts"]).numpy()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(float(draw.exponential(4.0)))
                    break
                if self.cluster.jobs("R"):
                    self.kill(process, store, draw)
            process.wait()
            if process.returncode == 0:
                return
            self.did[f"status {process.returncode}"] += 1

    def kill(self, process: subprocess.Popen, store: Path, draw) -> None:
        """Kill something of a study that is under way."""
        what, number = str(draw.choice([*SHARES], p=[*SHARES.values()])), int(draw.integers(100))
        running = self.cluster.jobs("R")
        job = running[number % len(running)] if running else "0"
        if what == "run":
            self.did[what] += kill_worker(store, number)
        elif what == "job":
            self.did[what] += self.cluster.kill_job(job)
        elif what == "requeue":
            self.cluster.ask("scontrol", "requeue", job)
            self.did[what] += 1
        elif what == "daemon":
            self.cluster.restart(("slurmctld", "slurmd")[number % 2])
            self.did[what] += 1
        else:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.did[what] += 1


def torture_slurm(folder: Path, *, kills: int, seed: int) -> dict:
    """What happened, and what is wrong with what came of it: nothing, in ``wrong``."""
    began, wrong, stores = time.monotonic(), [], []
    with slurm_cluster(folder / "slurm") as cluster:
        job = SlurmTorture(folder, cluster, seed, kills)
        calm = folder / "calm"
        job.sweep(calm, STUDY).wait()
        wanted, expected, peace = left_behind(calm), table(calm), time.monotonic() - began
        for run in wanted.values():
            run.pop("continuations")
        continuations = 0
        while not stores or job.killed < kills:
            store = folder / f"store{len(stores)}"
            stores.append(store)
            job.carry_out(store)
            got = left_behind(store)
            continuations += sum(run.pop("continuations") for run in got.values())
            wrong += [f"{name} of {store.name} differs" for name in wanted if wanted[name] != got.get(name)]
            wrong += [f"{name} of {store.name} is too many" for name in got if name not in wanted]
            wrong += [f"{path} was left behind" for path in litter(store)]
            wrong += [] if table(store) == expected else [f"the table of {store.name} differs"]
    wrong += [] if wanted else ["the study in peace failed"]
    facts = {"runs": len(wanted) * len(stores), "kills": job.killed, "did": dict(job.did), "wrong": wrong}
    times = {"seconds": round(time.monotonic() - began), "seconds_in_peace": round(peace)}
    return {**facts, "continuations": continuations, **times}


if __name__ == "__main__":
    sys.exit(run_kills(torture_slurm, __doc__))
