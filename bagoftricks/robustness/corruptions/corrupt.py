"""Corrupt images: bytes in, bytes out, in chunks that fit into the cache, with each image's own draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.rng import Key
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.corruptions.frost import Frost
from bagoftricks.robustness.corruptions.table import CORRUPTION_TABLE, CORRUPTIONS, EXTRA, Corruption
from bagoftricks.robustness.scoring import SEVERITIES
from bagoftricks.store.robustness import CONSTANTS

PIXELS_AT_ONCE_ON_CPU = 8 * 224 * 224  # pixels of a chunk on a CPU: it fits into the cache
AT_ONCE_ON_DEVICE = 64 * 224 * 224  # pixels of a chunk on other devices: few launches


@dataclass(frozen=True)
class CorruptionOptions:
    """Options that all corruptions of an evaluation share."""

    constants: str = "imagenet"  # of the severities: imagenet (made for 224 pixels) or cifar (for 32)
    seed: int = 0
    frost: Frost | None = None  # pictures of frost; None: generated ones


DEFAULT_OPTIONS = CorruptionOptions()


def corrupt(
    images: UInt8[Tensor, "B 3 H W"],
    name: str,
    severity: int,
    indices: Sequence[int] | Tensor,
    options: CorruptionOptions = DEFAULT_OPTIONS,
) -> UInt8[Tensor, "B 3 H W"]:
    """Apply the corruption ``name`` at ``severity`` 1 to 5 to RGB ``images``, on their device.

    ``indices`` are the images' numbers in their data set, on the host (reading them from a device would wait for it).
    Draws depend on (seed, name, severity, index) alone, so an image's result does not depend on its batch. The result
    is truncated to bytes and not compressed: see ``resave_as_jpeg``.

    Raises UserError for an unknown name, severity or set of constants, and for images too small.
    """
    constants, frost = options.constants, options.frost
    entry, row = _entry(name), _row(name, severity, constants)
    if len(indices) != len(images):
        raise ValueError(f"{len(images)} images need as many indices, not {len(indices)}")
    _check_size(images, name, severity, constants)
    numbers = [int(index) for index in indices]
    key = Key(options.seed).fold("corruption", name, severity)
    pixels = PIXELS_AT_ONCE_ON_CPU if images.device.type == "cpu" else AT_ONCE_ON_DEVICE
    count = max(1, pixels // images[0, 0].numel()) if len(images) else 1
    result = torch.empty(images.shape, dtype=torch.uint8, device=images.device)
    for start in range(0, len(images), count):
        chunk = images[start : start + count].contiguous()
        stream = Stream(key, numbers[start : start + count], images.device)
        draws = entry.draw(stream, chunk, row, frost) if entry.textures else entry.draw(stream, chunk, row)
        result[start : start + count] = entry.apply(chunk, draws, row)
    return result


def smallest_side(name: str, constants: str = "imagenet") -> int:
    """Return the shortest side, in pixels, of images that ``name`` accepts at every severity."""
    return max(_entry(name).smallest(row) for row in _entry(name).rows(_known(constants)))


def _entry(name: str) -> Corruption:
    if name not in CORRUPTION_TABLE:
        known = ", ".join((*CORRUPTIONS, *EXTRA))
        raise UserError(f"there is no corruption '{name}'{did_you_mean(name, CORRUPTION_TABLE)}; there are {known}")
    return CORRUPTION_TABLE[name]


def _known(constants: str) -> str:
    if constants not in CONSTANTS:
        near = did_you_mean(constants, CONSTANTS)
        raise UserError(f"corruptions have no constants '{constants}'{near}; there are {' and '.join(CONSTANTS)}")
    return constants


def _row(name: str, severity: int, constants: str) -> object:
    if severity not in SEVERITIES:
        raise UserError(f"a corruption's severity is a whole number from 1 to 5, not {severity}")
    return _entry(name).rows(_known(constants))[severity - 1]


def _check_size(images: Tensor, name: str, severity: int, constants: str) -> None:
    height, width = images.shape[-2:]
    smallest = _entry(name).smallest(_row(name, severity, constants))
    if min(height, width) < smallest:
        other = "; for small images there are the CIFAR constants" if constants == "imagenet" else ""
        raise UserError(
            f"{name} at severity {severity} needs images of at least {smallest} x {smallest} pixels, "
            f"and these have {height} x {width}{other}"
        )
