"""What happens to an image between its file and the network, with every draw keyed by (seed, what, epoch, sample)."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from bagoftricks.data import transforms as t
from bagoftricks.data.sources import Labels
from bagoftricks.edits import Batch, MapImages
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings

SMALL = 64  # pixels up to which crop=auto pads
Parts: TypeAlias = list[tuple[int, Labels]]  # a step's images: (pass, sample indices) pairs


@dataclass(frozen=True)
class Augment:
    """The settings of the training images' preparation with every ``auto`` resolved; ``key`` None: validation."""

    size: int
    key: Key | None
    crop: str = "none"
    pad: int = 0
    area: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    jitter: str = "none"
    jitter_strength: float = 0.0
    pca: float = 0.0
    policy: tuple[str, MapImages] | None = None  # a trick's map of the images, after all else
    short_side: int | None = None  # of validation images before the centre crop

    @classmethod
    def from_settings(
        cls, data: DataSettings, size: int, key: Key, policy: tuple[str, MapImages] | None = None
    ) -> "Augment":
        crop = data.crop if data.crop != "auto" else "pad" if size <= SMALL else "area"
        jitter = data.jitter if data.jitter != "auto" else "hsv" if crop == "area" else "none"
        pca = data.pca if data.pca >= 0 else 0.1 if crop == "area" else 0.0
        pad, area = data.pad if crop == "pad" else 0, (data.crop_area[0], data.crop_area[1])
        return cls(size, key, crop, pad, area, data.flip, jitter, data.jitter_strength, pca, policy)

    @property
    def counts(self) -> dict[str, int]:
        """How many numbers in [0, 1) each step of the preparation draws for an image, by the name of its draws."""
        if self.key is None:
            return {}
        counts = {
            "crop": t.AREA_DRAWS if self.crop == "area" else 2 if self.pad else 0,
            "flip": 1 if self.flip else 0,
            "jitter": {"hsv": 3, "bcs": 6}.get(self.jitter, 0),
        }
        return counts if self.policy is None else {**counts, self.policy[0]: self.policy[1].draws}

    def draws(self, epoch: int, parts: Parts) -> Float[Tensor, "B n"]:
        """All the numbers of a step's images side by side, on the host: what ``batch`` takes."""
        return torch.cat([self._drawn(epoch, pass_, rows, self.counts) for pass_, rows in parts])

    def shift(self, epoch: int, parts: Parts) -> Float[Tensor, "B n"]:
        """PCA noise of a step's images, on the host; of no columns where there is none."""
        drawn = [self._drawn(epoch, pass_, rows, {"pca": 3 if self.pca else 0}) for pass_, rows in parts]
        return t.pca_noise(torch.cat(drawn), self.pca) if self.pca else torch.cat(drawn)

    def _drawn(self, epoch: int, pass_: int, samples: Labels, counts: dict[str, int]) -> Float[Tensor, "B n"]:
        drawn = [np.empty((len(samples), 0))]
        if self.key is not None:
            drawn += [self.key.fold(what, epoch, pass_).uniform(samples, n) for what, n in counts.items() if n]
        return torch.from_numpy(np.concatenate(drawn, 1)).float()

    def batch(self, images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B n"]) -> UInt8[Tensor, "VB 3 H W"]:
        """Augment many images of the final size at once, where they are: all views, the first of each image first."""
        counts = self.counts
        of = dict(zip(counts, draws.split_with_sizes(list(counts.values()), 1), strict=True))
        if self.pad:
            images = t.pad_crop(images, self.pad, of["crop"])
        if self.flip:
            images = t.mirror(images, of["flip"])
        if self.jitter != "none":
            jitter = t.jitter_hsv if self.jitter == "hsv" else t.jitter_bcs
            images = jitter(images, of["jitter"], self.jitter_strength)
        if self.policy is None:
            return images
        name, policy = self.policy
        return policy.apply(images.contiguous(), of[name])

    @property
    def views(self) -> int:
        return self.policy[1].views if self.policy else 1

    def one(self, image: t.Image, epoch: int, pass_: int, sample: int) -> UInt8[Tensor, "V 3 S S"]:
        """The views of one image of any size."""
        draws = self.draws(epoch, [(pass_, np.array([sample]))])
        if self.crop == "area":
            image = t.area_crop(image, self.size, draws[0, : t.AREA_DRAWS], self.area)
        elif self.crop == "pad" or (self.size <= SMALL and self.short_side is None):
            image = t.fit(image, self.size, self.size)
        else:
            image = t.validation_crop(image, self.size, self.short_side)
        return self.batch(image[None], draws)


class Finish:
    """The last steps, on the device: floats, colour noise, normalisation, targets as distributions."""

    def __init__(self, data: DataSettings, num_classes: int, device: torch.device, *, channels_last: bool) -> None:
        self.mean, self.std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (data.mean, data.std))
        self.num_classes, self.device = num_classes, device
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(
        self,
        images: UInt8[Tensor, "VB 3 H W"],
        labels: Int64[Tensor, " B"],
        shift: Float[Tensor, "B n"] | None = None,
        teacher: Float[Tensor, "B K"] | None = None,
    ) -> Batch:
        """``shift``: what PCA noise adds to the colours, three columns or none."""
        images = send(images, self.device).contiguous(memory_format=self.memory_format)
        targets = F.one_hot(send(labels, self.device), self.num_classes).float()
        mean = self.mean
        if shift is not None and shift.shape[1]:
            views = len(images) // len(labels)
            mean = mean - send(shift, self.device).view(-1, 3, 1, 1).repeat(views, 1, 1, 1)
        width = images.shape[3]
        return Batch(images.float().sub_(self._row(mean, width)).div_(self._row(self.std, width)), targets, teacher)

    def _row(self, colours: Float[Tensor, "B 3 1 1"], width: int) -> Float[Tensor, "B 3 1 W"]:
        """A row of pixels of each colour: in channels_last, one of length 1 would be read three numbers at a time."""
        return colours.expand(-1, -1, -1, width).contiguous(memory_format=self.memory_format)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, which nothing waits for: a GPU fetches it from pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def send_together(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Copies of matrices with as many rows each, in one piece. Of integers, those below 2^53."""
    sent = send(torch.cat([tensor.double() for tensor in tensors], 1), device)
    parts = sent.split_with_sizes([tensor.shape[1] for tensor in tensors], 1)
    return [part.to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]
