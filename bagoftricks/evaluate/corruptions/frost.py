"""Pictures of frost: made up, or the original ones from a folder of the user's."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Frost:
    """Five textures, each drawn with equal chance, and where they come from."""

    pictures: Sequence[UInt8[Tensor, "3 height width"]]
    source: str

    def describe(self) -> str:
        """For the record: which pictures made the frost."""
        return self.source
