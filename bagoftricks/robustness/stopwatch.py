"""Time the parts of an evaluation without waiting for the device."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds by the name of the part. On a GPU they come from events, which are read at the end."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.host: dict[str, float] = {}
        self.events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                before, after = _event(), _event()
                before.record()
                yield
                after.record()
            self.events.append((part, before, after))
            return
        start = time.perf_counter()
        yield
        self.host[part] = self.host.get(part, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Return the seconds of all parts so far; wait for the device."""
        total = dict(self.host)
        if self.events:
            torch.cuda.synchronize(self.device)
        for part, before, after in self.events:
            total[part] = total.get(part, 0.0) + before.elapsed_time(after) / 1000
        return total


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
