"""Retrieval: for each image, the images of its class among its nearest neighbours.

N images, each a query among all the others; D dimensions of an embedding; k neighbours. Nearest is the
highest cosine similarity, of equal ones the image with the lowest number. A cosine that is not a number is the lowest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

COSINES_AT_ONCE = 2**24  # cosines that are held at once
LOWEST = -2.0  # below any cosine


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of N queries, the nearest one first: True for each that is of the query's class.

    ``others`` is the number of other images of the query's class. A query without any is a miss in all scores.
    """

    alike: Bool[Tensor, "N k"]
    others: Int64[Tensor, " N"]

    @property
    def hits(self) -> Bool[Tensor, " N"]:
        """True for each query whose nearest neighbour is of its class."""
        return self.alike[:, :1].any(1)

    def recall(self, k: int) -> float:
        """Return recall at ``k`` in percent: the share of queries with one of their class among the nearest ``k``."""
        return _percent(self.alike[:, :k].any(1))

    def map_at_r(self) -> float:
        """Return the mean average precision at R in percent (Musgrave et al. 2020, arXiv:2003.08505, section 3.2).

        The average precision of a query is (1/R) sum over i = 1 ... R of P(i) rel(i): R is the number of other images
        of its class, P(i) the precision of the nearest i, and rel(i) is 1 if neighbour i is of its class.
        """
        numbers = torch.arange(1, self.alike.shape[1] + 1, device=self.alike.device)
        counted = self.alike & (numbers <= self.others[:, None])
        sums = (counted * counted.cumsum(1) / numbers).sum(1, dtype=torch.float64)
        return _percent(sums / self.others.clamp(min=1))


def recalls(embeddings: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], ks: Sequence[int]) -> dict[int, float]:
    """Return recall at each of ``ks`` in percent; a query whose class has no other image is a miss."""
    found = neighbours(embeddings, labels, max(ks))
    return {k: found.recall(k) for k in ks}


def map_at_r(embeddings: Float[Tensor, "N D"], labels: Int64[Tensor, " N"]) -> float:
    """Return the mean average precision at R in percent; a query whose class has no other image counts 0."""
    return neighbours(embeddings, labels).map_at_r()


def neighbours(embeddings: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], count: int | None = None) -> Neighbours:
    """Return the ``count`` nearest neighbours of each image, by default those that mean average precision at R needs.

    Computed on the device of ``embeddings``, some rows at a time. There are at most N - 1 neighbours.
    """
    _, members, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    others = sizes[members] - 1
    count = min(int(others.max()) if count is None else count, len(labels) - 1)
    alike = [
        labels[nearest_images(cosines, count)] == labels[rows, None] for rows, cosines in _similarities(embeddings)
    ]
    return Neighbours(torch.cat(alike), others)


def nearest_of(
    queries: Float[Tensor, "Q D"], gallery: Float[Tensor, "N D"], count: int, same: Int64[Tensor, " Q"]
) -> tuple[Int64[Tensor, "Q k"], Float[Tensor, "Q k"]]:
    """Return the ``count`` nearest images of a gallery for each query, and their cosines.

    ``same`` is the number of the query itself in the gallery, which is never its neighbour, or -1. There are at most as
    many neighbours as each query can have.
    """
    units, others = F.normalize(queries.float(), dim=1), F.normalize(gallery.float(), dim=1)
    count = min(count, len(others) - bool((same >= 0).any()))
    found = []
    for rows in torch.split(torch.arange(len(units)), max(1, COSINES_AT_ONCE // len(others))):
        cosines = (units[rows] @ others.T).nan_to_num_(nan=LOWEST)
        there = same[rows] >= 0
        cosines[torch.arange(len(rows))[there], same[rows][there]] = -torch.inf
        numbers = nearest_images(cosines, count)
        found.append((numbers, cosines.gather(1, numbers)))
    numbers, best = (torch.cat(parts) for parts in zip(*found, strict=True))
    return numbers, best


def nearest_images(cosines: Float[Tensor, "Q N"], count: int) -> Int64[Tensor, "Q count"]:
    """Return the numbers of the ``count`` images with the highest cosines, and of equal ones the lower number first."""
    best, numbers = cosines.topk(min(count + 1, cosines.shape[1]))
    if (best[:, 1:] == best[:, :-1]).any():  # topk takes any of equal ones
        numbers = _ordered(cosines).topk(count).indices
    return numbers[:, :count]


def _similarities(embeddings: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the numbers of a few queries and their cosines with all images; the query itself is last of all."""
    units = F.normalize(embeddings.float(), dim=1)
    for rows in torch.split(torch.arange(len(units), device=units.device), max(1, COSINES_AT_ONCE // len(units))):
        cosines = (units[rows] @ units.T).nan_to_num_(nan=LOWEST)
        cosines[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
        yield rows, cosines


def _ordered(cosines: Tensor) -> Tensor:
    """Return whole numbers that rank images as neighbours: the bits of the cosine, then the number of the image."""
    bits = (cosines + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (rising << 32) - torch.arange(cosines.shape[1], device=cosines.device)


def _percent(shares: Tensor) -> float:
    return 100 * shares.double().mean().item()
