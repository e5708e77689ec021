"""The images of an evaluation, cell by cell: generated from the validation images, or from a stored set."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from bagoftricks.data import Split, bytes_in_order
from bagoftricks.data.augment import send
from bagoftricks.data.sources import Labels
from bagoftricks.errors import DataError
from bagoftricks.rng import Key
from bagoftricks.robustness.corruptions import CorruptionOptions, corrupt, resave_as_jpeg
from bagoftricks.robustness.flips import count_flips
from bagoftricks.robustness.perturbations import compared_with_first, frame_count, frames, middle
from bagoftricks.robustness.request import EvaluationRequest
from bagoftricks.robustness.stopwatch import Stopwatch
from bagoftricks.robustness.stored import stored_batches
from bagoftricks.robustness.tally import CLEAN, Cell, Piece, Tally, count_misses
from bagoftricks.run.evaluation import Subject

# Of a batch, whatever runtime.eval_batch_size asks for: corruptions take memory, and on a CPU a large network is faster
# with batches that stay in its cache.
PIXELS_AT_ONCE, PIXELS_ON_CPU = 64 * 224 * 224, 8 * 224 * 224


def batch_size(subject: Subject, size: int) -> int:
    pixels = PIXELS_ON_CPU if subject.checked.device.type == "cpu" else PIXELS_AT_ONCE
    return min(subject.settings.runtime.eval_batch_size, max(1, pixels // size**2))


def chosen_rows(count: int, limit: int | None) -> Labels:
    """The rows that ``corruptions.limit`` leaves: the same for every run, and among those of larger limits."""
    rows = np.arange(count)
    if limit is None or limit >= count:
        return rows
    return np.sort(Key(0).fold("corruptions", "limit").numpy().permutation(count)[:limit])


def piece_count(subject: Subject, asked: EvaluationRequest, tally: Tally) -> int:
    """How many pieces are left, as far as it is known before the images are read."""
    batch = batch_size(subject, asked.seen)
    rows = len(chosen_rows(len(subject.data.val.labels), asked.settings.limit))
    first = 0 if asked.stored else min(tally.stop)  # where the batches begin
    return sum(-(-(rows - first) // batch) - (stop - first) // batch for stop in tally.stop if stop < rows)


def pieces(subject: Subject, asked: EvaluationRequest, tally: Tally, watch: Stopwatch) -> Iterator[Piece]:
    """What ``tally`` has not counted yet."""
    if asked.stored is None:
        yield from _from_clean(subject, asked, tally, watch, range(len(tally.cells)))
        return
    yield from _from_clean(subject, asked, tally, watch, [tally.cells.index(CLEAN)])
    for number, cell in enumerate(tally.cells):
        if cell != CLEAN:
            yield from _from_stored(subject, asked, tally, number)


def _from_clean(
    subject: Subject, asked: EvaluationRequest, tally: Tally, watch: Stopwatch, numbers: "range | list[int]"
) -> Iterator[Piece]:
    """Each image is read and decoded once; all cells are made from the batch that lies on the device."""
    sequences = asked.protocol.sequences
    split, device = subject.data.val, subject.checked.device
    rows = chosen_rows(len(split.labels), asked.settings.limit)
    first = min(tally.stop[number] for number in numbers)
    if first == len(rows):
        return
    batches = bytes_in_order(
        _some(split, rows[first:]),
        replace(subject.settings.data, decode="full") if sequences else subject.settings.data,
        size=asked.seen,
        short_side=asked.short_side,
        batch_size=batch_size(subject, asked.seen),
        workers=subject.settings.runtime.workers,
    )
    for offsets, images in batches:
        at = first + offsets
        whole = send(images.contiguous(), device)
        clean = middle(whole, asked.size) if sequences else whole
        labels = send(torch.from_numpy(split.labels[rows[at]]), device)
        for number in numbers:
            done = int(np.searchsorted(at, tally.stop[number]))
            if done == len(at):
                continue
            cell, indices, stop = tally.cells[number], rows[at[done:]], int(at[-1]) + 1
            if sequences and cell != CLEAN:
                yield _sequence(whole[done:], number, cell[0], indices, stop, asked, watch)
                continue
            with watch("corrupt"):
                made = corrupted(clean[done:], cell, indices, asked)
            yield _single(number, stop, made, labels[done:])


def _single(number: int, stop: int, images: UInt8[Tensor, "B 3 S S"], labels: Int64[Tensor, " B"]) -> Piece:
    return Piece(number, stop, [images], count_misses(labels), len(images))


def _sequence(
    whole: UInt8[Tensor, "B 3 L L"],
    number: int,
    name: str,
    indices: Labels,
    stop: int,
    asked: EvaluationRequest,
    watch: Stopwatch,
) -> Piece:
    """The frames of the perturbation ``name`` of these images, made one at a time."""
    constants, count = asked.protocol.constants, frame_count(name, asked.protocol.constants)
    made = frames(
        whole, name, torch.from_numpy(indices), side=asked.size, constants=constants, seed=asked.settings.seed
    )
    judge = partial(count_flips, with_first=compared_with_first(name))
    return Piece(number, stop, _watched(made, watch), judge, len(whole) * (count - 1))


def _watched(made: Iterator[Tensor], watch: Stopwatch) -> Iterable[Tensor]:
    while True:
        with watch("corrupt"):
            frame = next(made, None)
        if frame is None:
            return
        yield frame


def corrupted(
    images: UInt8[Tensor, "B 3 S S"], cell: Cell, indices: Labels, asked: EvaluationRequest
) -> UInt8[Tensor, "B 3 S S"]:
    """The images of a cell as the protocol has them; ``indices``: their numbers in the validation split."""
    if cell == CLEAN:
        return images
    name, severity = cell
    protocol = asked.protocol
    options = CorruptionOptions(protocol.constants, asked.settings.seed, asked.frost)
    made = corrupt(images, name, severity, torch.from_numpy(indices), options)
    return made if protocol.jpeg_quality is None else resave_as_jpeg(made, protocol.jpeg_quality)


def _from_stored(subject: Subject, asked: EvaluationRequest, tally: Tally, number: int) -> Iterator[Piece]:
    assert asked.stored is not None
    device, (name, severity) = subject.checked.device, tally.cells[number]
    split = asked.stored.split(name, severity, subject.data.classes)
    rows = chosen_rows(len(split.labels), asked.settings.limit)
    before = next((seen for cell, seen in zip(tally.cells[1:], tally.seen[1:], strict=True) if seen), len(rows))
    if len(rows) != before and number > 1:
        raise DataError(f"{name} at severity {severity} has {len(rows):,} stored images, earlier cells {before:,}")
    left = rows[tally.stop[number] :]
    at = tally.stop[number]
    workers = subject.settings.runtime.workers
    for images in stored_batches(split, left, asked.size, batch_size(subject, asked.size), workers):
        labels = split.labels[rows[at : at + len(images)]]
        at += len(images)
        yield _single(number, at, send(images, device), send(torch.from_numpy(labels), device))


def _some(split: Split, rows: Labels) -> Split:
    """The split itself where it is whole, for it may remember its decoded images."""
    return split if len(rows) == len(split.labels) else split.subset(rows)
