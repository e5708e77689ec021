"""Train a tiny run with one logger; ``python -m tests.loggers.killed STORE LOGGER SETTINGS STEP``: killed after it."""

import json
import os
import signal
import sys
import time

from bagoftricks.measure.speed import Timing
from bagoftricks.run import costs, execute
from bagoftricks.settings import RuntimeSettings
from tests.run.interrupted import Stopping, tiny


class Killed(Stopping):
    """A reporter that kills its process after a step, once what was logged has had time to leave."""

    def step(self):
        self.steps += 1
        if self.steps == self.after:
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)


def train(store: str, logger: str, values: dict[str, object], after: int | None = None, **changes: object):
    """Log every second of 11 steps, with a checkpoint after the fifth; return the record and the notes."""
    costs.time_inference = lambda *args, **kwargs: Timing(64, 1.0, 1.0, 1.0, 5)
    runtime = RuntimeSettings(device="cpu", checkpoint_steps=5)
    settings = tiny(
        store, epochs=1, tricks=["mixup"], runtime=runtime, logger=[logger], loggers={logger: values}, log_every=2,
        log_group="a study", **changes,
    )  # fmt: skip
    reporter = Killed(after)
    return execute.execute(settings, reporter, "bot-train"), reporter.notes


if __name__ == "__main__":
    store, logger, values, after = sys.argv[1:]
    train(store, logger, json.loads(values), int(after))
