"""Detection of the first loss that is not finite, without waiting for the device at each step."""

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from bagoftricks.data.plan import StepPlan
from bagoftricks.errors import LossNotFinite
from bagoftricks.store.files import write_whole
from bagoftricks.training.trainer import Trainer

EVERY = 32  # steps whose losses are read from a GPU at once


Arrived = list[tuple[int, list[float]]]  # steps with their numbers


class LateNumbers:
    """Numbers that a device computes at some steps, read on the host as soon as they are there, without a wait.

    On a CPU they are there at once. A GPU copies those of ``at_once`` steps together, one copy at a time.
    """

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self.recent: list[tuple[int, Tensor]] = []
        self._copied: tuple[list[int], Tensor, torch.cuda.Event] | None = None

    def add(self, step: int, numbers: Tensor) -> Arrived:
        """Add the numbers of a step, shape (n,); return what has arrived by now."""
        if not numbers.is_cuda:
            return [(step, numbers.tolist())]
        self.recent.append((step, numbers))
        return self.poll()

    def poll(self) -> Arrived:
        """Return what has arrived by now, and copy more if enough has come together."""
        arrived: Arrived = []
        if self._copied is not None and self._copied[2].query():  # type: ignore[no-untyped-call]
            arrived = self._arrived()
        if self._copied is None and len(self.recent) >= self.at_once:
            self._send()
        return arrived

    def flush(self) -> Arrived:
        """Return all that is left; wait for the device."""
        arrived = self._arrived() if self._copied is not None else []
        if self.recent:
            self._send()
            arrived += self._arrived()
        return arrived

    def _send(self) -> None:
        numbers = torch.stack([numbers.float() for _, numbers in self.recent])
        host = torch.empty(numbers.shape, pin_memory=True).copy_(numbers, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(numbers.device))
        self._copied, self.recent = ([step for step, _ in self.recent], host, event), []

    def _arrived(self) -> Arrived:
        assert self._copied is not None
        steps, host, event = self._copied
        event.synchronize()
        self._copied = None
        return list(zip(steps, host.tolist(), strict=True))


class LossWatch:
    """Check of every loss: on a CPU at once, on a GPU several at a time, after they were copied to the host."""

    def __init__(self) -> None:
        self.late = LateNumbers(EVERY)
        self.known: dict[int, float] = {}

    def check(self, step: int, loss: Tensor) -> None:
        """Raise LossNotFinite at the first non-finite loss, on a GPU some steps later."""
        self._check(self.late.add(step, loss.reshape(1)))

    def flush(self) -> None:
        """Check all remaining losses; wait for the device."""
        self._check(self.late.flush())

    def _check(self, arrived: Arrived) -> None:
        for step, (loss,) in arrived:
            self.known[step] = loss
            if not math.isfinite(loss):
                raise LossNotFinite(step, dict(self.known))
        for step in list(self.known)[:-EVERY]:
            del self.known[step]


def write_evidence(path: Path, facts: dict[str, object]) -> None:
    """Write the facts about a loss that is not finite to ``path``, as JSON."""
    text = json.dumps(facts, indent=2) + "\n"
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))


def evidence(error: LossNotFinite, trainer: Trainer, plan: StepPlan, seed: int) -> dict[str, object]:
    """Return the step's samples and draws, the losses before it, and the present gradients.

    On a GPU, ``gradients_of_step`` may be some steps later than the loss.
    """
    epoch, step = divmod(error.step - 1, trainer.length.steps_per_epoch)
    parts = next(plan.steps(epoch, step), [])
    norms = {name: str(float(p.grad.norm())) for name, p in trainer.model.named_parameters() if p.grad is not None}
    return {
        "step": error.step,
        "of": trainer.length.total_steps,
        "epoch": epoch + 1,
        "losses": {step: str(loss) for step, loss in error.losses.items()},
        "rows": [{"pass": number, "rows": (rows % plan.count).tolist()} for number, rows in parts],
        "draws": f"Key({seed}).fold(NAME, {error.step - 1}), of each map of the batch and of 'network'",
        "learning_rates": [float(group["lr"]) for group in trainer.optimizer.param_groups],
        "gradients_of_step": trainer.steps_done,
        "gradient_norms": norms,
        "weights_not_finite": [name for name, p in trainer.model.named_parameters() if not p.isfinite().all()],
    }
