"""Work of a process on a step: its images decoded and prepared, or their bytes for a GPU to decode."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from bagoftricks.data.augment import Augment
from bagoftricks.data.decode import decode_on
from bagoftricks.data.handover import LastImages, SharedSteps
from bagoftricks.data.image_file import ImageFile
from bagoftricks.data.sources import Split
from bagoftricks.errors import DataError


@dataclass(frozen=True)
class Sample:
    """One image to prepare: what a worker is asked for."""

    epoch: int
    pass_: int
    index: int  # row of the image in the split
    copy: int = 0  # number of the samples of this image before it in this pass
    count: int = 0  # images of the split

    @property
    def number(self) -> int:
        """Return the number that names the sample's draws in its pass."""
        return self.index + self.count * self.copy


@dataclass
class Collected:
    """A step's readable images with their samples, and the broken files."""

    samples: list[Sample]
    images: UInt8[Tensor, "VB C S S"] | None
    broken: list[DataError] = field(default_factory=list)

    def pin_memory(self) -> "Collected":
        return Collected(self.samples, None if self.images is None else self.images.pin_memory(), self.broken)


@dataclass
class Files:
    """A step's image files as they are, for ``decoded`` to make images of."""

    samples: list[Sample]
    files: list[tuple[ImageFile, Tensor]]
    broken: list[DataError]


@dataclass(frozen=True)
class Samples:
    """A map from a step's requests to its prepared images, for worker processes; broken files are kept apart."""

    split: Split
    augment: Augment
    last: LastImages | None = None
    shared: bool = True  # by workers: the images are made in memory that they share with the run
    kept: SharedSteps | None = None  # for a loader whose steps are used before the next one is asked for

    def __getitems__(self, samples: Sequence[Sample]) -> Collected:
        made = list(self._made(samples))
        good = [(sample, views) for sample, views in made if isinstance(views, Tensor)]
        broken = [error for _, error in made if isinstance(error, DataError)]
        in_worker = self.shared and get_worker_info() is not None
        together = default_collate if self.shared else torch.stack
        stack = self.kept.stack if in_worker and self.kept is not None else together
        return Collected([s for s, _ in good], stacked([views for _, views in good], stack), broken)

    def _made(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Tensor | DataError]]:
        draws = draws_of(self.augment, samples)
        for sample, row, numbers in zip(samples, draws[:, None], draws.tolist(), strict=True):
            if self.last is not None:
                self.last.note(sample.index)
            try:
                square = self.augment.square_of(self.split, sample.index, numbers)
                yield sample, self.augment.colours(square[None], row)
            except DataError as error:
                yield sample, error


@dataclass(frozen=True)
class SharedBytes:
    """A map from a step's requests to its files' bytes."""

    split: Split
    last: LastImages | None = None
    shared: bool = True

    def __getitems__(self, samples: Sequence[Sample]) -> Files:
        read = Files([], [], [])
        for sample in samples:
            if self.last is not None:
                self.last.note(sample.index)
            file = self.split.file(sample.index)
            assert file is not None, "only files are decoded on a GPU"
            try:
                read.files.append((file, torch.frombuffer(file.read()[1], dtype=torch.uint8)))
                read.samples.append(sample)
            except DataError as error:
                read.broken.append(error)
        return read


def decoded(read: Files, augment: Augment, device: torch.device) -> Collected:
    """Return the images of a step, decoded on ``device``, cropped and flipped; their colours are left."""
    images = decode_on(device, read.files)
    draws = draws_of(augment, read.samples).tolist()
    made = [
        (s, augment.square(image, row)[None])
        for s, image, row in zip(read.samples, images, draws, strict=True)
        if isinstance(image, Tensor)
    ]
    broken = [error for error in images if isinstance(error, DataError)]
    return Collected([s for s, _ in made], stacked([square for _, square in made]), read.broken + broken)


def draws_of(augment: Augment, samples: Sequence[Sample]) -> Float[Tensor, "B n"]:
    """Return the numbers of the samples of one epoch, drawn for all of a pass at once."""
    parts = [(p, np.array([s.number for s in some])) for p, some in groupby(samples, lambda s: s.pass_)]
    return augment.draws(samples[0].epoch, parts) if samples else torch.empty(0, 0)


def stacked(
    images: Sequence[UInt8[Tensor, "V C S S"]], stack: Callable[[list[Tensor]], Tensor] = torch.stack
) -> UInt8[Tensor, "VB C S S"] | None:
    """Stack all first views, then all second ones, in channels_last."""
    if not images:
        return None
    pixels = [views[v].permute(1, 2, 0) for v in range(len(images[0])) for views in images]
    return stack(pixels).permute(0, 3, 1, 2)
