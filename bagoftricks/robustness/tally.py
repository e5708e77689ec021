"""Count a network's errors on every cell: a corruption at a severity, or the flips of its predictions in sequences.

The counts can be saved and restored.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from bagoftricks.recipe.edits import Images, Predict
from bagoftricks.robustness.stopwatch import Stopwatch

Cell = tuple[str, int]  # corruption and severity
CLEAN: Cell = ("clean", 0)
Judge = Callable[[Iterable[Int64[Tensor, "sets B"]]], Int64[Tensor, " sets"]]  # counts errors or flips


@dataclass(frozen=True)
class Piece:
    """Images of one cell on the device: one batch, or the frames of a sequence."""

    cell: int  # index of the cell
    stop: int  # rows of the data that are done after it
    frames: Iterable[UInt8[Tensor, "B 3 S S"]]
    judge: Judge
    judged: int  # images, or pairs of frames


@dataclass(frozen=True)
class Counts:
    """Counts of a tally as plain values, for a file."""

    cells: list[list[str | int]]
    weights: list[str]
    wrong: list[list[int]]
    seen: list[int]
    stop: list[int]


@dataclass
class Tally:
    """Errors of each weight set on each cell. The counts stay on the device until they are read."""

    cells: Sequence[Cell]
    weights: Sequence[str]  # names of the weight sets
    device: torch.device
    wrong: Int64[Tensor, "sets cells"] = field(init=False)
    seen: list[int] = field(init=False)  # images of each cell, or pairs of frames
    stop: list[int] = field(init=False)  # rows done in each cell, broken images included

    def __post_init__(self) -> None:
        self.wrong = torch.zeros(len(self.weights), len(self.cells), dtype=torch.int64, device=self.device)
        self.seen, self.stop = [0] * len(self.cells), [0] * len(self.cells)

    def add(self, piece: Piece, misses: Int64[Tensor, " sets"]) -> None:
        """Count a piece; ``misses`` are each weight set's errors or flips, still on the device."""
        self.wrong[:, piece.cell] += misses
        self.seen[piece.cell] += piece.judged
        self.stop[piece.cell] = piece.stop

    def errors(self, weights: str) -> dict[Cell, float]:
        """Return the errors of a weight set on each cell, or its flips, in percent."""
        wrong = self.wrong[self.weights.index(weights)].tolist()
        return {
            cell: 100 * count / seen for cell, count, seen in zip(self.cells, wrong, self.seen, strict=True) if seen
        }

    def counts(self) -> Counts:
        """Return the counts as plain values; wait for the device."""
        cells: list[list[str | int]] = [list(cell) for cell in self.cells]
        return Counts(cells, list(self.weights), self.wrong.tolist(), self.seen, self.stop)

    def load(self, counts: Counts) -> None:
        """Restore ``counts``; raise ValueError if they belong to other cells or weights."""
        wrong, seen, stop = torch.tensor(counts.wrong), list(counts.seen), list(counts.stop)
        same = [tuple(cell) for cell in counts.cells] == list(self.cells) and counts.weights == list(self.weights)
        if not same or wrong.shape != self.wrong.shape or not len(seen) == len(stop) == len(self.cells):
            raise ValueError("the counts are of other cells")
        self.wrong, self.seen, self.stop = wrong.to(self.device), seen, stop


def count_errors(
    pieces: Iterable[Piece],
    predicts: Mapping[str, Predict],
    prepare: Callable[[UInt8[Tensor, "B 3 S S"]], Images],
    tally: Tally,
    watch: Stopwatch,
    after: Callable[[], object],
) -> None:
    """Predict every piece with every weight set, and call ``after`` after each piece.

    Nothing waits for the device here. ``prepare`` turns bytes into the network's input.
    """

    def predictions(frames: Iterable[UInt8[Tensor, "B 3 S S"]]) -> Iterator[Int64[Tensor, "sets B"]]:
        for frame in frames:
            with watch("predict"):
                images = prepare(frame)
                found = torch.stack([predict(images).argmax(1) for predict in predicts.values()])
            yield found

    for piece in pieces:
        tally.add(piece, piece.judge(predictions(piece.frames)))
        after()


def count_misses(labels: Int64[Tensor, " B"]) -> Judge:
    """Return the judge of a single batch, which counts the predictions that differ from its labels."""
    return lambda predictions: next(iter(predictions)).ne(labels).sum(-1)


def by_corruption(errors: Mapping[Cell, float]) -> dict[str, list[float]]:
    """Return the errors of each corruption in the order of the severities, without the clean images."""
    found: dict[str, list[float]] = {}
    for (corruption, severity), error in sorted(errors.items(), key=lambda item: item[0][1]):
        if severity:
            found.setdefault(corruption, []).append(error)
    order = list(dict.fromkeys(corruption for corruption, severity in errors if severity))
    return {corruption: found[corruption] for corruption in order}
