"""Layouts of residual blocks in stages."""

from collections.abc import Sequence

from torch import nn

from bagoftricks.models.layers import MakeBlock, Site


def plain_layout(
    depths: Sequence[int], width: int, block: MakeBlock, site: Site, *, c_in: int | None = None
) -> nn.Sequential:
    """Return the stages of a ResNet: each later one halves the map and doubles the width; ``c_in``: of the stem."""
    channels, done, stages = c_in or width, 0, []
    for i, depth in enumerate(depths):
        blocks = []
        for j in range(depth):
            here = site.at(f"stage{i + 1}.block{j}", stage=i + 1, block=done)
            blocks.append(block(channels, width * 2**i, 2 if i > 0 and j == 0 else 1, here))
            channels, done = block.expansion * width * 2**i, done + 1
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(*stages)
