"""Task, networks and images on which a trick is shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Edit, Part, SetPart
from bagoftricks.recipe.trick import Length, Task, Trick
from bagoftricks.rng import Key
from bagoftricks.settings import ModelSettings, network_settings
from bagoftricks.tricks.catalogue import create

CLASSES, BATCH, PIXELS = 10, 128, 32
COUNTS = tuple(round(5000 * 0.6**k) for k in range(CLASSES))  # training images of each class, a long tail
LENGTH = Length(steps_per_epoch=100, total_steps=3000)  # 30 epochs
KEY = Key(0)


@dataclass(frozen=True, eq=False)
class Shown:
    """Network on which tricks are shown, with the side in pixels of its images."""

    settings: ModelSettings
    pixels: int

    @property
    def title(self) -> str:
        """Name with the size of the images."""
        return f"{self.settings.name} at {self.pixels} pixels"


NETWORKS = (
    Shown(network_settings(name="resnet50", depths=[3, 4, 6, 3], width=64), 224),
    Shown(network_settings(name="resnet18", block="basic", depths=[2, 2, 2, 2], width=64), 224),
    Shown(network_settings(name="resnet14_cifar", block="basic", depths=[2, 2, 2], width=16), 32),
    Shown(network_settings("resnet9", name="resnet9", width=64), 32),
    Shown(network_settings("cifarnet", name="cifarnet", widths=[24, 64, 256, 256]), 32),
    Shown(network_settings("mobilenet_v1", name="mobilenet", width=32), 224),
)


@dataclass(frozen=True)
class Subject:
    """Trick at its defaults, with a task of its own and the edits that it makes for that."""

    name: str
    trick: Trick
    task: Task
    edits: tuple[Edit, ...]

    def has(self, kind: object) -> bool:
        """Return True if an edit is of a kind: a class of edits, or the part that a SetPart sets."""
        return bool(self.every(kind))

    def every(self, kind: object) -> list[Any]:
        """Return the edits of a kind."""
        if isinstance(kind, Part):
            return [edit for edit in self.edits if isinstance(edit, SetPart) and edit.part is kind]
        return [edit for edit in self.edits if isinstance(edit, kind)]  # type: ignore[arg-type]

    def one(self, kind: object) -> Any:
        """Return the first edit of a kind."""
        return self.every(kind)[0]


def subject_of(name: str) -> Subject:
    """Return a trick to draw."""
    trick, task = create(name), make_task()
    return Subject(name, trick, task, tuple(trick.edits(task)))


class Fixed:
    """Trick that returns the edits it is given."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self.made = list(edits)

    def edits(self, task: Task) -> list[Edit]:
        """Return the edits."""
        return self.made


def make_task(length: Length = LENGTH, **changes: object) -> Task:
    """Return a task whose clock has begun, with classes of unequal size."""
    facts = {"num_classes": CLASSES, "batch_size": BATCH, "image_size": PIXELS, "class_counts": COUNTS, **changes}
    task = Task(**facts)  # type: ignore[arg-type]
    task.clock.begin(length)
    return task


@cache
def edits_of(name: str) -> tuple[Edit, ...]:
    """Return the edits of a trick at its defaults."""
    return tuple(create(name).edits(make_task()))


def built(tricks: Mapping[str, Trick], shown: Shown, device: str = "meta") -> nn.Module:
    """Return a network with tricks, not initialised; on the meta device it has shapes alone."""
    task = make_task(image_size=shown.pixels)
    with torch.device(device):
        return build_model(shown.settings, compose(tricks, task).parts, num_classes=CLASSES, image_size=shown.pixels)


def small_images(count: int, side: int = PIXELS) -> Tensor:
    """Return pieces of the two photographs of scikit-learn, shrunk: (count, 3, side, side) bytes."""
    from sklearn.datasets import load_sample_image

    photographs = [torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1) for name in PHOTOGRAPHS]
    made = []
    for number in range(count):
        photograph, (top, left) = photographs[number % 2], PIECES[number // 2 % len(PIECES)]
        piece = photograph[None, :, top : top + PIECE, left : left + PIECE].float()
        small = torch.nn.functional.interpolate(piece, size=(side, side), mode="bilinear", antialias=True)
        made.append(small[0].round().clamp(0, 255).to(torch.uint8))
    return torch.stack(made)


PHOTOGRAPHS, PIECE = ("china.jpg", "flower.jpg"), 300
PIECES = ((60, 170), (120, 20), (100, 330), (0, 250))  # corners of squares, in pixels
