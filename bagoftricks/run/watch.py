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


class LossWatch:
    """Check of every loss: on a CPU at once, on a GPU several at a time, after they were copied to the host."""

    def __init__(self) -> None:
        self.recent: list[tuple[int, Tensor]] = []
        self.known: dict[int, float] = {}
        self._copied: tuple[list[int], Tensor, torch.cuda.Event] | None = None

    def check(self, step: int, loss: Tensor) -> None:
        """Raise LossNotFinite at the first non-finite loss, on a GPU some steps later."""
        if not loss.is_cuda:
            self._check_values([step], [loss.item()])
            return
        self.recent.append((step, loss))
        if self._copied is not None and self._copied[2].query():  # type: ignore[no-untyped-call]
            self._arrived()
        if self._copied is None and len(self.recent) >= EVERY:
            self._send()

    def flush(self) -> None:
        """Check all remaining losses; wait for the device."""
        if self._copied is not None:
            self._arrived()
        if self.recent:
            self._send()
            self._arrived()

    def _send(self) -> None:
        losses = torch.stack([loss.float() for _, loss in self.recent])
        host = torch.empty(len(losses), pin_memory=True).copy_(losses, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(losses.device))
        self._copied, self.recent = ([step for step, _ in self.recent], host, event), []

    def _arrived(self) -> None:
        assert self._copied is not None
        steps, host, event = self._copied
        event.synchronize()
        self._copied = None
        self._check_values(steps, host.tolist())

    def _check_values(self, steps: list[int], losses: list[float]) -> None:
        for step, loss in zip(steps, losses, strict=True):
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
        "learning_rates": [group["lr"] for group in trainer.optimizer.param_groups],
        "gradients_of_step": trainer.steps_done,
        "gradient_norms": norms,
        "weights_not_finite": [name for name, p in trainer.model.named_parameters() if not p.isfinite().all()],
    }
