"""Errors a user can mend. The command line prints them as one line and exits with status 2.

UserError
 |- ConflictError    two tricks claim one exclusive slot
 |- NoEffectError    a trick was switched on and would change nothing
 |- TooSmall         the images are smaller than the network can take
 `- DataError        a data set is missing, empty or broken
     `- VanishedError  a file that was there is gone
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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'mixup'?"``, or nothing when no known word is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
