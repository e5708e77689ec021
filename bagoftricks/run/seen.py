"""Images as the network sees them: prepared, mixed and normalised as in a run, then turned into bytes again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.sources import Labels, Split
from bagoftricks.data.workers import Collected, Sample, Samples
from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.trick import Length
from bagoftricks.rng import Key
from bagoftricks.run.inspection import Looked
from bagoftricks.run.treatment import training_augment, validation_augment
from bagoftricks.settings import DataSettings

IMAGES, DRAWS = 8, 6  # training images, and epochs of each
CPU = torch.device("cpu")
Captioned = tuple[UInt8[Tensor, "3 S S"], str]  # with its caption


@dataclass(frozen=True)
class SeenRow:
    """Pictures next to each other, under a title."""

    title: str
    pictures: list[Captioned]


def seen_rows(looked: Looked) -> list[SeenRow]:
    """Return a row for each of some training images, with draws of several epochs, and rows of validation images."""
    data, settings, recipe = looked.data, looked.settings, looked.checked.recipe
    classes, outputs = data.classes, looked.checked.task.num_classes
    finish = Finish(settings.data, outputs, CPU, channels_last=False)
    augment, plain = training_augment(settings, recipe), validation_augment(settings, recipe)
    steps = max(len(data.train.labels) // settings.batch_size, 1)
    looked.checked.task.clock.begin(Length(steps, steps * settings.epochs))
    samples = _readable(data.train, augment, IMAGES * recipe.reads)
    epochs = sorted({number * settings.epochs // DRAWS for number in range(DRAWS)})
    in_epochs = ", ".join(str(epoch + 1) for epoch in epochs)
    labels = data.train.labels[samples[:IMAGES]]
    rows = [SeenRow(f"training: {classes[label]}, in epochs {in_epochs}", []) for label in labels]
    for epoch in epochs:
        batch = _batch(data.train, augment, finish, samples, epoch, recipe.reads)
        step = epoch * steps
        looked.checked.task.clock.set(step)
        for name, apply in recipe.map_batch:
            batch = apply(batch, Key(settings.seed).fold(name, step))
        for row, picture in zip(rows, _pictures(batch, settings.data, classes), strict=False):
            row.pictures.append(picture)
    shown = _readable(data.val, plain, 2 * DRAWS)
    pictures = _pictures(_batch(data.val, plain, finish, shown, 0), settings.data, classes) if shown else []
    return rows + [SeenRow("validation", pictures[at : at + DRAWS]) for at in range(0, len(pictures), DRAWS)]


def captioned_rows(split: Split, augment: Augment, captions: Mapping[int, str], across: int) -> list[SeenRow]:
    """Return images of a split as the network sees them, ``across`` in a row; ``captions``: row of the split -> text.

    Images that cannot be read any more are left out.
    """
    made = _prepared(split, augment, [Sample(0, 0, row) for row in captions])
    images = [] if made.images is None else list(made.images)
    pictures = [(image, captions[sample.index]) for image, sample in zip(images, made.samples, strict=True)]
    return [SeenRow("", pictures[at : at + across]) for at in range(0, len(pictures), across)]


def _readable(split: Split, augment: Augment, count: int) -> list[int]:
    """Return the rows of readable images, one of each class first, evenly over the classes."""
    found: list[int] = []
    for row in evenly(split.labels):
        if len(found) == count:
            break
        found += [sample.index for sample in _prepared(split, augment, [Sample(0, 0, row)]).samples]
    return found


def evenly(labels: Labels) -> list[int]:
    """Return all rows: the first of each class, the second of each class, ..."""
    seen: dict[int, int] = {}
    turns = []
    for label in labels.tolist():
        seen[label] = seen.get(label, 0) + 1
        turns.append(seen[label])
    return np.argsort(turns, kind="stable").tolist()  # type: ignore[no-any-return]


def _prepared(split: Split, augment: Augment, samples: list[Sample]) -> Collected:
    return Samples(split, augment).__getitems__(samples)


def _batch(split: Split, augment: Augment, finish: Finish, rows: list[int], epoch: int, reads: int = 1) -> Batch:
    """Return the batch of these rows; of several ``reads``, each has its part of the rows."""
    size = len(rows) // reads
    parts = [(p, np.array(rows[p * size : (p + 1) * size])) for p in range(reads)]
    made = _prepared(split, augment, [Sample(epoch, p, int(row)) for p, of in parts for row in of])
    assert made.images is not None
    labels = torch.from_numpy(split.labels[[sample.index for sample in made.samples]])
    return finish(made.images, labels, augment.shift(epoch, parts))


def _pictures(batch: Batch, data: DataSettings, classes: tuple[str, ...]) -> list[Captioned]:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in data.normalisation())
    pixels = (batch.images * std + mean).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
    return [(image, _caption(target, classes)) for image, target in zip(pixels, batch.targets, strict=False)]


def _caption(target: Float[Tensor, " K"], classes: tuple[str, ...]) -> str:
    """Return the classes that have a share of the target, the largest first."""
    shares, numbers = target.sort(descending=True)
    named = [(classes[n], s) for n, s in zip(numbers.tolist(), shares.tolist(), strict=True) if s > 0.01]
    if len(named) == 1:
        return str(named[0][0])
    return " + ".join(f"{name} {100 * share:.0f} %" for name, share in named)
