"""The corruptions of ImageNet-C and CIFAR-10-C as batched tensor code (Hendrycks and Dietterich 2019)."""

from bagoftricks.evaluate.corruptions.corrupt import CONSTANTS, SEVERITIES, corrupt, smallest_side
from bagoftricks.evaluate.corruptions.frost import Frost
from bagoftricks.evaluate.corruptions.jpeg import STORED_QUALITY, resave_as_jpeg
from bagoftricks.evaluate.corruptions.table import CORRUPTIONS, EXTRA

__all__ = [
    "CONSTANTS",
    "CORRUPTIONS",
    "EXTRA",
    "SEVERITIES",
    "STORED_QUALITY",
    "Frost",
    "corrupt",
    "resave_as_jpeg",
    "smallest_side",
]
