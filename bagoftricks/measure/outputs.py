"""Outputs of a network for all images of a split, for scores that are no sums over batches."""

from collections.abc import Iterable

import torch
from torch import Tensor

from bagoftricks.distributed import World
from bagoftricks.recipe.edits import Batch, Predict


def outputs_in_order(predict: Predict, numbered: Iterable[tuple[int, Batch]], world: World) -> tuple[Tensor, Tensor]:
    """Return the outputs for all images and their targets, in the order of the split, on the network's device.

    The batches of several ranks meet on the host. Raises ValueError without any image.
    """
    mine = [(number, predict(batch.images), batch.targets) for number, batch in numbered]
    if world.size > 1:
        mine = [(number, outputs.cpu(), targets.cpu()) for number, outputs, targets in mine]
    every = sorted((row for rows in world.all_gather_object(mine) for row in rows), key=lambda row: row[0])
    if not every:
        raise ValueError("no image to evaluate on: the validation split is empty")
    return torch.cat([row[1] for row in every]), torch.cat([row[2] for row in every])
