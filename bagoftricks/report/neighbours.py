"""Nearest neighbours of images, as a table, as JSON and as a sheet of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.augment import Augment
from bagoftricks.data.sources import Split
from bagoftricks.errors import as_text
from bagoftricks.escape import for_json
from bagoftricks.report.contact_sheet import LEAST_SIDE, write_sheet
from bagoftricks.report.predictions import file_name
from bagoftricks.report.styles import draw_table
from bagoftricks.report.text_table import Fit
from bagoftricks.run.retrieving import FoundNeighbours, Gallery
from bagoftricks.run.seen import SeenRow, captioned_rows
from bagoftricks.store.json_fields import Json

QUERIES_ON_SHEET = 20
FRAME = 4  # pixels
MARKS = {True: "right", False: "wrong", None: ""}
FRAME_COLOURS = {True: (0, 150, 60), False: (200, 30, 30), None: (255, 255, 255)}


@dataclass(frozen=True)
class Neighbour:
    """Image of the gallery; its class is None where it is not known, and so is ``right`` without the query's."""

    file: str
    class_name: str | None
    cosine: float
    right: bool | None

    def values(self) -> Json:
        return {"file": as_text(self.file), "class": self.class_name, "cosine": self.cosine, "right": self.right}

    @property
    def text(self) -> str:
        """Class (or file), cosine and mark in one line."""
        return " ".join(filter(None, [self.class_name or self.file, f"{self.cosine:.3f}", MARKS[self.right]]))


@dataclass(frozen=True)
class QueryImage:
    """Image with its nearest neighbours, the nearest one first."""

    file: str
    class_name: str | None
    neighbours: tuple[Neighbour, ...]

    def values(self) -> Json:
        found = [neighbour.values() for neighbour in self.neighbours]
        return {"file": as_text(self.file), "class": self.class_name, "neighbours": found}


def query_table(
    found: FoundNeighbours, split: Split, classes: Sequence[str | None], gallery: Gallery
) -> list[QueryImage]:
    """Return each query with the files, classes and cosines of its neighbours."""
    queries = []
    for row, numbers, cosines in zip(found.rows, found.neighbours, found.cosines, strict=True):
        own, near = classes[row], []
        for number, cosine in zip(numbers.tolist(), cosines.tolist(), strict=True):
            other = gallery.classes[number]
            right = None if own is None or other is None else own == other
            near.append(Neighbour(file_name(gallery.split, number), other, cosine, right))
        queries.append(QueryImage(file_name(split, int(row)), own, tuple(near)))
    return queries


def query_text(queries: Sequence[QueryImage], about: Json, style: str, fit: Fit | None = None) -> str:
    """Return the queries in a style of ``format=``; ``about`` is what the JSON says besides them."""
    if style == "json":
        return for_json({**about, "images": [query.values() for query in queries]})
    count = len(queries[0].neighbours)
    if style == "csv":
        ends = ["" if k == 0 else f"_{k + 1}" for k in range(count)]
        headings = ["file", "class", *(f"{key}{end}" for end in ends for key in ("nearest", "nearest_class", "cosine"))]
        rows = [
            [
                query.file,
                query.class_name,
                *(value for n in query.neighbours for value in list(n.values().values())[:3]),
            ]
            for query in queries
        ]
        return draw_table(headings, rows, (), style)
    shown = [
        [
            query.file,
            query.neighbours[0].text,
            query.neighbours[0].file,
            ", ".join(n.text for n in query.neighbours[1:]),
        ]
        for query in queries
    ]
    heads = ["image", "nearest", "its file", "next"][: 3 + (count > 1)]
    return draw_table(heads, [row[: len(heads)] for row in shown], {0, 1, 2, 3}, style, fit)


def write_query_sheet(
    queries: Sequence[QueryImage], found: FoundNeighbours, splits: tuple[Split, Split], augment: Augment, out: str
) -> str:
    """Write the first queries, each with its neighbours to the right of it, as a PNG; return a line about it."""
    rows = []
    for query, row, numbers in list(zip(queries, found.rows, found.neighbours, strict=True))[:QUERIES_ON_SHEET]:
        captions = {
            int(number): f"{near.cosine:.2f} {MARKS[near.right]}\n{near.class_name or near.file.rpartition('/')[2]}"
            for number, near in zip(numbers, query.neighbours, strict=True)
        }
        marks = {int(number): near.right for number, near in zip(numbers, query.neighbours, strict=True)}
        own = {int(row): f"{query.file.rpartition('/')[2]}\n{query.class_name or ''}"}
        shown = [
            *captioned_rows(splits[0], augment, own, 1),
            *captioned_rows(splits[1], augment, captions, len(captions)),
        ]
        framed = [None, *marks.values()]
        pictures = [
            (with_frame(image, mark), text)
            for (image, text), mark in zip(
                [picture for part in shown for picture in part.pictures], framed, strict=False
            )
        ]
        rows.append(SeenRow("", pictures))
    write_sheet(rows, out)
    of = f" the first {len(rows)} of" if len(rows) < len(queries) else ""
    return f"{out} shows{of} {len(queries):,} images, each with its nearest ones to the right"


def with_frame(picture: UInt8[Tensor, "3 S S"], right: bool | None) -> UInt8[Tensor, "3 T T"]:
    """Return a picture, enlarged to be seen, in a frame that is green if it is right and red if it is wrong."""
    scale = -(-LEAST_SIDE // picture.shape[1])
    large = picture.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    framed = torch.tensor(FRAME_COLOURS[right], dtype=torch.uint8)[:, None, None].expand(large.shape).clone()
    inside = slice(FRAME, -FRAME)
    framed[:, inside, inside] = large[:, inside, inside]
    return framed
