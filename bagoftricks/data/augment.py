"""What happens to an image between its file and the network, with every draw keyed by (seed, what, epoch, sample)."""

from dataclasses import dataclass
from typing import Any

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

    def draws(self, what: str, epoch: int, pass_: int, samples: Any, count: int) -> Float[Tensor, "B n"]:
        assert self.key is not None
        return torch.from_numpy(self.key.fold(what, epoch, pass_).uniform(samples, count)).float()

    def flips(self, epoch: int, pass_: int, samples: Any) -> Float[Tensor, " B"]:
        """Below 1/2: mirror the image."""
        return self.draws("flip", epoch, pass_, samples, 1)[:, 0] if self.flip else torch.ones(len(samples))

    def shift(self, epoch: int, parts: list[tuple[int, Labels]]) -> Tensor | None:
        """PCA noise of a step's images."""
        if not self.pca:
            return None
        return torch.cat([t.pca_noise(self.draws("pca", epoch, p, rows, 3), self.pca) for p, rows in parts])

    def batch(self, images: UInt8[Tensor, "B 3 H W"], epoch: int, pass_: int, samples: Labels) -> Tensor:
        """Augment many images of the final size at once: all views of them, the first view of each image first."""
        if self.key is None:
            return images
        return self.viewed(self.crop_flip(images, epoch, pass_, samples), epoch, pass_, samples)

    def crop_flip(self, images: UInt8[Tensor, "B 3 H W"], epoch: int, pass_: int, samples: Labels) -> Tensor:
        """Pad, crop and flip."""
        crop = self.draws("crop", epoch, pass_, samples, 2)
        return t.pad_crop(images, self.pad, crop, self.flips(epoch, pass_, samples))

    def viewed(self, images: UInt8[Tensor, "B 3 H W"], epoch: int, pass_: int, samples: Labels) -> Tensor:
        """What the policy makes of the images."""
        if self.policy is None:
            return images
        name, policy = self.policy
        return policy.apply(images, self.draws(name, epoch, pass_, samples, policy.draws))

    @property
    def views(self) -> int:
        return self.policy[1].views if self.policy else 1

    def one(self, image: t.Image, epoch: int, pass_: int, sample: int) -> UInt8[Tensor, "V 3 S S"]:
        """The views of one image of any size."""
        whole = self.size <= SMALL and self.short_side is None
        if self.key is None or self.crop == "none":
            image = (
                t.fit(image, self.size, self.size) if whole else t.validation_crop(image, self.size, self.short_side)
            )
        elif self.crop == "area":
            image = t.area_crop(
                image, self.size, self.draws("crop", epoch, pass_, [sample], t.AREA_DRAWS)[0], self.area
            )
        else:
            image = t.fit(image, self.size, self.size)
        if self.key is None:
            return image[None]
        image = self.crop_flip(image[None], epoch, pass_, np.array([sample]))[0]
        if self.jitter == "hsv":
            image = t.jitter_hsv(image, self.draws("jitter", epoch, pass_, [sample], 3)[0], self.jitter_strength)
        elif self.jitter == "bcs":
            image = t.jitter_bcs(image, self.draws("jitter", epoch, pass_, [sample], 6)[0], self.jitter_strength)
        return self.viewed(image[None], epoch, pass_, np.array([sample]))


class Finish:
    """The last steps, on the device: floats, colour noise, normalisation, targets as distributions."""

    def __init__(self, data: DataSettings, num_classes: int, device: torch.device, *, channels_last: bool) -> None:
        self.mean, self.std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (data.mean, data.std))
        self.num_classes, self.device = num_classes, device
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: UInt8[Tensor, "VB 3 H W"], labels: Int64[Tensor, " B"], shift: Tensor | None) -> Batch:
        images = images.to(self.device, non_blocking=True).contiguous(memory_format=self.memory_format)
        targets = F.one_hot(labels.to(self.device, non_blocking=True), self.num_classes).float()
        mean = self.mean
        if shift is not None:
            views = len(images) // len(labels)
            mean = mean - shift.to(self.device, non_blocking=True).view(-1, 3, 1, 1).repeat(views, 1, 1, 1)
        return Batch(images.float().sub_(mean).div_(self.std), targets)
