"""A finished run's network from Python: ``bot.load``."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bagoftricks.api.session import callers_state
from bagoftricks.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bagoftricks.data.given import GivenImage
    from bagoftricks.report.predictions import RankedClass
    from bagoftricks.run.evaluation import Subject
    from bagoftricks.store.record import Record


@dataclass(frozen=True)
class Prediction:
    """Most probable class of an image."""

    name: str | None
    """None if it is not known"""
    number: int
    """of the network's output, from 0"""
    probability: float
    """in [0, 1]"""
    top: "tuple[RankedClass, ...]" = field(repr=False)
    """as many classes as were asked for, the most probable one first"""


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """A finished run's network in evaluation mode, and what is needed to use it."""

    record: "Record"
    """of the run"""
    network: "nn.Module"
    """from images (B, C, S, S), as ``transform`` makes them, to logits (B, K); test-time augmentation is part of it"""
    weights: str
    """name of the weight set: last, or an average as ema"""
    subject: "Subject" = field(compare=False)
    logits: "Callable[[Tensor], Tensor]" = field(compare=False)
    """the same in inference mode and at the precision of the run's own evaluation, behind each of its metrics"""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs; empty if the record has none."""
        return tuple(self.subject.names)

    @property
    def device(self) -> "torch.device":
        """Device of the network."""
        return self.subject.checked.device

    def transform(self, image: "GivenImage") -> "Tensor":
        """Return an image as the network's input (C, S, S), float32 on the CPU, just as the run's validation images.

        The image is a path, the bytes of a file, a Pillow image, or uint8 values: an array (H, W, 3) or (H, W), or a
        tensor (3, H, W). Raises DataError for one that cannot be read.
        """
        import torch

        seen: Tensor = self._finished([image], torch.device("cpu"))[0]
        return seen

    def predict(self, images: "GivenImage | Iterable[GivenImage]", top: int = 1) -> list[Prediction]:
        """Return the most probable class of each image, with the ``top`` most probable ones, as bot-predict does.

        Images are those that ``transform`` takes: one, or any number.
        """
        from bagoftricks.measure.predictions import Recorder
        from bagoftricks.report.predictions import RankedClass, name_of

        if not 1 <= top <= self.subject.num_classes:
            raise UserError(f"top={top}: must be 1 to {self.subject.num_classes}, the outputs of the network")
        given, step = _listed(images), self.subject.settings.runtime.eval_batch_size
        recorder = Recorder(self.logits, top)
        for at in range(0, len(given), step):
            recorder(self._finished(given[at : at + step], self.device))
        if not given:
            return []
        found = recorder.predictions()
        rows = zip(found.classes.tolist(), found.probabilities.tolist(), strict=True)
        ranked = [tuple(RankedClass(name_of(self.classes, n), n, p) for n, p in zip(*row, strict=True)) for row in rows]
        return [Prediction(best[0].name, best[0].number, best[0].probability, best) for best in ranked]

    def _finished(self, images: "list[GivenImage]", device: "torch.device") -> "Tensor":
        import torch

        from bagoftricks.data.augment import Finish
        from bagoftricks.data.given import given_square

        settings = self.subject.settings
        squares = [given_square(image, self.subject.augment, settings.data.max_pixels) for image in images]
        channels_last = settings.runtime.channels_last
        finish = Finish(settings.data, self.subject.num_classes, device, channels_last=channels_last)
        return finish(torch.stack(squares), torch.zeros(len(squares), dtype=torch.int64)).images

    def __repr__(self) -> str:
        model, scores = self.record.model["name"], self.record.metrics[self.weights]
        return f"LoadedRun(id={self.record.id!r}, model={model!r}, weights={self.weights!r}, top1={scores.top1:.2f})"


def _listed(images: Any) -> "list[GivenImage]":
    """Return images as a list: one alone, any iterable of them, or a batch (B, ...) of an array or a tensor."""
    alone = isinstance(images, str | bytes | bytearray | os.PathLike) or getattr(images, "ndim", 4) < 4
    return [images] if alone or not isinstance(images, Iterable) else list(images)


def load(
    run: str, store: str | Path = "results/runs", weights: str | None = None, device: str | None = None
) -> LoadedRun:
    """Return the network of a finished run, with its transform and classes.

    ``run`` is an id, the beginning of one, ``"last"`` or ``"last~1"``. ``weights`` names a weight set, such as
    ``"ema"``; the default is ``"last"``, as for bot-predict. ``device`` is ``"cpu"`` or ``"cuda"``; the default is that
    of the run. Neither the data nor any code of the run is needed, but for plug-ins: load them with ``plugins.load``.

    >>> import numpy as np
    >>> import bagoftricks as bot
    >>> trained = bot.train(epochs=1, data={"limit": 300}, runtime={"progress": False})
    >>> loaded = bot.load("last")
    >>> image = loaded.transform(np.zeros((8, 8, 3), np.uint8))
    >>> image.shape, loaded.network(image[None]).shape
    (torch.Size([3, 8, 8]), torch.Size([1, 10]))
    >>> loaded.predict([np.zeros((8, 8, 3), np.uint8)])[0].name in loaded.classes
    True
    """
    from bagoftricks.run.evaluation import subject_of_run, without_data
    from bagoftricks.run.exporting import ExportedNetwork
    from bagoftricks.store.record import settings_of
    from bagoftricks.store.store import Store
    from bagoftricks.store.weight_sets import LAST
    from bagoftricks.training.trainer import predictor

    record = Store(store).find(run)
    trained = settings_of(record)
    runtime = replace(trained.runtime, device=device or trained.runtime.device)
    settings = replace(trained, store=str(store), runtime=runtime)
    with callers_state():
        subject = subject_of_run(record, trained, settings, None, without_data(record.data.class_names))
        name = weights or LAST
        network: Any = subject.only(name).network(name).eval()
    recipe = subject.recipe
    evaluated = ExportedNetwork(network, recipe).eval() if recipe.wrap_predict else network
    return LoadedRun(record, evaluated, name, subject, predictor(recipe, network))
