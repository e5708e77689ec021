"""Random fields for a chunk of images, made on their device: draw j of image i depends on (key, lane, i, j) alone.

A counter-based hash in 32-bit integer arithmetic replaces a generator: it needs no state, its words are the same on
every device and for every chunk, and on a CPU it is faster than drawing from a generator reseeded for each image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int16, Int32
from torch import Tensor

from bagoftricks.rng import Key

MULTIPLY_1, MULTIPLY_2 = 0x7FEB352D, 0x846CA68B - 2**32  # of the 32-bit mixer lowbias32 (Wellons 2018), as int32
HALF_WORD_LEVELS = 1 << 16  # values of a half word


@dataclass(frozen=True)
class Stream:
    """Draws of some images in one corruption and severity. A *lane* names a field, so that fields are independent.

    ``scalars`` are made on the host (they choose offsets and files); whole fields are made on ``device``.
    """

    key: Key
    indices: Sequence[int]
    device: torch.device

    def scalars(self, lane: int, count: int = 1) -> npt.NDArray[np.float64]:
        """Return ``count`` numbers in [0, 1) for each image, shape (n, count), on the host."""
        return self.key.fold(lane).uniform(self.indices, count)

    def words(self, lane: int, count: int) -> Int32[Tensor, "n count"]:
        """Return ``count`` words of 32 random bits for each image."""
        pair = self.key.fold(lane).words(self.indices, 1).view(np.int32)  # two halves of 64 bits
        halves = torch.from_numpy(pair).to(self.device, non_blocking=True)
        first, second = halves[:, :1], halves[:, 1:]
        words = torch.bitwise_xor(_counters(count, self.device), first)
        shifted = torch.empty_like(words)
        words.mul_(MULTIPLY_1)
        words ^= torch.bitwise_right_shift(words, 15, out=shifted).bitwise_and_(0x1FFFF)
        words.add_(second).mul_(MULTIPLY_2)
        words ^= torch.bitwise_right_shift(words, 16, out=shifted).bitwise_and_(0xFFFF)
        return words

    def halves(self, lane: int, *shape: int) -> Int16[Tensor, "n ..."]:
        """Return uniform integers in [-32768, 32767] for each image, two from a word."""
        count = prod(shape)
        return self.words(lane, -(-count // 2)).view(torch.int16)[:, :count].view(-1, *shape)

    def normal(self, lane: int, *shape: int) -> Float[Tensor, "n ..."]:
        """Return standard normal numbers, 2^16 midpoints of equal shares scaled to variance 1, at most 4.32 in size."""
        which = self.halves(lane, *shape).int().add_(HALF_WORD_LEVELS // 2)
        return torch.index_select(_quantiles(self.device), 0, which.view(-1)).view(which.shape)

    def uniform(self, lane: int, *shape: int) -> Float[Tensor, "n ..."]:
        """Return uniform numbers in (-1, 1), 2^16 midpoints of equal shares."""
        return self.halves(lane, *shape).float().add_(0.5).mul_(2 / HALF_WORD_LEVELS)


@lru_cache(maxsize=32)
def _counters(count: int, device: torch.device) -> Int32[Tensor, "1 count"]:
    """Return the numbers 0 to count - 1, each mixed once, so that the words of neighbours are unrelated."""
    numbers = np.arange(1, count + 1, dtype=np.uint32) * np.uint32(0x9E3779B9)
    numbers ^= numbers >> np.uint32(16)
    numbers *= np.uint32(MULTIPLY_1)
    numbers ^= numbers >> np.uint32(15)
    return torch.from_numpy(numbers.view(np.int32))[None].to(device)


@lru_cache(maxsize=4)
def _quantiles(device: torch.device) -> Float[Tensor, "65536"]:
    from scipy.special import ndtri  # type: ignore[import-untyped]

    table = ndtri((np.arange(HALF_WORD_LEVELS) + 0.5) / HALF_WORD_LEVELS)
    return torch.from_numpy((table / table.std()).astype(np.float32)).to(device)
