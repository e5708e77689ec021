"""Count how often a network's prediction changes within a sequence of slightly changed images.

The flip probability of a perturbation is the share of compared pairs of frames whose predictions differ, over all
images (Hendrycks and Dietterich 2019, section 3.4). Counts stay on the device until the end.
"""

from collections.abc import Iterable
from typing import TypeVar

from jaxtyping import Int64
from torch import Tensor

T = TypeVar("T")


def count_flips(predictions: Iterable[Int64[Tensor, "... B"]], *, with_first: bool) -> Int64[Tensor, "..."]:
    """Count the predictions that differ from the first frame's (``with_first``), or from the frame's before.

    ``predictions`` has the classes of each frame in turn, for several networks at once if there are more dimensions.
    """
    total: Tensor | None = None
    for known, found in pairs(predictions, with_first=with_first):
        differ = found.ne(known).sum(-1)
        total = differ if total is None else total + differ
    if total is None:
        raise ValueError("a sequence needs two frames to compare")
    return total


def pairs(items: Iterable[T], *, with_first: bool) -> Iterable[tuple[T, T]]:
    """Return each item but the first, after the item that it is compared with."""
    turn = iter(items)
    known = next(turn)
    for item in turn:
        yield known, item
        known = known if with_first else item
