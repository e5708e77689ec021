"""Number of threads for the arithmetic on a CPU."""

from collections.abc import Callable

import torch

from bagoftricks.cores import free_cores, thread_limit
from bagoftricks.measure.complexity import count_macs
from bagoftricks.run.check import Checked

MACS_PER_THREAD = 4e8  # of a forward pass of one batch: below twice of it, a second thread gains nothing


def choose_threads(checked: Checked, earlier: int | None, note: Callable[[str], object]) -> int:
    """Return the number of threads for ``runtime.threads``; a resumed run keeps ``earlier``, if there are as many.

    auto: the cores that are idle now, no more than this network has work for, and than OMP_NUM_THREADS. More threads
    than idle cores wait for each other, which costs many times what they could gain.
    """
    settings, limit = checked.settings, thread_limit()
    wanted = settings.runtime.threads
    if wanted != "auto":
        return int(wanted)
    if earlier is not None:
        return min(earlier, limit)
    if checked.device.type != "cpu":
        return limit
    work = count_macs(checked.network, settings.pixels) * settings.batch_size
    useful = min(limit, max(1, int(work / MACS_PER_THREAD)))
    free = free_cores() if useful > 1 else 1
    if free < useful:
        note(
            f"other processes use the processor: computing with {free} of {useful} threads "
            f"(runtime.threads={useful} uses them all)"
        )
    return min(free, useful)


def use_threads(count: int) -> None:
    """Let PyTorch compute with ``count`` threads."""
    if count != torch.get_num_threads():
        torch.set_num_threads(count)
