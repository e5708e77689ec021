"""Cores that this process may use: by affinity, quotas of its control group, and SLURM; what they compute in.

Imports nothing heavy.
"""

import os
import time
from contextlib import suppress
from math import floor
from pathlib import Path

SYSTEM = Path("/")
WATCH_SECONDS = 0.1  # for the busy cores
BRIEFLY_BUSY = 0.3  # of a core: a moment of other work does not count
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
Ticks = dict[int, tuple[int, int]]  # by core: idle, and in all
_SHARE: list[int] = []  # cores of this process, where several share the machine


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    limits = [len(own_cores()), *_SHARE, *_slurm()]
    quota = cgroup_quota()
    return max(1, min(limits if quota is None else [*limits, floor(quota)]))


def share_cores(processes: int) -> int:
    """Return the cores for each of ``processes`` that share those of this process."""
    return max(1, usable_cores() // processes)


def take_share(cores: int) -> None:
    """Use at most ``cores`` from here on."""
    _SHARE[:] = [cores]


def thread_limit() -> int:
    """Return the most threads for arithmetic: the usable cores, fewer where OMP_NUM_THREADS says so."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(usable_cores(), max(1, int(wanted))) if wanted.isdecimal() else usable_cores()


def free_cores() -> int:
    """Return the number of usable cores that no process works on at present, at least 1; all where Linux does not tell.

    It takes ``WATCH_SECONDS``, in which this process should do nothing.
    """
    before = core_ticks()
    time.sleep(WATCH_SECONDS)
    after = core_ticks()
    every = usable_cores()
    pairs = [(before[core], after[core]) for core in before.keys() & after.keys()]
    passed = [(idle - idle0) / (all_ - all0) for (idle0, all0), (idle, all_) in pairs if all_ > all0]
    return max(1, min(every, floor(sum(passed) + BRIEFLY_BUSY))) if passed else every


def busy_share(before: Ticks, after: Ticks) -> float | None:
    """Return the share of the own cores' time between two readings in which they worked; None if it is unknown."""
    pairs = [(before[core], after[core]) for core in before.keys() & after.keys()]
    passed = sum(all_ - all0 for (_, all0), (_, all_) in pairs)
    idle = sum(idle - idle0 for (idle0, _), (idle, _) in pairs)
    return 1 - idle / passed if passed > 0 else None


def own_cores() -> set[int]:
    """Return the numbers of the cores that the process may be scheduled on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _slurm() -> list[int]:
    """Return the cores of this task in a job of SLURM, nothing outside of one."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if os.environ.get(name, "").isdecimal():
            return [int(os.environ[name])]
    return []


def multiplies_bf16() -> bool | None:
    """Return True if this processor has instructions for bf16 (AVX-512 BF16, AMX or Arm's); None if Linux is silent."""
    lines = [line for line in _text(SYSTEM / "proc/cpuinfo").splitlines() if line.startswith(("flags", "Features"))]
    return not BF16_FLAGS.isdisjoint(lines[0].split()) if lines else None


def cgroup_quota() -> float | None:
    """Return the cores that the process's control groups grant, of version 1 or 2; None without a limit."""
    found = []
    for line in _text(SYSTEM / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        for root in {"": ("sys/fs/cgroup", "sys/fs/cgroup/unified")}.get(kinds, (f"sys/fs/cgroup/{kinds}",)):
            if kinds == "" or "cpu" in kinds.split(","):
                folder = SYSTEM / root / path.strip("/")
                found += [_quota(one) for one in (folder, *folder.parents) if one.is_relative_to(SYSTEM / root)]
    return min((quota for quota in found if quota is not None), default=None)


def _quota(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def core_ticks() -> Ticks:
    """Return for each own core the ticks that it has been idle, and all of its ticks; nothing where Linux tells none.

    It takes a fraction of a millisecond.
    """
    found = {}
    for line in _text(SYSTEM / "proc/stat").splitlines():
        name, *ticks = line.split()
        if name.removeprefix("cpu").isdecimal() and int(name.removeprefix("cpu")) in own_cores():
            numbers = [int(tick) for tick in ticks[:8]]  # the rest is counted in them already
            found[int(name.removeprefix("cpu"))] = (numbers[3] + numbers[4], sum(numbers))
    return found


def _text(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    return ""
