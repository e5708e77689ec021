"""Whatever processes do, whenever they die: one at a time has a run, and a record is written once and whole."""

import os
from functools import partial
from tempfile import TemporaryDirectory
from unittest import mock

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bagoftricks.errors import RunElsewhere
from bagoftricks.settings import RuntimeSettings
from bagoftricks.store import lease as l
from bagoftricks.store.checkpoints import Checkpoints
from bagoftricks.store.lease import require_held
from bagoftricks.store.store import RunState, Store
from bagoftricks.training.state import TrainingState as Saved
from tests.store.test_store import record

PROCESSES = st.integers(1001, 1004)
RUN = "run"


class Processes(RuleBasedStateMachine):
    """Processes that claim a run, write to it, die, and wake up after they were taken for dead."""

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = Store(self.folder.name)
        self.leases, self.dead, self.owner, self.recorded, self.marks = {}, set(), None, None, set()
        self.reached = 0
        self.patch = mock.patch.object(l, "born", lambda pid: None if pid in self.dead else "then")
        self.patch.start()

    def teardown(self):
        self.patch.stop()
        self.folder.cleanup()

    def holds(self, process):
        return self.owner == process and process in self.leases

    def writes(self, process, write):
        """Whether a write under the lease of ``process`` took place, which it must if and only if it has the run."""
        try:
            write(partial(require_held, self.leases[process], RUN))
        except RunElsewhere:
            assert not self.holds(process)
            return False
        assert self.holds(process)
        return True

    @precondition(lambda self: self.recorded is None)
    @rule(process=PROCESSES)
    def claim(self, process):
        if process in self.dead or self.holds(process):
            return
        with mock.patch.object(os, "getpid", return_value=process):
            lease = self.store.claim(RUN)
        free = self.owner is None or self.owner in self.dead
        assert (lease is not None) == free
        if lease is not None:
            self.leases[process], self.owner = lease, process
            self.store.clear_marks(RUN)
            self.marks = set()

    @rule(process=PROCESSES)
    def die(self, process):
        self.dead.add(process)

    @rule(process=PROCESSES, half=st.binary(max_size=20))
    def die_while_writing(self, process, half):
        if self.holds(process):
            (self.store.folder(RUN) / f".record.json.{process}.tmp").write_bytes(half)
            self.dead.add(process)

    @rule(process=PROCESSES, steps=st.integers(1, 50))
    def save(self, process, steps):
        if process not in self.leases:
            return
        values = {"steps": self.reached + steps}

        def write(guard):
            made = Checkpoints(self.store.folder(RUN), RuntimeSettings(), guard)
            made.save(values["steps"], Saved({"w": torch.tensor(float(steps))}, values))
            made.wait()

        if self.writes(process, write):
            self.reached = values["steps"]

    @rule(process=PROCESSES)
    def measure(self, process):
        if process in self.leases:
            rows = [{"epoch": 1, "by": process}]
            self.writes(process, lambda guard: self.store.write_metrics(RUN, rows, before=guard))

    @rule(process=PROCESSES)
    def finish(self, process):
        if process not in self.leases:
            return
        made = record(id=RUN, command=f"{process}")
        if self.writes(process, lambda guard: self.store.write_record(made, before=guard)):
            assert self.recorded is None
            self.recorded = made
            self.leave(process)

    @rule(process=PROCESSES, how=st.sampled_from(["failed", "interrupted"]))
    def stop(self, process, how):
        if self.holds(process) and process not in self.dead:
            self.store.mark_failed(RUN, "it broke", "") if how == "failed" else self.store.mark_interrupted(RUN)
            self.marks.add(how)
            self.leave(process)

    def leave(self, process):
        lease = self.leases.pop(process)
        if lease.held():
            lease.path.unlink()
        self.owner = None

    @invariant()
    def the_record_is_the_one_that_was_written(self):
        assert self.store.record(RUN) == self.recorded
        assert [found.id for found in self.store.records()] == ([RUN] if self.recorded else [])

    @invariant()
    def the_state_is_told(self):
        if self.recorded:
            wanted = RunState.DONE
        elif self.owner is not None and self.owner not in self.dead:
            wanted = RunState.RUNNING
        elif "failed" in self.marks:
            wanted = RunState.FAILED
        else:
            wanted = RunState.INTERRUPTED if self.marks else RunState.MISSING
        assert self.store.state(RUN) is wanted

    @invariant()
    def the_newest_checkpoint_is_the_last_one_that_the_owner_wrote(self):
        found = Checkpoints(self.store.folder(RUN), RuntimeSettings(), lambda: None).newest(self.fail)
        assert (found[1].values["steps"] if found else 0) == self.reached

    def fail(self, note):
        raise AssertionError(note)


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
