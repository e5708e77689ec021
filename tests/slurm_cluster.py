"""A real SLURM of one node on this machine, and ways to kill what runs on it."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "slurm-local"
PATHS = f"{os.environ['PATH']}:/usr/sbin"


def why_none() -> str:
    """Why there can be no SLURM here; empty if there can."""
    if os.getuid() != 0:
        return "SLURM's daemons need root"
    missing = [name for name in ("munged", "slurmctld", "slurmd", "srun") if shutil.which(name, path=PATHS) is None]
    return f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)" if missing else ""


@dataclass
class SlurmCluster:
    """The cluster with its files in ``folder``."""

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout

    def jobs(self, state: str = "") -> list[str]:
        """Numbers of the jobs in a state, or in the queue."""
        return self.ask("squeue", "--array", "--noheader", "--format=%i", *([f"-t{state}"] if state else [])).split()

    def submitted(self) -> list[str]:
        """Numbers of all jobs that there ever were."""
        return self.ask("squeue", "--array", "--noheader", "--format=%i", "-tall").split()

    def kill_job(self, number: str) -> bool:
        """Kill every process of a job with SIGKILL; SLURM is not asked."""
        (own,) = self.ask("squeue", "--noheader", "--format=%A", f"--jobs={number}").split() or ["0"]
        lines = self.ask("scontrol", "listpids", own).splitlines()[1:]
        pids = [int(line.split()[0]) for line in lines if line.split()[0].isdecimal()]
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def restart(self, daemon: str) -> None:
        """Kill a daemon with SIGKILL and start it again; jobs go on meanwhile."""
        with suppress(OSError, ValueError):
            os.kill(int((self.folder / f"{daemon}.pid").read_text()), signal.SIGKILL)
        subprocess.run([daemon, "-f", self.environment["SLURM_CONF"]], env=self.environment, check=True)


def kill_worker(store: Path, choose: int) -> bool:
    """Kill the process of one run, by its lease."""
    leases = sorted(store.glob("*/lease.json"))
    with suppress(OSError, ValueError, ZeroDivisionError):  # ended meanwhile, or none has begun
        os.kill(json.loads(leases[choose % len(leases)].read_text())["pid"], signal.SIGKILL)
        return True
    return False


def two_ports() -> int:
    """A free port whose next one is free too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            with suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 1))
                return port


@contextmanager
def slurm_cluster(folder: Path, cores: int = 2) -> Iterator[SlurmCluster]:
    """Start the cluster, and stop it with everything that it runs."""
    about = {"SLURM_LOCAL_PORT": str(two_ports()), "SLURM_LOCAL_CPUS": str(cores)}
    environment = {**os.environ, "PATH": PATHS, **about, "SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([SCRIPT, "start", folder], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=60)
    try:
        yield SlurmCluster(folder, environment)
    finally:
        subprocess.run([SCRIPT, "stop", folder], env=environment, check=True, timeout=60)
