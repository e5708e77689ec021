"""Errors in one tree. A UserError is one line on the command line, with exit status 2.

UserError                the request cannot be carried out as typed
 |- ConflictError        two tricks claim one exclusive slot
 |- NoEffectError        a trick would change nothing
 |- TooSmall             the images are smaller than the network accepts
 |- DamagedRecord        a record file is damaged
 |- DamagedCheckpoint    a checkpoint file is damaged
 |- NotHere              this machine lacks a GPU, a package or a file; another one may have it
 |- StoreUnreachable     a store's server refuses or does not answer
 `- DataError            a data set is missing, empty or broken
     `- VanishedError    a file was removed during the run
RunFailure               the run ended without a record; one line, exit status 1
 |- RunElsewhere         another process trains the run
 |- TrainingFailed       the training cannot continue
 `- RankLost             another rank was killed or cannot continue
RankFailed               a bug in another rank; its traceback is the cause, a Remote
LossNotFinite            a loss is infinite or not a number; becomes a TrainingFailed
Interrupted              the run was stopped by a signal, and is saved; exit status 75
"""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import category

JOINERS = "\u200c\u200d"  # without them, several scripts and emoji are shown in pieces


class UserError(ValueError):
    """Request that cannot be carried out as typed; the message gives what, why and what to type instead."""


class ConflictError(UserError):
    """Claim of two tricks on one exclusive slot."""

    def __init__(self, one: str, other: str, slot: str) -> None:
        super().__init__(one, other, slot)
        self.first, self.second = sorted((one, other))
        self.slot = slot

    def __str__(self) -> str:
        return (
            f"tricks '{self.first}' and '{self.second}' both set {self.slot}: run them in separate arms, "
            f"or drop one with ~tricks.{self.first} or ~tricks.{self.second}"
        )


class NoEffectError(UserError):
    """Trick that is switched on and would change nothing: in an ablation, a false zero."""

    def __init__(self, trick: str, why: str, change: str = "choose another model=") -> None:
        super().__init__(trick, why, change)
        self.trick, self.why, self.change = trick, why, change

    def __str__(self) -> str:
        drop = f"drop it with ~tricks.{self.trick}"
        return f"trick '{self.trick}' changes nothing: {self.why}; {drop}, or {self.change}"


class TooSmall(UserError):
    """Images smaller than the network accepts."""


class NotHere(UserError):
    """Thing that a run needs and this machine lacks, such as a GPU, a package or a file: another one may have it."""

    def __init__(self, message: str, what: str = "") -> None:
        super().__init__(message)
        self.what = what  # in a word, if a run has no id without it: "a package"


class DataError(UserError):
    """Data set that is missing, empty or broken; ``found`` is what there is of it all the same (a data.Dataset)."""

    found: object = None


class VanishedError(DataError):
    """File that was removed during the run. Unlike a broken file, it is never skipped."""


class DamagedRecord(UserError):
    """Record file that is damaged."""


class DamagedCheckpoint(UserError):
    """Checkpoint file that is damaged."""


class StoreUnreachable(UserError):
    """Server of a store that refuses a request or does not answer it."""


class RunFailure(RuntimeError):
    """Expected end of a run without a record; the message gives when, why and what to type."""


class RunElsewhere(RunFailure):
    """Run that another process trains."""


class TrainingFailed(RunFailure):
    """Training that cannot continue."""


class RankLost(RunFailure):
    """Rank that was killed or cannot continue; the message names it and gives the reason."""


class RankFailed(RuntimeError):
    """Bug in another rank; the cause has its traceback."""


class Remote(Exception):
    """Traceback of another process, as the cause of an error in this one."""


LOSS_FAILURE = "the training loss is"  # begins the message of a run that diverged


class LossNotFinite(ArithmeticError):
    """Loss that is infinite or not a number.

    ``step`` counts from 1; ``losses`` are the last ones, by step.
    """

    def __init__(self, step: int, losses: dict[int, float]) -> None:
        super().__init__(step, losses)
        self.step, self.losses = step, losses


class Interrupted(KeyboardInterrupt):
    """Stop signal to a run, which is saved; the message gives the step."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'mixup'?"``, or an empty text if no known word is near."""
    lower = {name.lower(): name for name in known if name != word}
    near = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean '{lower[near[0]]}'?" if near else ""


def printable(text: object) -> str:
    r"""Return a path or a name, safe to print: ``\xe9`` for a byte that is not UTF-8, ``\x1b`` for an escape."""
    if (text := str(text)).isprintable():
        return text
    return "".join(c if c.isprintable() or c in JOINERS or category(c) == "Zs" else _escaped(c) for c in text)


def as_text(name: str) -> str:
    r"""Return a file's or folder's name as valid Unicode, for records: bytes that are not UTF-8 become ``\xe9``."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _escaped(c: str) -> str:
    return as_text(c) if "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode()
