"""Gaussian, shot, impulse and speckle noise (Hendrycks and Dietterich 2019, section 3), in bytes.

Every apply function takes images, the draws and the severity's constants, and truncates once at the end.
"""

from functools import lru_cache
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from bagoftricks.robustness.corruptions.draws import HALF_WORD_LEVELS, Stream
from bagoftricks.robustness.corruptions.pixels import ByteImages, truncate

POISSON_LEVELS = 1 << 12  # levels of the inverse distribution function: a table of 1 MB, which stays in the cache


class Sigma(NamedTuple):
    """Constants of Gaussian and speckle noise."""

    sigma: float  # of intensities in [0, 1]


class Photons(NamedTuple):
    """Constants of shot noise."""

    photons: float  # expected count at full intensity


class Amount(NamedTuple):
    """Constants of impulse noise."""

    amount: float  # share of elements that are hit


def draw_normal(stream: Stream, images: ByteImages, row: Sigma) -> Float[Tensor, "n 3 h w"]:
    """Draw noise of standard deviation ``sigma``, for intensities in [0, 1]."""
    return stream.normal(0, *images.shape[1:]).mul_(row.sigma)


def gaussian_noise(images: ByteImages, noise: Float[Tensor, "n 3 h w"], row: Sigma) -> ByteImages:
    """Add the noise: x + noise."""
    return truncate(torch.add(images, noise, alpha=255))


def speckle_noise(images: ByteImages, noise: Float[Tensor, "n 3 h w"], row: Sigma) -> ByteImages:
    """Add the noise in proportion: x + x * noise."""
    values = images.float()
    return truncate(values.addcmul(values, noise))


def draw_shot(stream: Stream, images: ByteImages, row: Photons) -> ByteImages:
    """Draw the grey levels of Poisson counts by inversion, for each element's own mean.

    The distribution functions are inverted at 2^12 midpoints of equal shares, so tails end at 3.6 standard deviations.
    """
    which = stream.halves(0, *images.shape[1:]).int().bitwise_and_(HALF_WORD_LEVELS - 1).bitwise_right_shift_(4)
    which.add_(images, alpha=POISSON_LEVELS)
    return torch.index_select(_shot_table(row.photons, images.device), 0, which.view(-1)).view(images.shape)


def shot_noise(images: ByteImages, levels: ByteImages, row: Photons) -> ByteImages:
    """Return Poisson(c x) / c as grey levels: the draw is the result."""
    return levels


def shot_levels(counts: npt.NDArray[np.integer], photons: float) -> npt.NDArray[np.uint8]:
    """Return photon counts as grey levels; in fp64, because a count can equal a whole level."""
    return (np.clip(counts / photons, 0, 1) * 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _shot_table(photons: float, device: torch.device) -> UInt8[Tensor, "levels"]:
    from scipy.special import pdtr  # type: ignore[import-untyped]

    shares = (np.arange(POISSON_LEVELS) + 0.5) / POISSON_LEVELS
    means = np.arange(256) / 255 * photons
    counted = np.arange(ceil(photons + 6 * photons**0.5 + 6))  # beyond every share
    distribution = pdtr(counted[None], means[:, None])
    counts = np.stack([np.searchsorted(row, shares) for row in distribution])  # the least count to reach the share
    return torch.from_numpy(shot_levels(counts.astype(np.int64), photons).reshape(-1)).to(device)


class Hits(NamedTuple):
    """Elements (one channel of one pixel each) that become white and black."""

    salt: Bool[Tensor, "n 3 h w"]
    pepper: Bool[Tensor, "n 3 h w"]


def draw_hits(stream: Stream, images: ByteImages, row: Amount) -> Hits:
    """Draw the hits, half of them salt. The share is rounded to multiples of 2^-16."""
    numbers = stream.halves(0, *images.shape[1:])
    half = round(row.amount * HALF_WORD_LEVELS / 2)
    return Hits(numbers < half - HALF_WORD_LEVELS // 2, numbers >= HALF_WORD_LEVELS // 2 - half)


def impulse_noise(images: ByteImages, hits: Hits, row: Amount) -> ByteImages:
    """Set salt and pepper; each channel of a pixel is hit independently."""
    # Salt sets all bits, pepper clears them: three times as fast as filling by masks.
    white = images.bitwise_or(hits.salt.view(torch.uint8).neg())
    return white.bitwise_and_(hits.pepper.view(torch.uint8).sub(1))
