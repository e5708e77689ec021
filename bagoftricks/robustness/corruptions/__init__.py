"""Corruptions of ImageNet-C and CIFAR-10-C as batched tensor code (Hendrycks and Dietterich 2019)."""

from bagoftricks.robustness.corruptions.corrupt import CorruptionOptions, corrupt, smallest_side
from bagoftricks.robustness.corruptions.frost import Frost
from bagoftricks.robustness.corruptions.jpeg import STORED_QUALITY, resave_as_jpeg
from bagoftricks.robustness.corruptions.table import CORRUPTIONS, EXTRA
from bagoftricks.robustness.scoring import SEVERITIES

__all__ = [
    "CORRUPTIONS",
    "EXTRA",
    "SEVERITIES",
    "STORED_QUALITY",
    "CorruptionOptions",
    "Frost",
    "corrupt",
    "resave_as_jpeg",
    "smallest_side",
]
