"""Data sets and the batches made of them."""

from bagoftricks.data.finding import find_dataset
from bagoftricks.data.loaders import Loader, bytes_in_order, eval_loader, images_in_order, train_loader
from bagoftricks.data.memory import keep_decoded
from bagoftricks.data.sources import Dataset, Split

__all__ = [
    "Dataset",
    "Loader",
    "Split",
    "bytes_in_order",
    "eval_loader",
    "find_dataset",
    "images_in_order",
    "keep_decoded",
    "train_loader",
]
