"""One run from Python: ``bot.train``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bagoftricks.api.loading import LoadedRun, load
from bagoftricks.api.session import callers_state, command_line, composed, typed_request, user_errors
from bagoftricks.cli.train import train_one

if TYPE_CHECKING:
    from bagoftricks.store.record import Record


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """A finished run: its record, and the folder with its record, metrics and weights."""

    record: "Record"
    """its settings, metrics by weight set, costs, machine and command"""
    store: str
    """folder of the runs"""

    @property
    def id(self) -> str:
        """Digest of everything that can change the result."""
        return self.record.id

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        from bagoftricks.store.store import Store

        return Store(self.store).folder(self.id)

    @property
    def top1(self) -> float:
        """Accuracy on the validation images, in percent, of the weight set that a study reports."""
        return self.record.score()

    def load(self, weights: str | None = None, device: str | None = None) -> LoadedRun:
        """Return the network, its transform and classes, as ``bot.load`` does."""
        return load(self.id, self.store, weights, device)

    def __repr__(self) -> str:
        return f"TrainedRun(id={self.id!r}, top1={self.top1:.2f}, folder={str(self.folder)!r})"

    def _repr_html_(self) -> str:
        from bagoftricks.report.table import record_rows, render, run_columns

        rows = record_rows(self.record)
        return render(rows, run_columns(rows, "html"), "html")


def train(*overrides: str, **settings: Any) -> TrainedRun:
    """Train one run as ``bot-train`` does, or read its record if it is finished; return it.

    ``overrides`` are arguments as they are typed, ``"+refine=mixup"`` or ``"~tricks.mixup"``. ``settings`` are settings
    by name, with Python's values: texts letter for letter, numbers, ``True``, ``None``, lists, and mappings for the
    settings below a name. The run has the id, the store and the files of the command's; Ctrl-C saves it, and the same
    call resumes it. Raises ``errors.UserError`` for what cannot be carried out as given, and ``errors.RunFailure`` if
    the training fails.

    >>> import bagoftricks as bot
    >>> run = bot.train("+refine=label_smoothing", epochs=1, data={"limit": 300}, runtime={"progress": False})
    >>> run.record.tricks
    {'label_smoothing': {'epsilon': 0.1, 'form': 'uniform'}}
    >>> 0 <= run.top1 <= 100
    True
    """
    arguments, without = typed_request("bot-train", overrides, settings)
    made = composed(arguments, without)
    with user_errors(), callers_state():
        made, record = train_one(made, command_line("bot-train", arguments))
    return TrainedRun(record, made.store)
