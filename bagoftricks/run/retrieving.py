"""Nearest neighbours of images among the images of a gallery, by the embeddings of a retrieval network."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bagoftricks.data import Dataset, find_dataset
from bagoftricks.data.sources import Labels, Split
from bagoftricks.data.unlabelled import find_images
from bagoftricks.errors import DataError
from bagoftricks.measure.retrieval import nearest_of
from bagoftricks.run.evaluation import Subject
from bagoftricks.settings import Settings


@dataclass(frozen=True)
class Gallery:
    """Images to find, each with the name of its class where that is known."""

    split: Split
    classes: Sequence[str | None]


@dataclass(frozen=True)
class FoundNeighbours:
    """Neighbours of Q queries, the nearest one first; ``rows`` are those of the queries that could be read."""

    rows: Labels
    neighbours: Labels  # (Q, k) rows of the gallery
    cosines: np.ndarray  # (Q, k)
    skipped: tuple[str, ...]  # a line for each image that could not be read


def own_gallery(settings: Settings) -> Gallery:
    """Return the validation images of a run's data."""
    data = find_dataset(settings.data)
    return Gallery(data.val, [data.classes[label] for label in data.val.labels])


def gallery_of(places: Sequence[str], settings: Settings) -> Gallery:
    """Return the images in files and folders; the name of the folder in a folder is the class of its images."""
    data = find_images(places, settings.data.max_pixels, name="gallery")
    typed = {os.path.abspath(place) for place in places}
    folders = [os.path.dirname(os.path.abspath(path)) for path in image_paths(data.val)]
    return Gallery(data.val, [None if folder in typed else os.path.basename(folder) for folder in folders])


def known_classes(split: Split, gallery: Gallery) -> list[str | None]:
    """Return the class of each image that lies in a folder with the name of a class of the gallery, else None."""
    known = set(gallery.classes) - {None}
    folders = (os.path.basename(os.path.dirname(os.path.abspath(path))) for path in image_paths(split))
    return [folder if folder in known else None for folder in folders]


def image_paths(split: Split) -> list[str]:
    """Return the path of each image, an empty text for one that is in no file."""
    files = (split.file(row) for row in range(len(split.labels)))
    return ["" if file is None else file.path for file in files]


def find_neighbours(subject: Subject, gallery: Gallery, weight_set: str, count: int) -> FoundNeighbours:
    """Return the ``count`` nearest images of the gallery for each image of the subject; none is its own neighbour."""
    network = subject.predictor(weight_set)
    queries, rows, broken = _embedded(subject, subject.data, network)
    others = replace(subject.data, val=gallery.split)
    images, kept, broken_there = _embedded(subject, others, network)
    places = {path: at for at, path in enumerate(_real(gallery.split, kept)) if path}
    same = torch.tensor([places.get(path, -1) for path in _real(subject.data.val, rows)])
    numbers, cosines = nearest_of(queries, images, count, same)
    return FoundNeighbours(rows, kept[numbers.numpy()], cosines.numpy(), (*broken, *broken_there))


def _real(split: Split, rows: Labels) -> list[str]:
    paths = image_paths(split.subset(rows))
    return [path and os.path.realpath(path) for path in paths]


def _embedded(subject: Subject, data: Dataset, network: object) -> tuple[Tensor, Labels, list[str]]:
    """Return the embeddings of the readable images, their rows, and a line for each of the others."""
    loader = subject.loader(data)
    parts = [network(batch.images).cpu() for batch in loader.epoch(0)]  # type: ignore[operator]
    if not parts:
        raise DataError(f"no image can be read: {loader.skipped[0]}")
    return torch.cat(parts), np.asarray(loader.rows), list(loader.skipped)
