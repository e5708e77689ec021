"""Data sets and the batches made of them."""

from bagoftricks.data.loaders import Loader, eval_loader, in_order, keep_decoded, train_loader
from bagoftricks.data.sources import Dataset, find_dataset

__all__ = ["Dataset", "Loader", "eval_loader", "find_dataset", "in_order", "keep_decoded", "train_loader"]
