"""Checkpoints of a run: saved between two steps when due or when the run stops, and loaded to resume it."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bagoftricks.data import Loader
from bagoftricks.errors import Interrupted, UserError
from bagoftricks.run.reporter import EpochRow
from bagoftricks.run.signals import Signals
from bagoftricks.run.watch import LossWatch
from bagoftricks.store.checkpoint_file import read_checkpoint, write_checkpoint
from bagoftricks.store.checkpoints import Checkpoints
from bagoftricks.training.state import TrainingState, like, with_prefix
from bagoftricks.training.trainer import Trainer

EpochRows = list[EpochRow]  # one row per epoch and weight set: metrics.csv
T = TypeVar("T")
TOTAL = "progress.total"


@dataclass
class Progress:
    """Progress of a run: with the trainer's state, everything that it needs to resume."""

    epoch: int = 1  # being trained or, once all its steps are taken, evaluated
    taken: int = 0  # steps of the epoch's plan, skipped ones included
    total: Tensor | None = None  # sum of their losses, on the device
    rows: EpochRows = field(default_factory=list)
    train_seconds: float = 0.0
    epoch_ends: list[float] = field(default_factory=list)  # train_seconds at the start and after each epoch
    wall_seconds: float = 0.0  # of earlier processes
    continuations: int = 0
    micro_batches: list[list[int]] = field(default_factory=list)  # [steps done, images at a time after them]

    def reductions(self) -> tuple[tuple[int, ...], ...] | None:
        """Return the reductions of the micro-batch after memory ran out, None without one."""
        return tuple(map(tuple, self.micro_batches)) or None

    def end_training(self) -> None:
        """Note the time at the end of an epoch's steps, once if the run was resumed after them."""
        if len(self.epoch_ends) == self.epoch:
            self.epoch_ends = [*self.epoch_ends, self.train_seconds]

    def end_epoch(self, rows: EpochRows) -> None:
        """Add the rows of the epoch and move to the next one."""
        self.epoch, self.taken, self.total, self.rows = self.epoch + 1, 0, None, self.rows + rows


@dataclass
class RunCheckpointer:
    """Checkpoints of one run: saved when due or when the run stops, and loaded to resume it."""

    identity: Mapping[str, object]
    numerics: Mapping[str, object]  # versions and device, on which the last bits depend
    trainer: Trainer
    loaders: tuple[Loader, Loader]
    checkpoints: Checkpoints
    signals: Signals
    origin: Path | None = None  # state of the shorter run that this one continues
    kept: "KeptState | None" = None
    progress: Progress = field(default_factory=Progress)
    watch: LossWatch = field(default_factory=LossWatch)
    began: float = field(default_factory=time.perf_counter)

    def begin(self, micro_batch: int | None, *, rerun: bool, note: Callable[[str], object]) -> None:
        """Resume from the last checkpoint, if there is one. ``micro_batch``: images at a time, fewer than before."""
        trainer = self.trainer
        if rerun and micro_batch is None:
            self.checkpoints.clear()
        if (path := self.resume(note)) is not None:
            name = self.checkpoints.folder.parent.name
            which = f"{path.parent.name} as run {name}" if path == self.origin else name
            note(f"continuing run {which} at step {trainer.steps_done:,} of {trainer.length.total_steps:,}")
        if not self.progress.continuations:
            self.progress.train_seconds = trainer.setup_seconds
            self.progress.epoch_ends = [trainer.setup_seconds]
        if micro_batch is not None:
            self.reduce(micro_batch)
        self.reached = self.position

    @property
    def position(self) -> int:
        """Return the number of steps of the plan that are taken, skipped ones included."""
        return (self.progress.epoch - 1) * self.trainer.length.steps_per_epoch + self.progress.taken

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        self.checkpoints.wait()

    def step(self) -> None:
        """Stop or save between two steps, if requested or due."""
        self.keep_state()
        if self.stop_requested():
            self.stop()
        if self.checkpoints.due(self.trainer.steps_done):
            self.save()

    def end_of_epoch(self) -> None:
        """Stop or save after the last step of an epoch, before its evaluation, and after the last evaluation."""
        self.keep_state()
        if self.stop_requested():
            self.stop()
        if self.checkpoints.due(self.trainer.steps_done, end_of_epoch=True):
            self.save()

    def interruptible(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the batches of an evaluation; stop between two of them if requested. A resumed run repeats it.

        Ranks evaluate different batches, and stop only after the evaluation.
        """
        for item in items:
            if self.signals.caught is not None and self.trainer.world.size == 1:
                self.stop()
            yield item

    def stop_requested(self) -> bool:
        """Return True if any rank received a signal to stop."""
        world = self.trainer.world
        return world.stops(self.signals.caught is not None or world.stop_asked)

    def save(self) -> None:
        """Save a checkpoint of the present step."""
        self.checkpoints.save(self.trainer.steps_done, self.state(), finite=TOTAL)

    def keep_state(self) -> None:
        """Write the state for longer runs once its step is done."""
        before, self.reached = self.reached, self.position
        if self.kept is not None and self.checkpoints.writes and before < self.kept.at <= self.reached:
            self.kept.write(self.state(), guard=self.checkpoints.guard)

    def worker_died(self) -> None:
        """Stop, or save a checkpoint, after a process that prepares images died.

        A signal to all processes of the run may reach this one a moment after the others.
        """
        for _ in range(20):
            if self.signals.caught is not None:
                self.stop()
            time.sleep(0.05)
        self.save()
        self.checkpoints.wait()

    def stop(self) -> None:
        """Save a checkpoint and raise Interrupted."""
        self.save()
        self.checkpoints.wait()
        signal = self.signals.caught
        cause = f"by {signal.name} " if signal else ""
        raise Interrupted(
            f"interrupted {cause}at step {self.trainer.steps_done:,} of {self.trainer.length.total_steps:,}"
        )

    def state(self) -> TrainingState:
        """Return the tensors and values of a checkpoint."""
        trained, progress = self.trainer.state(), self.progress
        tensors = {} if progress.total is None else {TOTAL: progress.total}
        wall = progress.wall_seconds + time.perf_counter() - self.began
        plain = {name: value for name, value in vars(progress).items() if name != "total"}
        values = {
            "identity": self.identity,
            "made_with": self.numerics,
            "trainer": trained.values,
            "progress": {**plain, "wall_seconds": wall},
            "skipped": [list(loader.skipped) for loader in self.loaders],
        }
        return TrainingState(with_prefix("trainer.", trained.tensors) | tensors, values)

    def resume(self, note: Callable[[str], object]) -> Path | None:
        """Resume from the last intact checkpoint, else from the state of a shorter run; return its file, if any.

        Raises UserError if it belongs to another run or a newer version.
        """
        newest = self.trainer.world.broadcast_object(lambda: self.checkpoints.newest(note) or self.of_shorter_run())
        if newest is None:
            return None
        path, state = newest
        try:
            theirs, ours = state.values["identity"], json.loads(json.dumps(self.identity))
            if path == self.origin:
                ours["epochs"] = theirs["epochs"]
            require_same_run(str(path), theirs, ours)
            self._load(state)
            made_with = state.values["made_with"].items()
        except UserError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} does not fit this run ({error}): type rerun=true to start from the beginning"
            ) from error
        for name, value in made_with:
            if value != self.numerics.get(name):
                note(
                    f"warning: the checkpoint was made with {name} {value}, now it is {self.numerics.get(name)}: "
                    "the last bits of the result may differ from those of an uninterrupted run"
                )
        return path

    def of_shorter_run(self) -> tuple[Path, TrainingState] | None:
        """Return the state of the shorter run that this one continues, None without one."""
        return None if self.origin is None else (self.origin, read_checkpoint(self.origin))

    def reduce(self, images: int) -> None:
        """Compute the gradient of at most ``images`` images at a time from here on, and of fewer than before."""
        if self.progress.micro_batches:
            images = min(images, self.progress.micro_batches[-1][1] // 2)
        self.trainer.recipe = replace(self.trainer.recipe, micro_batch=images)
        self.progress.micro_batches = [*self.progress.micro_batches, [self.trainer.steps_done, images]]

    def _load(self, state: TrainingState) -> None:
        tensors = {k.removeprefix("trainer."): v for k, v in state.tensors.items() if k.startswith("trainer.")}
        self.trainer.load(TrainingState(tensors, state.values["trainer"]))
        self.progress = Progress(**state.values["progress"])
        self.progress.rows = [_today(row) for row in self.progress.rows]
        self.progress.continuations += 1
        if self.progress.micro_batches:
            self.trainer.recipe = replace(self.trainer.recipe, micro_batch=self.progress.micro_batches[-1][1])
        if (total := state.tensors.get(TOTAL)) is not None:
            self.progress.total = like(total, self.trainer.device)
        for loader, skipped in zip(self.loaders, state.values["skipped"], strict=True):
            loader.skipped += [line for line in skipped if line not in loader.skipped]
        self.checkpoints.saved_step = self.trainer.steps_done


@dataclass
class KeptState:
    """State of a run that longer runs continue, of the step after which they differ."""

    at: int  # steps of the plan
    path: Path
    note: Callable[[str], object]

    def write(self, state: TrainingState, *, guard: Callable[[], object]) -> None:
        """Write the state, unless a longer run would have another one. Raises TrainingFailed if the disk is full."""
        total = state.tensors.get(TOTAL)
        if total is not None and not total.isfinite().all():
            return
        if state.values["trainer"]["read_clock"]:
            self.note(
                "warning: runtime.keep_state=true: no state is kept: a trick follows the share of the run that is done "
                "(as progressive_size and dropblock do), so no longer run can continue this one"
            )
            return
        write_checkpoint(self.path, state, before=guard)


def _today(row: EpochRow) -> EpochRow:
    """Return a row as today's: earlier versions named the weight set ``copy`` and had no soft top-1."""
    missing = {"soft_top1": math.nan} if "top1" in row else {}
    return missing | {"weights" if name == "copy" else name: value for name, value in row.items()}


def require_same_run(path: str, theirs: Any, ours: Mapping[str, object]) -> None:
    """Raise UserError with the differences, if the checkpoint of ``path`` belongs to another run."""
    different = [
        f"{name}={there} there, {here} here" for name, there, here in differences(theirs, ours) if there != here
    ]
    if different:
        raise UserError(
            f"{path} belongs to another run ({'; '.join(different[:3])}{'; ...' if len(different) > 3 else ''}): "
            "move it away, or type rerun=true to start from the beginning"
        )


def differences(theirs: Any, ours: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, their value, our value) for each leaf of two nested dictionaries."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted({*theirs, *ours}):
            below = f"{name}.{key}" if name else str(key)
            yield from differences(theirs.get(key, "nothing"), ours.get(key, "nothing"), below)
    else:
        yield name, theirs, ours


def numerics_environment(device: torch.device, devices: int = 1) -> dict[str, str | int]:
    """Return the versions and the hardware on which the last bits of a result depend."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({_instructions()})"
    return {"torch": torch.__version__, "device": name, "devices": devices, "threads": torch.get_num_threads()}


def _instructions() -> str:
    return torch.backends.cpu.get_cpu_capability()
