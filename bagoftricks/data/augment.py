"""Preparation of an image between its file and the network; draws are keyed by (seed, what, epoch, sample)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from bagoftricks.data import transforms as t
from bagoftricks.data.decode_part import Box, Decoded, Wanted
from bagoftricks.data.sources import Labels, Split
from bagoftricks.recipe.edits import NO_CLASS, Batch, Float64, MapImages, SetFlip
from bagoftricks.rng import Key, send
from bagoftricks.settings import LUMA, SMALL_IMAGE, DataSettings

PassRows: TypeAlias = list[tuple[int, Labels]]  # a step's images: (pass, sample indices) pairs
DrawnRow: TypeAlias = Sequence[float]  # the numbers that were drawn for one image


@dataclass(frozen=True)
class Augment:
    """The settings of the training images' preparation with every ``auto`` resolved; ``key`` None: validation."""

    size: int
    key: Key | None
    crop: str = "none"
    pad: int = 0
    reflect: bool = False  # the padding shows the image mirrored at its border
    area: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    flips: SetFlip | None = None  # a trick's choice of the images that are flipped
    jitter: str = "none"
    jitter_strength: float = 0.0
    pca: float = 0.0
    policy: tuple[str, MapImages] | None = None  # a trick's map of the images, after all else
    short_side: int | None = None  # of validation images before the centre crop
    scaled: bool = False  # decode at the smallest scale that has the pixels
    whole: bool = False  # show the whole image, its longer side at full size, as boxes need it

    @classmethod
    def from_settings(
        cls,
        data: DataSettings,
        size: int,
        key: Key,
        policy: tuple[str, MapImages] | None = None,
        flips: SetFlip | None = None,
        *,
        whole: bool = False,
    ) -> "Augment":
        crop, jitter = data.crop_at(size), data.jitter_at(size)
        pca = data.pca if data.pca >= 0 else 0.1 if crop == "area" else 0.0
        pad, area = data.pad if crop == "pad" else 0, (data.crop_area[0], data.crop_area[1])
        scaled = data.decode == "scaled"
        return cls(
            size=size,
            key=key,
            crop=crop,
            pad=pad,
            reflect=data.pad_mode == "reflect",
            area=area,
            flip=data.flip,
            flips=flips,
            jitter=jitter,
            jitter_strength=data.jitter_strength,
            pca=pca,
            policy=policy,
            scaled=scaled,
            whole=whole,
        )

    @classmethod
    def plain(cls, data: DataSettings, size: int, short_side: int | None = None, *, whole: bool = False) -> "Augment":
        """Return a preparation without randomness, as for validation."""
        crop = data.crop if data.crop == "stretch" else "none"
        return cls(size, None, crop, short_side=short_side, scaled=data.decode == "scaled", whole=whole)

    def without_draws(self) -> "Augment":
        """Return the preparation of the same images without randomness."""
        crop = self.crop if self.crop == "stretch" else "none"
        return Augment(self.size, None, crop, scaled=self.scaled, whole=self.whole)

    def uncoloured(self) -> "Augment":
        """Return the same crops and flips without the colours."""
        return replace(self, jitter="none", policy=None)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many numbers in [0, 1) each step of the preparation draws for an image, by their name."""
        if self.key is None:
            return {}
        counts = {
            "crop": {"area": t.AREA_DRAWS, "stretch": t.STRETCH_DRAWS}.get(self.crop, 2 if self.pad else 0),
            "flip": 1 if self.flip else 0,
            "jitter": {"hsv": 3, "bcs": 6}.get(self.jitter, 0),
        }
        return counts if self.policy is None else {**counts, self.policy[0]: self.policy[1].draws}

    def draws(self, epoch: int, parts: PassRows) -> Float[Tensor, "B n"]:
        """Return all numbers of a step's images next to each other, on the host, as ``batch`` takes them."""
        return torch.cat([self._drawn(epoch, pass_, rows, self.counts) for pass_, rows in parts])

    def shift(self, epoch: int, parts: PassRows) -> Float[Tensor, "B n"]:
        """PCA noise of a step's images, on the host; of no columns where there is none."""
        drawn = [self._drawn(epoch, pass_, rows, {"pca": 3 if self.pca else 0}) for pass_, rows in parts]
        return t.pca_noise(torch.cat(drawn), self.pca) if self.pca else torch.cat(drawn)

    def _drawn(self, epoch: int, pass_: int, samples: Labels, counts: dict[str, int]) -> Float[Tensor, "B n"]:
        drawn = [np.empty((len(samples), 0))]
        if self.key is not None:
            drawn += [self._uniform(what, epoch, pass_, samples, n) for what, n in counts.items() if n]
        return torch.from_numpy(np.concatenate(drawn, 1)).float()

    def _uniform(self, what: str, epoch: int, pass_: int, samples: Labels, count: int) -> Float64:
        assert self.key is not None
        if what == "flip" and self.flips is not None:
            return self.flips.draw(self.key.fold(what, 0, 0).uniform(samples, count), epoch + pass_)
        return self.key.fold(what, epoch, pass_).uniform(samples, count)

    def batch(self, images: UInt8[Tensor, "B C H W"], draws: Float[Tensor, "B n"]) -> UInt8[Tensor, "VB C H W"]:
        """Augment many images of the final size at once, where they are: all views, the first of each image first."""
        of = self._by_name(draws)
        if self.pad:
            images = t.pad_crop(images, self.pad, of["crop"], reflect=self.reflect)
        if self.flip:
            images = t.mirror(images, of["flip"])
        return self.colours(images, draws)

    def targets(self, targets: Tensor, draws: Float[Tensor, "B n"]) -> Tensor:
        """Return the targets of images that were augmented with these draws: boxes move with them."""
        if targets.ndim < 3:
            return targets
        of = self._by_name(draws.to(targets.device))
        still = torch.zeros(len(targets), 2, dtype=torch.int64, device=targets.device)
        offset = self.pad - (of["crop"] * (2 * self.pad + 1)).long() if self.pad else still
        return t.moved_boxes(targets, self.size, offset, of["flip"][:, 0] < 0.5 if self.flip else still[:, 0] > 0)

    @property
    def views(self) -> int:
        return self.policy[1].views if self.policy else 1

    def square_of(self, split: Split, index: int, draws: DrawnRow) -> UInt8[Tensor, "C S S"]:
        """``square`` of an image of a split, decoded as far as it is looked at."""
        return self.square_from(lambda wanted: split.part(index, wanted), draws)

    def square_from(self, decoded: Callable[[Wanted], Decoded], draws: DrawnRow) -> UInt8[Tensor, "C S S"]:
        """``square`` of an image, made of what ``decoded`` returns of it."""
        scaled_to = self.size if self.scaled and not self.whole else 0
        upper = self.crop == "area" and not self.whole
        wanted = Wanted(lambda *sides: self._box(draws, *sides), scaled_to, upper=upper)
        made, height = decoded(wanted)
        return self.square(made, draws, height) if height else self._moved(made, draws)

    def square(self, image: t.Image, draws: DrawnRow, height: int = 0) -> UInt8[Tensor, "C S S"]:
        """Crop and flip one image of any size by its numbers; it may be the upper rows of one of ``height``."""
        if self.whole:
            image = t.letterbox(image, self.size)
        elif self.crop == "area":
            box = t.area_crop_box(draws[: t.AREA_DRAWS], height or image.shape[1], image.shape[2], self.area)
            image = t.resized_box(image, box, self.size)
        elif self.crop == "stretch":
            image = t.stretched(image, self._window(draws), self.size)
        else:
            image = t.fit(image, self.size, self.fitted_side())
        return self._moved(image, draws)

    def _box(self, draws: DrawnRow, height: int, width: int) -> Box:
        """Return the box of an image that ``square`` keeps."""
        if self.crop == "area":
            return t.area_crop_box(draws[: t.AREA_DRAWS], height, width, self.area)
        if self.crop == "stretch":
            side, top, left = self._window(draws)
            down, across = height / side, width / side
            return top * down, left * across, self.size * down, self.size * across
        return t.fit_box(height, width, self.size, self.fitted_side())

    def _window(self, draws: DrawnRow) -> tuple[int, int, int]:
        """Return the side of a stretched image, and the top and left of its part that ``square`` keeps."""
        if self.key is not None:
            return t.stretch_window(draws, self.size)
        side = self.fitted_side()
        return side, (side - self.size) // 2, (side - self.size) // 2

    def fitted_side(self) -> int:
        """Return the short side of images that are resized whole (both of stretched ones), before the centre is cut."""
        if self.crop == "pad":
            return self.size
        if self.short_side is not None:
            return self.short_side
        if self.crop == "stretch":
            return self.size
        return self.size if self.size <= SMALL_IMAGE else t.validation_side(self.size)

    def _moved(self, image: UInt8[Tensor, "C S S"], draws: DrawnRow) -> UInt8[Tensor, "C S S"]:
        if self.pad:
            place = torch.tensor([draws[:2]], device=image.device)
            image = t.pad_crop(image[None], self.pad, place, reflect=self.reflect)[0]
        return image.flip(2) if self.flip and draws[self.counts["crop"]] < 0.5 else image

    def colours(self, images: UInt8[Tensor, "B C S S"], draws: Float[Tensor, "B n"]) -> UInt8[Tensor, "VB C S S"]:
        """Change the colours of images after crop and flip, on their device."""
        if self.jitter == "none" and self.policy is None:
            return images
        if images.shape[1] > t.PLANES:
            coloured = self.colours(images[:, : t.PLANES], draws)
            return torch.cat([coloured, images[:, t.PLANES :]], 1)
        of = self._by_name(draws)
        if self.jitter != "none":
            jitter = t.jitter_hsv if self.jitter == "hsv" else t.jitter_bcs
            images = jitter(images, send(of["jitter"], images.device), self.jitter_strength)
        if self.policy is None:
            return images
        name, policy = self.policy
        return policy.apply(images.contiguous(), of[name])

    def _by_name(self, draws: Float[Tensor, "B n"]) -> dict[str, Tensor]:
        counts = self.counts
        return dict(zip(counts, draws.split_with_sizes(list(counts.values()), 1), strict=True))


class Finish:
    """The last steps, on the device: floats, colour noise, normalisation, targets as distributions.

    Without ``num_classes``, targets stay what they are: labels, boxes, or classes of pixels (NO_CLASS: none).
    """

    def __init__(
        self, data: DataSettings, num_classes: int | None, device: torch.device, *, channels_last: bool
    ) -> None:
        self.mean, self.std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in data.normalisation())
        self.luma = torch.tensor(LUMA, device=device).view(1, 3, 1, 1) if data.channels == 1 else None
        self.num_classes, self.device = num_classes, device
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.rows: dict[int, tuple[Tensor, Tensor]] = {}  # of the mean and the deviation, by their width

    def __call__(
        self,
        images: UInt8[Tensor, "VB C H W"],
        labels: Int64[Tensor, " B"] | Float[Tensor, "B M 5"],
        shift: Float[Tensor, "B n"] | None = None,
        teacher: Float[Tensor, "B K"] | None = None,
    ) -> Batch:
        """``shift``: what PCA noise adds to the colours, three columns or none."""
        images = send(images, self.device).contiguous(memory_format=self.memory_format)
        images, targets = self._targets(images, send(labels, self.device))
        width = images.shape[3]
        if width not in self.rows:
            self.rows[width] = self._row(self.mean, width), self._row(self.std, width)
        mean, std = self.rows[width]
        if shift is not None and shift.shape[1]:
            views = len(images) // len(labels)
            noise = self._seen(send(shift, self.device).view(-1, 3, 1, 1)).repeat(views, 1, 1, 1)
            mean = self._row(self.mean - noise, width)
        return Batch(self._seen(images.float()).sub_(mean).div_(std), targets, teacher)

    def _targets(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the colours of images, and the targets."""
        if images.shape[1] > t.PLANES:
            colours = images[:, : t.PLANES].contiguous(memory_format=self.memory_format)
            return colours, (NO_CLASS - images[:, t.PLANES]).long()
        if self.num_classes is None:
            return images, labels
        targets = torch.zeros(len(labels), self.num_classes, device=self.device)
        return images, targets.scatter_(1, labels[:, None], 1.0)

    def _seen(self, colours: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """Return the channels that the network sees. The luma of bytes is exact, and that of a grey the grey itself."""
        if self.luma is None:
            return colours
        size = len(colours), 1, *colours.shape[2:]
        grey = torch.empty(size, device=colours.device, memory_format=self.memory_format)
        return torch.sum(colours * self.luma, 1, keepdim=True, out=grey)

    def _row(self, colours: Float[Tensor, "B C 1 1"], width: int) -> Float[Tensor, "B C 1 W"]:
        """Return a row of pixels of each colour: in channels_last, one of length 1 would be read in threes."""
        return colours.expand(-1, -1, -1, width).contiguous(memory_format=self.memory_format)


def send_together(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Copies of matrices with as many rows each, in one piece. Of integers, those below 2^53."""
    sent = send(torch.cat([tensor.double() for tensor in tensors], 1), device)
    parts = sent.split_with_sizes([tensor.shape[1] for tensor in tensors], 1)
    return [part.to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]
