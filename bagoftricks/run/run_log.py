"""Figures of a training for its loggers and for steps.csv: read at the logged steps alone, without waiting for a GPU.

The loss and the norm of the gradient stay on the device until they are there (``LateNumbers``); everything else the
host knows. Nothing here changes a result.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from bagoftricks.errors import printable
from bagoftricks.loggers.base import Figures, Logger, RunFacts
from bagoftricks.run.courier import Courier
from bagoftricks.run.environment import environment
from bagoftricks.run.keeper import EpochRows, RunCheckpointer
from bagoftricks.run.prepare import Prepared
from bagoftricks.run.reporter import NO_SCORES
from bagoftricks.run.system_load import SystemLoad
from bagoftricks.run.watch import Arrived, LateNumbers
from bagoftricks.settings import OF_LOGGERS, Settings
from bagoftricks.store.secrets import hide, hide_command
from bagoftricks.store.steps import STEPS_CSV, StepsFile, last_step, read_steps
from bagoftricks.store.store import METRICS

LOG_EVERY = 50  # between two logged steps, where log_every= is not typed
OF_STEP = ("epoch", "images_seen", "loss", "lr", "grad_norm", "images_per_s")  # figures train/..., columns of steps.csv
NOT_LOGGED = ("tricks", "data", "model", "store", "format", "rerun", *OF_LOGGERS)  # or in the identity


@dataclass
class RunLog:
    """Log of one training on rank 0: what is asked for, and where it goes."""

    settings: Settings
    folder: Path  # of the run
    note: Callable[[str], object]
    before: Callable[[], object]  # raises if the run is another process's by now
    loggers: dict[str, Logger]
    late: LateNumbers = field(default_factory=LateNumbers)

    def __post_init__(self) -> None:
        self.every = self.settings.log_every or LOG_EVERY
        self.couriers: list[Courier] = []
        self.file: StepsFile | None = None
        self.rows: dict[int, dict[str, float]] = {}  # steps whose numbers are on the device
        self.norm: Tensor | None = None

    # --- start and end ---

    def begin(self, training: RunCheckpointer, facts: RunFacts) -> None:
        """Cut back what earlier processes logged after the step that the training goes on from; start the loggers."""
        self.training, self.trainer = training, training.trainer
        self.load = SystemLoad(self.trainer.device)
        self.mark = (facts.done, training.progress.train_seconds)
        self.total = facts.steps
        peaks = [group["peak_lr"] for group in self.trainer.optimizer.param_groups]
        self.rates = [] if len(set(peaks)) == 1 else [f"lr_{i}" for i in range(len(peaks))]
        path = self.folder / STEPS_CSV
        self.sent = (0, 0) if facts.again else (last_step(path), last_step(self.folder / METRICS, "steps"))
        columns = ["step", *OF_STEP[:4], *self.rates, *OF_STEP[4:]]
        try:
            self.file = StepsFile(path, columns, facts.done, before=self.before)
        except OSError as error:
            self.note(f"warning: {path} cannot be written ({error.strerror}): the run goes on without it")
        self.trainer.optimizer.register_step_pre_hook(self._read_norm)
        for name, logger in self.loggers.items():
            courier = Courier(name, logger)
            courier.start(facts, self._earlier() if facts.done and logger.repeats == "all" else [])
            if courier.where and self.settings.runtime.progress:
                self.note(f"{name}: {courier.where}")
            self.couriers.append(courier)
        self._drop_failed()

    def _earlier(self) -> list[tuple[int, Figures]]:
        """Return what earlier processes logged up to the step that the training goes on from, in order."""
        found: list[tuple[int, Figures]] = [
            (int(row.pop("step")), {f"train/{name}": float(value) for name, value in row.items() if value})
            for row in read_steps(self.folder / STEPS_CSV)
        ]
        by_step = groupby(self.training.progress.rows, lambda row: row["steps"])
        found += [scores_of_rows(list(rows)) for _, rows in by_step]
        return sorted(found, key=lambda each: each[0])

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(Exception):  # after an error of the device, nothing arrives
            self.flush()
        outcome = "done" if kind is None else "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        for courier in self.couriers:
            courier.finish(outcome)
        self._drop_failed()
        if self.file is not None:
            self.file.close()

    # --- a step ---

    def due(self, step: int) -> bool:
        """Return True if a step is logged: every ``log_every``-th one, and the last one."""
        return step % self.every == 0 or step == self.total

    def step(self, loss: Tensor) -> None:
        """Note a step that was taken, if it is logged."""
        if self.rows:
            self._emit(self.late.poll())
        step = self.trainer.steps_done
        if self.due(step):
            self.rows[step] = self._known(step)
            norm = torch.full_like(loss, math.nan) if self.norm is None else self.norm
            self.norm = None
            self._emit(self.late.add(step, torch.stack([loss.float(), norm.float()])))

    def _known(self, step: int) -> dict[str, float]:
        """Return what the host knows of a step."""
        progress, train = self.training.progress, self.training.loaders[0]
        rates = [float(group["lr"]) for group in self.trainer.optimizer.param_groups]
        images = train.images / len(train)
        (steps, seconds), self.mark = self.mark, (step, progress.train_seconds)
        passed = progress.train_seconds - seconds
        row = {"epoch": progress.epoch, "images_seen": round(step * images), "lr": max(rates)}
        row |= dict(zip(self.rates, rates, strict=False))
        return row | ({"images_per_s": (step - steps) * images / passed} if passed > 0 else {})

    def _read_norm(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Compute the norm of the gradient before a logged step, whose update may overwrite it."""
        if self.due(self.trainer.steps_done + 1):
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norm = get_total_norm(grads)
            scale = getattr(optimizer, "grad_scale", None)  # of fp16, which a fused optimiser divides out itself
            self.norm = norm if scale is None else norm / scale

    def _emit(self, arrived: Arrived) -> None:
        for step, (loss, norm) in arrived:
            row = {"loss": loss, **self.rows.pop(step)} | ({} if math.isnan(norm) else {"grad_norm": norm})
            self._write({"step": step, **row})
            figures = {f"train/{name}": value for name, value in row.items()}
            self._send(step, figures | self.load.figures(), step <= self.sent[0])
        if arrived:
            self._drop_failed()

    def _write(self, row: dict[str, float]) -> None:
        if self.file is None:
            return
        try:
            self.file.write(row)
        except OSError as error:
            self.note(f"warning: {STEPS_CSV} cannot be written ({error.strerror}): the run goes on without it")
            self.file.close()
            self.file = None

    # --- an epoch ---

    def flush(self) -> None:
        """Send what is on its way; wait for the device."""
        self._emit(self.late.flush())

    def evaluation(self, rows: EpochRows) -> None:
        """Send the scores of every weight set after an epoch."""
        if not rows:
            return
        step, figures = scores_of_rows(rows)
        self._send(step, figures, step <= self.sent[1])
        self._drop_failed()

    def _send(self, step: int, figures: Figures, known: bool) -> None:
        """Hand figures to the loggers; ``known``: an earlier process sent them, and they are the same ones."""
        for courier in self.couriers:
            if not (known and courier.logger.repeats == "nothing"):
                courier.log(step, figures)

    def _drop_failed(self) -> None:
        for courier in self.couriers:
            if courier.failure is not None:
                why = printable(courier.failure)
                self.note(f"warning: logger {courier.name} is dropped, and the run goes on without it: {why}")
        self.couriers = [courier for courier in self.couriers if courier.failure is None]


def scores_of_rows(rows: EpochRows) -> tuple[int, dict[str, float]]:
    """Return the step and the figures of an evaluation from its rows of metrics.csv."""
    figures = {f"val/{row['weights']}/{key}": row[key] for row in rows for key in row if key not in NO_SCORES}
    figures |= {"train/epoch_loss": rows[0]["train_loss"], "train/seconds": rows[0]["train_seconds"]}
    return int(rows[0]["steps"]), figures


def run_facts(prepared: Prepared, training: RunCheckpointer, command: str) -> RunFacts:
    """Return what loggers are told of a run: all settings and versions, without secrets."""
    settings, identity, trainer = prepared.settings, prepared.identity, training.trainer
    others = {key: value for key, value in asdict(settings).items() if key not in NOT_LOGGED}
    machine = asdict(environment(prepared.device, trainer.world.size))
    parts = {name: identity[name] for name in ("tricks", "data", "model")}
    config = {"id": prepared.id, "command": hide_command(command), **parts, **others, "environment": machine}
    return RunFacts(
        id=prepared.id,
        label=f"{'+'.join(identity['tricks']) or 'baseline'} seed {settings.seed}",
        group=settings.log_group,
        config=hide(config),
        steps=trainer.length.total_steps,
        done=trainer.steps_done,
        again=settings.rerun and trainer.steps_done == 0,
    )
