"""The cores that a process may use: affinity, quotas, SLURM, shares."""

import os
import subprocess
import sys
import time

import pytest

from bagoftricks import cores
from bagoftricks.cores import cgroup_quota, free_cores, share_cores, take_share, thread_limit, usable_cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of eight cores without any limit; returns a function that writes its files."""
    monkeypatch.setattr(cores, "SYSTEM", tmp_path)
    monkeypatch.setattr(cores, "own_cores", lambda: set(range(8)))
    monkeypatch.setattr(cores, "_SHARE", [])
    for name in [name for name in os.environ if name.startswith("SLURM_") or name == "OMP_NUM_THREADS"]:
        monkeypatch.delenv(name)

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


def test_without_limits_it_is_the_affinity(machine):
    assert usable_cores() == thread_limit() == 8


@pytest.mark.parametrize(("limit", "cores"), [("max 100000", 8), ("350000 100000", 3), ("50000 100000", 1), ("", 8)])
def test_a_quota_of_version_2_counts_also_where_a_parent_has_it(machine, limit, cores):
    machine("proc/self/cgroup", "0::/job/step\n")
    machine("sys/fs/cgroup/job/cpu.max", limit)
    machine("sys/fs/cgroup/job/step/cpu.max", "max 100000")
    assert usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("200000", 2)])
def test_a_quota_of_version_1(machine, quota, cores):
    machine("proc/self/cgroup", "3:cpu,cpuacct:/docker/1\n2:cpuset:/\n0::/\n")
    machine("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", quota)
    machine("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000")
    assert usable_cores() == cores


@pytest.mark.parametrize(
    ("variables", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "6"}, 4),
        ({"SLURM_CPUS_ON_NODE": "6"}, 6),
        ({"SLURM_CPUS_PER_TASK": "many"}, 8),
    ],
)
def test_slurm(machine, monkeypatch, variables, cores):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert usable_cores() == cores


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("2,1", 2), ("64", 8), ("0", 1), ("", 8), ("all", 8)])
def test_openmp_says_how_many_threads_not_how_many_cores(machine, monkeypatch, given, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert (thread_limit(), usable_cores()) == (threads, 8)


def test_processes_share_the_cores(machine):
    assert [share_cores(count) for count in (1, 3, 8, 20)] == [8, 2, 1, 1]
    take_share(3)
    assert usable_cores() == thread_limit() == 3


@pytest.mark.parametrize(("busy", "free"), [((), 8), ((0,), 7), ((0, 1, 2), 5), (tuple(range(8)), 1), ((9,), 8)])
def test_busy_cores_are_those_whose_idle_time_stands_still(machine, monkeypatch, busy, free):
    def write(seconds):
        ticks = [(seconds, 0) if core in busy else (0, seconds) for core in range(10)]
        lines = [f"cpu{core} {user} 0 0 {idle} 0 0 0 0 0 0" for core, (user, idle) in enumerate(ticks)]
        machine("proc/stat", "\n".join(["cpu 1 2 3 4 5 6 7 8", *lines, "intr 5"]))

    write(100)
    monkeypatch.setattr(time, "sleep", lambda seconds: write(110))
    assert free_cores() == free


def test_a_quota_is_never_negative_or_of_no_period(machine):
    machine("proc/self/cgroup", "0::/\n")
    machine("sys/fs/cgroup/cpu.max", "1000 0")
    assert cgroup_quota() is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_the_real_affinity():
    code = "import os; os.sched_setaffinity(0, {0}); from bagoftricks.cores import usable_cores; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"
