"""Batches of small images that are kept on the device as bytes, where a whole batch is prepared at a time."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bagoftricks.data.augment import Augment, PassRows
from bagoftricks.data.cache import Made, kept_whole
from bagoftricks.data.image_file import skipped_line
from bagoftricks.data.numbers import EpochNumbers
from bagoftricks.data.plan import StepPlan, table_rows
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import Dataset, FileSplit, KeptSplit, Labels, MemorySplit, Split, source_of
from bagoftricks.data.stream import prepare_batches
from bagoftricks.data.transforms import pick
from bagoftricks.distributed import ALONE, World
from bagoftricks.errors import VanishedError
from bagoftricks.recipe.edits import Batch, Images
from bagoftricks.settings import SMALL_IMAGE, DataSettings

IN_MEMORY = 4 * 2**30  # bytes of small images that are kept decoded
DEFAULT_READING = Reading()


class MemoryLoader:
    """Batches of small images in memory. ``images`` counts those of an epoch, ``skipped`` names broken files.

    ``rows`` are those of the split that could be read; of a stream, they are known after an epoch.

    The images lie on the device if they fit and ``on_device``; else on the host, where they are prepared too.
    """

    def __init__(
        self,
        split: MemorySplit,
        preparation: Preparation,
        skipped: list[str],
        reading: Reading = DEFAULT_READING,
        rows: Labels | None = None,
    ) -> None:
        self.rows = np.arange(len(split.labels)) if rows is None else rows
        self.plan, self.augment, self.finish = preparation.plan, preparation.augment, preparation.finish
        self.teacher, self.skipped, self.shares = preparation.teacher, skipped, reading.shares
        self.images = self.plan.count if self.plan.key is None else len(self.plan) * self.plan.batch_size
        device = self.finish.device
        stays = self.augment.policy is None and reading.on_device and fits(split, device)
        self.place = device if stays else torch.device("cpu")
        self.pixels = split.on(self.place, self.finish.memory_format)
        self.targets = torch.from_numpy(split.targets).to(self.place)
        self.numbers = EpochNumbers(self.plan, self.augment, self.shares, self.place)

    def __len__(self) -> int:
        return len(self.plan)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        return (batch for _, batch in self.numbered(epoch))

    def numbered(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """Yield the batches of an epoch from step ``start`` on, each with the number of its step."""
        for step, parts, (rows, draws, shift) in self.numbers.epoch(epoch, start):
            images = self.augment.batch(pick(self.pixels, rows), draws)
            if self.shares.whole:
                images, rows, draws, shift = self._together(epoch, parts, images)
            targets = self.augment.targets(self.targets[rows], draws)
            yield step, self.finish(images, targets, shift, table_rows(self.teacher, rows))

    def _together(self, epoch: int, parts: PassRows, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the images of a whole batch, with their rows of the split, their draws and their colour noise."""
        places = self.shares.places(parts)
        images = self.shares.together(images, places, self.augment.views, self.finish.device)
        which = np.concatenate([rows for _, rows in parts]) % self.plan.count
        rows = torch.from_numpy(which).to(self.place, non_blocking=True)
        return images, rows, self.augment.draws(epoch, parts), self.augment.shift(epoch, parts)

    def sample(self, count: int) -> Images:
        """Return the first images of the split as the network sees them, without augmentation."""
        return self.finish(self.pixels[:count], self.targets[:count]).images


def fits(split: MemorySplit, device: torch.device) -> bool:
    """Return True if the images take at most half of a GPU's free memory, or lie there already."""
    there = any(place == device for place, _ in split.placed)
    return device.type != "cuda" or there or split.images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2


def prepared_whole(augment: Augment, count: int) -> bool:
    """Return True if ``count`` images are small enough for memory and prepared a batch at a time."""
    resized_at_random = augment.key is not None and augment.crop in ("area", "stretch")
    return augment.size <= SMALL_IMAGE and 3 * augment.size**2 * count <= IN_MEMORY and not resized_at_random


def keep_decoded(data: Dataset) -> Dataset:
    """Return the data set with a memory of its decoded images where they fit, for several runs in one process."""
    return replace(data, train=KeptSplit(data.train), val=KeptSplit(data.val))


def into_memory(split: Split, augment: Augment, data: DataSettings, workers: int, world: World = ALONE) -> Made:
    """Return all readable images of a split as ``augment`` prepares them, the errors of the others, and the rows left.

    They are always made from the images as they were found, never from those of another size. Rank 0 makes all ranks'.
    """
    if world.size > 1 and not isinstance(split, MemorySplit):
        return world.broadcast_object(lambda: into_memory(split, augment, data, workers * world.local_size))
    if isinstance(split, KeptSplit):
        if split.made is None or split.how != (augment, data.on_error):
            split.how, split.made = (augment, data.on_error), None
            split.made = into_memory(split.split, augment, data, workers)
        return split.made
    if isinstance(split, FileSplit) and data.cache != "none":
        return kept_whole(split, (augment, data.on_error), lambda: _into_memory(split, augment, data.on_error, workers))
    return _into_memory(split, augment, data.on_error, workers)


def _into_memory(split: Split, augment: Augment, on_error: str, workers: int) -> Made:
    size = augment.size
    if isinstance(split, MemorySplit) and split.images.shape[2:] == (size, size) and augment.short_side in (None, size):
        return split, [], np.arange(len(split.labels))
    steps = list(prepare_batches(split, StepPlan(len(split.labels), 512), augment, workers))
    broken = [error for step in steps for error in step.broken]
    gone = [error for error in broken if isinstance(error, VanishedError)]
    if broken and (gone or on_error == "fail" or len(broken) == len(split.labels)):
        raise (gone or broken)[0]
    rows = np.array([sample.index for step in steps for sample in step.samples])
    images = torch.cat([step.images for step in steps if step.images is not None])
    images = images.contiguous(memory_format=torch.channels_last)
    boxes = None if (found := source_of(split).boxes) is None else found[rows]
    return MemorySplit(images, split.labels[rows], boxes), [skipped_line(error) for error in broken], rows
