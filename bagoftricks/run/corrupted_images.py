"""Images of an evaluation, cell by cell: generated from the validation images, or read from a stored set."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from bagoftricks.data import Split, bytes_in_order
from bagoftricks.data.sources import Labels
from bagoftricks.errors import DataError
from bagoftricks.rng import Key, send
from bagoftricks.robustness.corruptions import CorruptionOptions, corrupt, resave_as_jpeg
from bagoftricks.robustness.flips import count_flips
from bagoftricks.robustness.perturbations import compared_with_first, frame_count, frames, middle
from bagoftricks.robustness.request import EvaluationRequest
from bagoftricks.robustness.stopwatch import Stopwatch
from bagoftricks.robustness.stored import stored_batches
from bagoftricks.robustness.tally import CLEAN, Cell, Piece, Tally, count_misses
from bagoftricks.run.evaluation import Subject

# Limits of a batch, below runtime.eval_batch_size: corruptions take memory, and on a CPU a large network is faster with
# batches that stay in its cache.
PIXELS_AT_ONCE, PIXELS_ON_CPU = 64 * 224 * 224, 8 * 224 * 224


def batch_size(subject: Subject, size: int) -> int:
    """Return the number of images of ``size`` pixels to evaluate at a time."""
    pixels = PIXELS_ON_CPU if subject.checked.device.type == "cpu" else PIXELS_AT_ONCE
    return min(subject.settings.runtime.eval_batch_size, max(1, pixels // size**2))


def chosen_rows(count: int, limit: int | None) -> Labels:
    """Return the rows within ``corruptions.limit``: the same for every run, and a subset of larger limits'."""
    rows = np.arange(count)
    if limit is None or limit >= count:
        return rows
    return np.sort(Key(0).fold("corruptions", "limit").numpy().permutation(count)[:limit])


def piece_count(subject: Subject, request: EvaluationRequest, tally: Tally) -> int:
    """Return the number of remaining pieces, estimated before the images are read."""
    batch = batch_size(subject, request.seen)
    rows = len(chosen_rows(len(subject.data.val.labels), request.settings.limit))
    first = 0 if request.stored else min(tally.stop)  # the first row of the batches
    return sum(-(-(rows - first) // batch) - (stop - first) // batch for stop in tally.stop if stop < rows)


def pieces(subject: Subject, request: EvaluationRequest, tally: Tally, watch: Stopwatch) -> Iterator[Piece]:
    """Yield the pieces that ``tally`` has not counted yet."""
    if request.stored is None:
        yield from _from_clean(subject, request, tally, watch, range(len(tally.cells)))
        return
    yield from _from_clean(subject, request, tally, watch, [tally.cells.index(CLEAN)])
    for number, cell in enumerate(tally.cells):
        if cell != CLEAN:
            yield from _from_stored(subject, request, tally, number)


def _from_clean(
    subject: Subject, request: EvaluationRequest, tally: Tally, watch: Stopwatch, numbers: "range | list[int]"
) -> Iterator[Piece]:
    """Yield pieces made from the validation images: each image is decoded once, all cells are made on the device."""
    sequences = request.protocol.sequences
    split, device = subject.data.val, subject.checked.device
    rows = chosen_rows(len(split.labels), request.settings.limit)
    first = min(tally.stop[number] for number in numbers)
    if first == len(rows):
        return
    batches = bytes_in_order(
        _subset(split, rows[first:]),
        replace(subject.settings.data, decode="full") if sequences else subject.settings.data,
        size=request.seen,
        short_side=request.short_side,
        batch_size=batch_size(subject, request.seen),
        workers=subject.settings.runtime.workers,
    )
    for offsets, images in batches:
        at = first + offsets
        whole = send(images.contiguous(), device)
        clean = middle(whole, request.size) if sequences else whole
        labels = send(torch.from_numpy(split.labels[rows[at]]), device)
        for number in numbers:
            done = int(np.searchsorted(at, tally.stop[number]))
            if done == len(at):
                continue
            cell, indices, stop = tally.cells[number], rows[at[done:]], int(at[-1]) + 1
            if sequences and cell != CLEAN:
                judge = partial(count_flips, with_first=compared_with_first(cell[0]))
                made = _watched(_frames(whole[done:], cell[0], indices, request), watch)
                compared = frame_count(cell[0], request.protocol.constants) - 1
                yield Piece(number, stop, made, judge, len(indices) * compared)
                continue
            with watch("corrupt"):
                images_of_cell = corrupted(clean[done:], cell, indices, request)
            yield _single(number, stop, images_of_cell, labels[done:])


def _single(number: int, stop: int, images: UInt8[Tensor, "B 3 S S"], labels: Int64[Tensor, " B"]) -> Piece:
    return Piece(number, stop, [images], count_misses(labels), len(images))


def _frames(
    whole: UInt8[Tensor, "B 3 L L"], name: str, indices: Labels, request: EvaluationRequest
) -> Iterator[Tensor]:
    """Return the frames of the perturbation ``name``, made one at a time."""
    constants, seed = request.protocol.constants, request.settings.seed
    return frames(whole, name, torch.from_numpy(indices), side=request.size, constants=constants, seed=seed)


def _watched(made: Iterator[Tensor], watch: Stopwatch) -> Iterable[Tensor]:
    while True:
        with watch("corrupt"):
            frame = next(made, None)
        if frame is None:
            return
        yield frame


def corrupted(
    images: UInt8[Tensor, "B 3 S S"], cell: Cell, indices: Labels, request: EvaluationRequest
) -> UInt8[Tensor, "B 3 S S"]:
    """Return the images of a cell by the protocol; ``indices``: their numbers in the validation split."""
    if cell == CLEAN:
        return images
    name, severity = cell
    protocol = request.protocol
    options = CorruptionOptions(protocol.constants, request.settings.seed, request.frost)
    made = corrupt(images, name, severity, torch.from_numpy(indices), options)
    return made if protocol.jpeg_quality is None else resave_as_jpeg(made, protocol.jpeg_quality)


def _from_stored(subject: Subject, request: EvaluationRequest, tally: Tally, number: int) -> Iterator[Piece]:
    assert request.stored is not None
    device, (name, severity) = subject.checked.device, tally.cells[number]
    split = request.stored.split(name, severity, subject.data.classes)
    rows = chosen_rows(len(split.labels), request.settings.limit)
    earlier = next((seen for cell, seen in zip(tally.cells[1:], tally.seen[1:], strict=True) if seen), len(rows))
    if len(rows) != earlier and number > 1:
        raise DataError(f"{name} at severity {severity} has {len(rows):,} stored images, earlier cells {earlier:,}")
    remaining = rows[tally.stop[number] :]
    at = tally.stop[number]
    workers = subject.settings.runtime.workers
    for images in stored_batches(split, remaining, request.size, batch_size(subject, request.size), workers):
        labels = split.labels[rows[at : at + len(images)]]
        at += len(images)
        yield _single(number, at, send(images, device), send(torch.from_numpy(labels), device))


def _subset(split: Split, rows: Labels) -> Split:
    """Return the rows of a split; the split itself for all rows, as it may cache its decoded images."""
    return split if len(rows) == len(split.labels) else split.subset(rows)
