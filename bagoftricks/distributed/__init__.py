"""Several processes that carry out one run together: nothing else of the package imports torch.distributed."""

from bagoftricks.distributed.joining import asked_for, in_ranks, join
from bagoftricks.distributed.links import RankFailed, RankLost
from bagoftricks.distributed.world import ALONE, World

__all__ = ["ALONE", "RankFailed", "RankLost", "World", "asked_for", "in_ranks", "join"]
