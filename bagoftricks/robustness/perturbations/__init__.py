"""Sequences of slightly changed images, as ImageNet-P and CIFAR-10-P have them (Hendrycks and Dietterich 2019)."""

from bagoftricks.robustness.perturbations.sequences import (
    PERTURBATIONS,
    compared_with_first,
    frame_count,
    frames,
    smallest_frame,
)
from bagoftricks.robustness.perturbations.warps import middle

__all__ = ["PERTURBATIONS", "compared_with_first", "frame_count", "frames", "middle", "smallest_frame"]
