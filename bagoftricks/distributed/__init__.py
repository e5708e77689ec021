"""Several processes that carry out one run together; only this package imports torch.distributed."""

from bagoftricks.distributed.joining import in_ranks, join, requested_ranks
from bagoftricks.distributed.world import ALONE, World

__all__ = ["ALONE", "World", "in_ranks", "join", "requested_ranks"]
