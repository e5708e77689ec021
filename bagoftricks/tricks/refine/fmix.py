import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bagoftricks.recipe.edits import Batch, BatchPhase, Float64, MapBatch
from bagoftricks.recipe.trick import Task, require, trick
from bagoftricks.rng import Key, send


@trick(paper="Harris et al. 2020, section 4 (arXiv:2002.12047)")
class Fmix:
    """FMix: regions of another image, of any shape, in each one, and targets mixed by the share of pixels.

    The regions are those where a grey image of low-frequency noise is lowest: its Fourier coefficients are normal,
    divided by the frequency to the power ``decay``. An image keeps the share lambda ~ Beta(alpha, alpha) of its pixels,
    rounded to a whole pixel. One mask and one permutation serve the batch, as in the released code; the targets and a
    teacher's probabilities take the exact share.
    """

    alpha: float = 1.0
    """shape of the Beta distribution of the share that an image keeps"""
    decay: float = 3.0
    """power of the frequency that the noise is divided by, 0 or more; larger: fewer and larger regions"""
    probability: float = 1.0
    """share of the steps that are mixed, in (0, 1]"""

    def __post_init__(self) -> None:
        require(self, "alpha", self.alpha > 0, "positive (leave fmix out to mix nothing)")
        require(self, "decay", 0 <= self.decay <= 20, "in [0, 20]")
        require(self, "probability", 0 < self.probability <= 1, "in (0, 1] (leave fmix out to mix nothing)")

    def edits(self, task: Task) -> list[MapBatch]:
        return [MapBatch(phase=BatchPhase.MIX, apply=self.mix)]

    def mix(self, batch: Batch, key: Key) -> Batch:
        """Mix a batch. All is drawn on the host, so nothing waits for the device."""
        draws = key.fold("mask").numpy()
        if draws.random() >= self.probability:
            return batch
        share = draws.beta(self.alpha, self.alpha)
        partner = key.fold("partner").permutation(len(batch), batch.images.device)
        height, width = batch.images.shape[2:]
        return swap(batch, partner, highest(low_frequencies(draws, height, width, self.decay), share))


def low_frequencies(draws: np.random.Generator, height: int, width: int, decay: float) -> Float64:
    """Return a grey image of noise whose amplitudes fall with the frequency: (H, W)."""
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    real, imaginary = draws.standard_normal((2, *frequencies.shape))
    spectrum = (real + 1j * imaginary) / np.maximum(frequencies, 1 / max(height, width)) ** decay
    grey: Float64 = np.fft.irfft2(spectrum, (height, width))
    return grey


def highest(grey: Float64, share: float) -> Bool[Tensor, "H W"]:
    """Return True for the given share of the pixels, the highest ones."""
    kept = np.zeros(grey.size, dtype=bool)
    kept[np.argsort(-grey, axis=None, kind="stable")[: round(share * grey.size)]] = True
    return torch.from_numpy(kept.reshape(grey.shape))


def swap(batch: Batch, partner: Tensor, kept: Bool[Tensor, "H W"]) -> Batch:
    """Return the batch with the partners' pixels where they are not ``kept``; leave ``batch`` unchanged."""
    share = float(kept.double().mean())
    images = torch.where(send(kept, batch.images.device), batch.images, batch.images[partner])

    def shared(rows: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return torch.lerp(rows[partner], rows, share)

    return Batch(images, shared(batch.targets), None if batch.teacher is None else shared(batch.teacher))
