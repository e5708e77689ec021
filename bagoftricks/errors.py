"""All errors, in one tree. A UserError is one line on the command line, with exit status 2.

UserError                the request cannot be carried out as typed
 |- ConflictError        two tricks claim one exclusive slot
 |- NoEffectError        a trick would change nothing
 |- TooSmall             the images are smaller than the network accepts
 |- DamagedRecord        a record file is damaged
 |- DamagedCheckpoint    a checkpoint file is damaged
 `- DataError            a data set is missing, empty or broken
     `- VanishedError    a file was removed during the run
RunFailure               the run ended without a record; one line, exit status 1
 |- RunElsewhere         another process trains the run
 |- TrainingFailed       the training cannot continue
 `- RankLost             another rank was killed or cannot continue
RankFailed               a bug in another rank; its traceback is the cause, a Remote
LossNotFinite            a loss is infinite or not a number; becomes a TrainingFailed
Interrupted              the run was asked to stop, and is saved; exit status 75
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """What was asked for cannot be done as asked; the message says what, why and what to type instead."""


class ConflictError(UserError):
    """Two tricks claim the same exclusive slot."""


class NoEffectError(UserError):
    """A trick was switched on and would change nothing: in an ablation, a false zero."""

    def __init__(self, trick: str, why: str) -> None:
        super().__init__(trick, why)
        self.trick, self.why = trick, why

    def __str__(self) -> str:
        drop = f"drop it with ~tricks.{self.trick}"
        return f"trick '{self.trick}' changes nothing: {self.why}; {drop}, or choose another model="


class TooSmall(UserError):
    """The images are smaller than the network can take."""


class DataError(UserError):
    """A data set is missing, empty or broken."""


class VanishedError(DataError):
    """A file that was there when the run began is gone. Unlike a broken file, it is never skipped."""


class DamagedRecord(UserError):
    """A file that should be a record but is not one."""


class DamagedCheckpoint(UserError):
    """A file that should be a checkpoint but is not one, or not any more."""


class RunFailure(RuntimeError):
    """A run that ended without a record for an expected reason; the message says when, why and what to type."""


class RunElsewhere(RunFailure):
    """A run that another process holds."""


class TrainingFailed(RunFailure):
    """A run that cannot continue."""


class RankLost(RunFailure):
    """A rank that was killed or cannot continue; the message says which, and why."""


class RankFailed(RuntimeError):
    """A bug in another rank; the cause has its traceback."""


class Remote(Exception):
    """The traceback of another process, as the cause of an error in this one."""


class LossNotFinite(ArithmeticError):
    """A loss that is infinite or not a number.

    ``step`` counts from 1; ``losses`` are the last ones, by step.
    """

    def __init__(self, step: int, losses: dict[int, float]) -> None:
        super().__init__(step, losses)
        self.step, self.losses = step, losses


class Interrupted(KeyboardInterrupt):
    """A run that was asked to stop and is saved; the message says at which step."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'mixup'?"``, or nothing when no known word is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
