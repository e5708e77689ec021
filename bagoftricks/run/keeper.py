"""Keeps a run safe between its steps: saves it when it is time or when it is asked to stop, and finds it again."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from bagoftricks.data import Loader
from bagoftricks.errors import Interrupted, UserError
from bagoftricks.run.signals import Signals
from bagoftricks.run.watch import LossWatch
from bagoftricks.store.checkpoints import Checkpoints
from bagoftricks.training.state import TrainingState, like, with_prefix
from bagoftricks.training.trainer import Trainer

EpochRows = list[dict[str, Any]]  # one row per epoch and evaluated copy: metrics.csv
T = TypeVar("T")
TOTAL = "progress.total"


@dataclass
class Progress:
    """How far a run has got: with the trainer's state, all that it needs to go on."""

    epoch: int = 1  # that is trained or, once all its steps are taken, evaluated
    taken: int = 0  # steps of the epoch's plan that are over
    total: Tensor | None = None  # sum of their losses, on the device
    rows: EpochRows = field(default_factory=list)
    train_seconds: float = 0.0
    wall_seconds: float = 0.0  # of the processes before this one
    continuations: int = 0
    micro_batches: list[list[int]] = field(default_factory=list)  # [steps done, images at a time from then on]

    def reduced(self) -> dict[str, Any]:
        """For the record: whether the memory did not suffice for the images that the recipe takes at a time."""
        return {"micro_batches": self.micro_batches} if self.micro_batches else {}

    def end_epoch(self, rows: EpochRows) -> None:
        self.epoch, self.taken, self.total, self.rows = self.epoch + 1, 0, None, self.rows + rows


@dataclass
class RunCheckpointer:
    """Checkpoints of a run in training: saved when due or when asked to stop, and found again."""

    identity: Mapping[str, object]
    numerics: Mapping[str, object]  # versions and device: they decide the last bits
    trainer: Trainer
    loaders: tuple[Loader, Loader]
    checkpoints: Checkpoints
    signals: Signals
    progress: Progress = field(default_factory=Progress)
    watch: LossWatch = field(default_factory=LossWatch)
    began: float = field(default_factory=time.perf_counter)

    def begin(self, micro_batch: int | None, *, rerun: bool, note: Callable[[str], object]) -> None:
        """Resume from the last checkpoint, if there is one. ``micro_batch``: images at a time, fewer than before."""
        trainer = self.trainer
        if rerun and micro_batch is None:
            self.checkpoints.clear()
        elif self.resume(note):
            note(
                f"continuing run {self.checkpoints.folder.parent.name} at step {trainer.steps_done:,} of "
                f"{trainer.length.total_steps:,}"
            )
        if not self.progress.continuations:
            self.progress.train_seconds = trainer.setup_seconds
        if micro_batch is not None:
            self.reduce(micro_batch)

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        self.checkpoints.wait()

    def step(self) -> None:
        """Between two steps."""
        if self.asked_to_stop():
            self.stop()
        if self.checkpoints.due(self.trainer.steps_done):
            self.save()

    def end_of_epoch(self) -> None:
        """After the last step of an epoch, before its evaluation, and again after the last evaluation."""
        if self.asked_to_stop():
            self.stop()
        if self.checkpoints.due(self.trainer.steps_done, end_of_epoch=True):
            self.save()

    def interruptible(self, items: Iterable[T]) -> Iterator[T]:
        """The batches of an evaluation, which can be interrupted between them: it is done again.

        Ranks have other batches each, and do not stop before they are through with them.
        """
        for item in items:
            if self.signals.caught is not None and self.trainer.world.size == 1:
                self.stop()
            yield item

    def asked_to_stop(self) -> bool:
        """Whether a signal, to any of the ranks, asks to stop."""
        world = self.trainer.world
        return world.stops(self.signals.caught is not None or world.stop_asked)

    def save(self) -> None:
        self.checkpoints.save(self.trainer.steps_done, self.state(), finite=TOTAL)

    def worker_died(self) -> None:
        """Between two steps, after the loss of a process that prepares images: stop, or save what there is.

        A signal to all processes of the run may be noted a moment after its effect on the others.
        """
        for _ in range(20):
            if self.signals.caught is not None:
                self.stop()
            time.sleep(0.05)
        self.save()
        self.checkpoints.wait()

    def stop(self) -> None:
        """Save, and leave the training."""
        self.save()
        self.checkpoints.wait()
        signal = self.signals.caught
        how = f"by {signal.name} " if signal else ""
        raise Interrupted(
            f"interrupted {how}at step {self.trainer.steps_done:,} of {self.trainer.length.total_steps:,}"
        )

    def state(self) -> TrainingState:
        trained, progress = self.trainer.state(), self.progress
        tensors = {} if progress.total is None else {TOTAL: progress.total}
        wall = progress.wall_seconds + time.perf_counter() - self.began
        kept = {name: value for name, value in vars(progress).items() if name != "total"}
        values = {
            "identity": self.identity,
            "made_with": self.numerics,
            "trainer": trained.values,
            "progress": {**kept, "wall_seconds": wall},
            "skipped": [list(loader.skipped) for loader in self.loaders],
        }
        return TrainingState(with_prefix("trainer.", trained.tensors) | tensors, values)

    def resume(self, note: Callable[[str], object]) -> bool:
        """Go on from the last checkpoint that is whole; False where there is none.

        Raises UserError where it is of another run, or of a newer version.
        """
        found = self.trainer.world.broadcast_object(lambda: self.checkpoints.newest(note))
        if found is None:
            return False
        path, state = found
        refuse_another(str(path), state.values.get("identity"), json.loads(json.dumps(self.identity)))
        try:
            self._load(state)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} does not fit this run ({error}): type rerun=true to start it anew") from error
        for name, value in state.values["made_with"].items():
            if value != self.numerics.get(name):
                note(
                    f"warning: until here the run had {name} {value}, now it has {self.numerics.get(name)}: "
                    "its last bits may be others than those of a run that was not interrupted"
                )
        return True

    def reduce(self, images: int) -> None:
        """Compute the gradient of at most so many images at a time from here on, and of fewer than before."""
        if self.progress.micro_batches:
            images = min(images, self.progress.micro_batches[-1][1] // 2)
        self.trainer.recipe = replace(self.trainer.recipe, micro_batch=images)
        self.progress.micro_batches = [*self.progress.micro_batches, [self.trainer.steps_done, images]]

    def _load(self, state: TrainingState) -> None:
        tensors = {k.removeprefix("trainer."): v for k, v in state.tensors.items() if k.startswith("trainer.")}
        self.trainer.load(TrainingState(tensors, state.values["trainer"]))
        self.progress = Progress(**state.values["progress"])
        self.progress.continuations += 1
        if self.progress.micro_batches:
            self.trainer.recipe = replace(self.trainer.recipe, micro_batch=self.progress.micro_batches[-1][1])
        if (total := state.tensors.get(TOTAL)) is not None:
            self.progress.total = like(total, self.trainer.device)
        for loader, skipped in zip(self.loaders, state.values["skipped"], strict=True):
            loader.skipped += [line for line in skipped if line not in loader.skipped]
        self.checkpoints.saved_step = self.trainer.steps_done


def refuse_another(path: str, theirs: Any, ours: Mapping[str, object]) -> None:
    """Raise UserError with what is different between the run of a checkpoint and this one."""
    different = [
        f"{name}={there} there, {here} here" for name, there, here in differences(theirs, ours) if there != here
    ]
    if different:
        raise UserError(
            f"{path} is of another run ({'; '.join(different[:3])}{'; ...' if len(different) > 3 else ''}): "
            "move it away, or type rerun=true to start anew"
        )


def differences(theirs: Any, ours: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two nested dictionaries, side by side."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted({*theirs, *ours}):
            below = f"{name}.{key}" if name else str(key)
            yield from differences(theirs.get(key, "nothing"), ours.get(key, "nothing"), below)
    else:
        yield name, theirs, ours


def numerics_environment(device: torch.device, devices: int = 1) -> dict[str, str | int]:
    """What decides the last bits of a result beside the run itself."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({_instructions()})"
    return {"torch": torch.__version__, "device": name, "devices": devices, "threads": torch.get_num_threads()}


def _instructions() -> str:
    return torch.backends.cpu.get_cpu_capability()
