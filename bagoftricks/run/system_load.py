"""Load of the machine while a run trains: cores, memory, and the GPU's where there is one."""

import os
import time
from contextlib import suppress
from pathlib import Path

import torch

from bagoftricks.cores import busy_share, core_ticks
from bagoftricks.measure.speed import MIB

EVERY_SECONDS = 10.0  # between two readings


class SystemLoad:
    """Readings of the load, at most one every ten seconds."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.ticks, self.read_at = device, core_ticks(), time.monotonic()

    def figures(self) -> dict[str, float]:
        """Return the load since the last reading by name; nothing if that is not long ago."""
        if time.monotonic() - self.read_at < EVERY_SECONDS:
            return {}
        before, self.ticks, self.read_at = self.ticks, core_ticks(), time.monotonic()
        busy = busy_share(before, self.ticks)
        found = {} if busy is None else {"system/cpu_percent": 100 * busy}
        with suppress(OSError, ValueError):  # Linux alone tells
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            found["system/memory_mib"] = pages * os.sysconf("SC_PAGE_SIZE") / MIB
        return found | (self._of_gpu() if self.device.type == "cuda" else {})

    def _of_gpu(self) -> dict[str, float]:
        free, total = torch.cuda.mem_get_info(self.device)
        found = {"system/gpu_memory_mib": (total - free) / MIB}
        with suppress(Exception):  # it needs nvidia-ml-py, and a driver that tells
            found["system/gpu_percent"] = float(torch.cuda.utilization(self.device))
        return found
