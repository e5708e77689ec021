"""Keyed randomness: every draw is a function of (seed, purpose, step or sample), never of earlier draws.

Switching one trick on moves no other draw, a resumed run needs no generator state, and a sample's augmentation
does not depend on its batch, its worker or the number of devices (docs/adr/0003).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
Drawn = dict[tuple[str | int, str, tuple[int, ...]], Tensor]  # draws by micro-batch, place in the network and shape


@dataclass(frozen=True, slots=True)
class Key:
    """Name of a stream of draws, e.g. ``Key(seed).fold("mixup", step)``."""

    seed: int
    path: tuple[str | int, ...] = ()

    def fold(self, *path: str | int) -> "Key":
        """Return the key of a stream below this one."""
        return Key(self.seed, self.path + path)

    def bits(self) -> int:
        """Return 63 bits that depend only on the seed and the path."""
        digest = hashlib.blake2b(repr((self.seed, *self.path)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a freshly seeded generator on ``device``. A GPU has one shared object: draw at once."""
        return _generator(torch.device(device)).manual_seed(self.bits())

    def numpy(self) -> np.random.Generator:
        """Return a NumPy generator, for distributions that PyTorch lacks; its draws are equal on every device."""
        return np.random.Generator(np.random.Philox(key=self.bits()))

    def uniform(self, samples: npt.ArrayLike, draws: int) -> npt.NDArray[np.float64]:
        """Return ``draws`` multiples of 2^-24 in [0, 1) for each sample index, shape (n, draws): below 1 in fp32 too.

        Draw j of sample i depends on (key, i, j) alone: two rounds of the SplitMix64 finaliser
        (Steele, Lea and Flood 2014) replace a generator object per sample, which would cost 10 us each.
        """
        numbers: npt.NDArray[np.float64] = (self.words(samples, draws) >> np.uint64(40)).astype(np.float64) * 2.0**-24
        return numbers

    def words(self, samples: npt.ArrayLike, draws: int) -> npt.NDArray[np.uint64]:
        """Return ``draws`` words of 64 random bits for each sample index, shape (n, draws), keyed as in ``uniform``."""
        index = np.asarray(samples, dtype=np.uint64)[:, None]
        with np.errstate(over="ignore"):
            rows = _mix(np.uint64(self.bits()) + (index + np.uint64(1)) * GOLDEN)
            return _mix(rows + (np.arange(draws, dtype=np.uint64) + np.uint64(1)) * GOLDEN)

    def uniform_on(self, device: torch.device, count: int, draws: int) -> Tensor:
        """Return ``uniform`` of the samples 0, 1 ... ``count`` - 1 in fp64, computed on ``device``: nothing is sent."""
        golden = int(GOLDEN.astype(np.int64))
        rows = (torch.arange(1, count + 1, device=device) * golden + self.bits())[:, None]
        columns = torch.arange(1, draws + 1, device=device) * golden
        return _shifted(_mix_on(_mix_on(rows) + columns), 40).double() * 2.0**-24

    def permutation(self, count: int, device: torch.device) -> Tensor:
        """Return a permutation of 0, 1 ... ``count`` - 1: drawn on the host and sent, the same on every device."""
        return send(torch.randperm(count, generator=self.generator()), device)


@dataclass(slots=True)
class Noise:
    """Draws inside the network, keyed by the trainer's step and the layer's place.

    If several devices share a batch, the trainer also sets which of its images this device has: every image then has
    the same draws as on a single device.
    """

    key: Key = Key(0)
    images: int = 0  # images of a batch that devices share; 0: it is not shared
    share: slice = field(default_factory=lambda: slice(None))  # this device's images
    over_devices: Callable[[Tensor], Tensor] | None = None  # sum over the devices
    drawn: Drawn | None = None  # draws that are kept for a recorded step; None: of each step its own

    def uniform(self, *shape: int, device: torch.device, place: str) -> Tensor:
        """Return numbers in [0, 1) on ``device`` for the layer at ``place``; the first dimension is that of its input.

        The numbers are the same at each evaluation of one step's batch. With several views of an image, all the first
        views come before all the second ones.
        """
        name = (self.key.path[-1] if self.key.path else 0, place, shape)
        if self.drawn is not None and name in self.drawn:
            return self.drawn[name]
        made = self._draw(shape, device, place)
        if self.drawn is not None:
            self.drawn[name] = made
        return made

    def common(self, *shape: int, device: torch.device, place: str) -> Tensor:
        """Return numbers in [0, 1) as ``uniform``, of any shape and the same on all devices that share a batch."""
        images, self.images = self.images, 0
        try:
            return self.uniform(*shape, device=device, place=place)
        finally:
            self.images = images

    def redraw(self, drawn: Drawn, step: Key) -> None:
        """Overwrite draws by those of another step, whose keys end with the micro-batch."""
        for (part, place, shape), numbers in drawn.items():
            torch.rand(shape, generator=step.fold(part, place).generator(numbers.device), out=numbers)

    def _draw(self, shape: tuple[int, ...], device: torch.device, place: str) -> Tensor:
        rng = self.key.fold(place).generator(device)
        if not self.images:
            return torch.rand(shape, generator=rng, device=device)
        every = torch.rand(self.rows(shape[0]), *shape[1:], generator=rng, device=device)
        return every.view(-1, self.images, *shape[1:])[:, self.share].flatten(0, 1)

    def rows(self, here: int) -> int:
        """Return the number of rows of a layer's input on all devices, from the number on this one."""
        return here // len(range(self.images)[self.share]) * self.images if self.images else here

    def total(self, part: Tensor) -> Tensor:
        """Return the sum over all images of a batch from the sum over this device's; it has no gradient."""
        return part if self.over_devices is None else self.over_devices(part.detach().clone())


def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator() if device.type in ("cpu", "meta") else _shared_generator(device)


@cache
def _shared_generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device)


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def _mix_on(z: Tensor) -> Tensor:
    """Return ``_mix`` of words that stand in signed integers, whose products are the same bits."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ _shifted(z, shift)) * (factor - 2**64)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    shifted: Tensor = (z >> by) & (2 ** (64 - by) - 1)  # signed integers shift their sign in
    return shifted


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy on the device without waiting for it: a GPU fetches it from pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
