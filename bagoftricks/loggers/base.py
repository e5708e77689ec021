"""Base of all loggers, and the facts of a run that they get. Imports nothing that takes time.

A logger is a subclass of ``Logger`` marked with ``@logger(name=...)``; its fields are its settings. It runs in a thread
of its own, on rank 0: what it raises drops it with one warning, and what it waits for holds up no step.

Figures come by name: ``train/loss``, ``train/lr``, ``train/grad_norm``, ``train/images_per_s``, ``train/images_seen``,
``train/epoch``, ``system/...``, and after an evaluation ``val/WEIGHTS/top1`` and so on (docs/logging.md).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

from bagoftricks.errors import NotHere, UserError, did_you_mean
from bagoftricks.registry import PACKAGE, Values, find_card, make_object
from bagoftricks.settings import Settings

Figures = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts of a run at the start of its training."""

    id: str
    label: str  # for people: the tricks and the seed
    group: str | None  # the study
    config: Mapping[str, Any]  # all settings, the data's digest and the versions, as JSON values without secrets
    steps: int
    done: int = 0  # steps that earlier processes took
    again: bool = False  # from its first step although it is logged already: rerun=true

    @property
    def flat(self) -> dict[str, Any]:
        """Return the config by dotted names; lists are texts, and what is not set is left out."""
        return dict(_leaves(self.config))


def _leaves(value: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    for key, held in value.items():
        if isinstance(held, Mapping):
            yield from _leaves(held, f"{name}{key}.")
        elif held is not None:
            yield f"{name}{key}", held if isinstance(held, bool | int | float | str) else str(held)


class Logger:
    """Receiver of the figures of one run: each logger overrides what it needs."""

    # what a run that goes on sends again of what an earlier process logged: nothing, as for a logger that appends;
    # later, the steps after the one that it goes on from; or all, for a logger that leaves out what it has
    repeats: ClassVar[str] = "nothing"

    def start(self, run: RunFacts) -> str | None:
        """Receive the start of a training; return a line about where its figures can be seen."""

    def log(self, step: int, figures: Figures) -> None:
        """Receive the figures of a step, or of the evaluation after it; steps count from 1."""

    def finish(self, outcome: str) -> None:
        """Receive how the training ended: done, interrupted or failed."""


def asked_loggers(settings: Settings) -> dict[str, Logger]:
    """Return the loggers of these settings by name. Raises UserError as ``make_logger`` does."""
    return {name: make_logger(name, settings.loggers.get(name, {})) for name in dict.fromkeys(settings.logger)}


def make_logger(name: str, values: Values) -> Logger:
    """Return a logger with these settings.

    Raises UserError for one that does not exist, a setting that it does not have, or a package that is not installed.
    """
    card = find_card("logger", name)
    known = [field.name for field in card.fields]
    for key in values:
        if key not in known:
            raise UserError(f"loggers.{name}.{key}: is no setting of it{did_you_mean(key, known)} ({', '.join(known)})")
    if (package := card.options.get("package")) and find_spec(package) is None:
        what = f"'bagoftricks[{name}]'" if card.source.is_relative_to(PACKAGE) else package
        raise NotHere(f"logger={name}: {package} is not installed; type pip install {what}")
    made: Logger = make_object(card, values)
    return made
