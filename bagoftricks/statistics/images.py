"""Tests and standard errors over the images of a test set: what a finite set of them leaves open.

S seeds of two arms, paired by seed, predict the same N images: (S, N) bool, true where the prediction was right, or
(N,) for one seed. The tests take the trained networks as given and the images as drawn. Where the seeds vary, their own
spread comes on top: ``mixed_error`` has both.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # type: ignore[import-untyped]  # its parts take a second to import: at their first use

Right = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def mcnemar(first: Right, second: Right) -> float:
    """Return the exact two-sided p-value of equal accuracies over the images: (N,) each, or (S, N).

    For one seed this is McNemar's test (1947) in its exact form: of the images that one network alone got right, as
    many are expected of either. For several, D is the sum over seeds of right answers of the first arm minus those of
    the second, for each image; if the arms are alike, each D has either sign alike (Fisher's randomisation of pairs,
    1935). The sum of all D is compared with its distribution over all signs, which is computed and not sampled.
    """
    difference = _by_seed(first, second).sum(0).astype(np.int64)
    total = abs(int(difference.sum()))
    if total == 0:
        return 1.0
    counts = np.bincount(np.abs(difference))
    # Each |D| is added or not: half of (sum of signed D + sum of |D|) is a sum of multiples of binomials.
    chances = np.ones(1)
    for size in np.flatnonzero(counts[1:]) + 1:
        steps = np.zeros(size * counts[size] + 1)
        steps[::size] = scipy.stats.binom.pmf(np.arange(counts[size] + 1), counts[size], 0.5)
        chances = np.convolve(chances, steps)
    tail = chances[(total + len(chances) - 1) // 2 :]
    return min(1.0, 2 * math.fsum(tail))


@dataclass(frozen=True)
class MixedError:
    """Standard error of a mean over images and seeds, both drawn at random, in percentage points."""

    images: float  # its part from the images
    seeds: float  # and from the seeds
    dof: float  # degrees of freedom for a t interval (Satterthwaite 1946)

    @property
    def total(self) -> float:
        """Standard error from both."""
        return math.hypot(self.images, self.seeds)


def image_error(first: Right, second: Right | None = None) -> float:
    """Return the standard error in percentage points that the choice of the N images leaves, whatever the seeds are.

    It is of the mean difference of two arms, or of the top-1 of one. The means of the images over the seeds vary
    because images differ, and because few seeds predicted them; the second part is taken off (random effects of images
    and seeds, as in a two-way layout with one value in each cell). With one seed it cannot be told apart and is
    included. Raises ValueError for less than two images.
    """
    values = _by_seed(first, second)
    seeds, images = values.shape
    if images < 2:
        raise ValueError("the error that images leave takes two of them or more")
    by_image, _, rest = _mean_squares(values)
    return 100 * math.sqrt(max(0.0, by_image - rest) / (seeds * images))


def mixed_error(first: Right, second: Right | None = None) -> MixedError:
    """Return the standard error of a mean difference of two arms, or of one top-1, with images and seeds at random.

    The seeds' part is that of their means, as in a paired t-test; it holds what a seed does to single images. Raises
    ValueError for less than two seeds or images.
    """
    values = _by_seed(first, second)
    seeds, images = values.shape
    if seeds < 2:
        raise ValueError("an error over seeds takes two of them or more")
    of_images = image_error(first, second)
    by_image, by_seed, rest = _mean_squares(values)
    if of_images == 0:
        by_image = rest = 0.0
    terms = by_image**2 / (images - 1) + by_seed**2 / (seeds - 1) + rest**2 / ((seeds - 1) * (images - 1))
    dof = (by_image + by_seed - rest) ** 2 / terms if terms else math.inf
    return MixedError(of_images, 100 * math.sqrt(by_seed / (seeds * images)), dof)


def _by_seed(first: Right, second: Right | None) -> Floats:
    """Return (S, N) right answers, or the first arm's minus the second's."""
    made: Floats = np.atleast_2d(first).astype(np.float64)
    if second is None:
        return made
    if np.shape(first) != np.shape(second):
        raise ValueError(f"the arms have other seeds or images: {np.shape(first)} and {np.shape(second)}")
    return made - np.atleast_2d(second)


def _mean_squares(values: Floats) -> tuple[float, float, float]:
    """Return the mean squares between images, between seeds, and of the rest of a two-way layout (S, N).

    Those between seeds and of the rest are 0 for one seed.
    """
    seeds, images = values.shape
    by_image = seeds * float(values.mean(0).var(ddof=1))
    if seeds == 1:
        return by_image, 0.0, 0.0
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return by_image, images * float(values.mean(1).var(ddof=1)), float((rest**2).sum()) / ((seeds - 1) * (images - 1))
