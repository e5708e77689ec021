"""State that a process keeps between the runs that it carries out one after another.

The data stay, decoded and on the device, and the compiled code as long as the arm stays. Everything that could change
a result, or the memory of the next run, is as in a fresh process.
"""

import gc
import json
from collections.abc import Callable
from dataclasses import asdict, replace

import torch

from bagoftricks.data import Dataset, find_dataset, keep_decoded
from bagoftricks.engines.job import train_guarded
from bagoftricks.run.heap import return_freed_memory
from bagoftricks.run.reporter import Reporter
from bagoftricks.settings import Settings
from bagoftricks.store.store import Store
from bagoftricks.study.plan import PlannedRun


class WarmData:
    """Keeper of the data set of the last run, decoded where it fits into memory."""

    def __init__(self) -> None:
        self.key = ""
        self.data: Dataset | None = None

    def __call__(self, settings: Settings) -> Dataset:
        key = json.dumps(asdict(settings.data))
        if self.data is None or key != self.key:
            self.key, self.data = key, None
            self.data = keep_decoded(find_dataset(settings.data))
        return self.data


class WarmProcess:
    """Process that carries out runs one after another, each as if it were the first."""

    def __init__(self) -> None:
        self.data = WarmData()
        self.seed = torch.initial_seed()  # of the global generators, which networks of others may draw from
        self.last: Settings | None = None
        self.clean = True  # nothing of the last run is left in memory
        self.frozen = False

    def close(self) -> None:
        """Let the garbage collector search everything again."""
        gc.unfreeze()

    def train(
        self,
        run: PlannedRun,
        store: Store,
        reporter: Reporter,
        data: Callable[[Settings], Dataset] | None = None,
        *,
        trace_shown: bool = True,
    ) -> int:
        """Train one run; return the exit status. ``data`` finds the data set in another way than ``WarmData``."""
        self.tidy()
        torch.manual_seed(self.seed)
        if self.last and arm_of(run.settings) != arm_of(self.last):
            forget_code(compiled=self.last.runtime.compile)
        self.last, self.clean = run.settings, False
        return train_guarded(run, store, reporter, data or self.data, trace_shown=trace_shown)

    def tidy(self) -> None:
        """Give the memory of the last run back to the system: the peak of the next one is then its own."""
        if not self.clean:
            gc.collect()
            if not self.frozen:  # what the first run has loaded stays, and is not searched after each later one
                gc.freeze()
                self.frozen = True
            return_freed_memory()
            self.clean = True


def arm_of(settings: Settings) -> Settings:
    """Return the settings that all runs of an arm have."""
    return replace(settings, seed=0, store="")


def forget_code(*, compiled: bool) -> None:
    """Forget compiled code, and free blocks of a GPU's memory: another arm has other shapes.

    PyTorch stops compiling a function after some versions of it, and goes on without.
    """
    if compiled:
        torch._dynamo.reset()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
