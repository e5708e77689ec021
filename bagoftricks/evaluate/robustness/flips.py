"""Count how often a network changes its mind within a sequence of slightly changed images.

The flip probability of a perturbation is the share of compared pairs of frames whose predictions differ, over all
images (Hendrycks and Dietterich 2019, section 3.4). Counts stay on the device until all is counted.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from bagoftricks.evaluate.perturbations import PERTURBATIONS, compared_with_first, frame_count, frames

Classify = Callable[[UInt8[Tensor, "B 3 S S"]], Int64[Tensor, " B"]]
T = TypeVar("T")


def count_flips(predictions: Iterable[Int64[Tensor, "... B"]], *, with_first: bool) -> Int64[Tensor, "..."]:
    """How many predictions differ from the first frame's (``with_first``), or from those of the frame before.

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
    """Each item but the first beside what it is compared with."""
    turn = iter(items)
    known = next(turn)
    for item in turn:
        yield known, item
        known = known if with_first else item


def flip_probabilities(
    classify: Classify,
    images: UInt8[Tensor, "N 3 H W"],
    indices: Sequence[int],
    *,
    perturbations: Sequence[str] = PERTURBATIONS,
    side: int | None = None,
    constants: str = "imagenet",
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, float]:
    """The flip probability of each of ``perturbations``, in percent.

    ``classify`` gives the classes of a batch of bytes; the rest is as for ``perturbations.frames``.
    """
    counts = []
    for name in perturbations:
        count = torch.zeros((), dtype=torch.int64, device=images.device)
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            made = frames(images[part], name, indices[part], side=side, constants=constants, seed=seed)
            count += count_flips((classify(frame) for frame in made), with_first=compared_with_first(name))
        counts.append(count)
    compared = [len(images) * (frame_count(name, constants) - 1) for name in perturbations]
    found = torch.stack(counts).tolist() if counts else []
    return {name: 100 * n / of for name, n, of in zip(perturbations, found, compared, strict=True)}
