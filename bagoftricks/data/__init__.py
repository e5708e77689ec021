"""Data sets and the batches made of them."""

from bagoftricks.data.loaders import Loader, eval_loader, keep_decoded, train_loader
from bagoftricks.data.sources import Dataset, find_dataset

__all__ = ["Dataset", "Loader", "eval_loader", "find_dataset", "keep_decoded", "train_loader"]
