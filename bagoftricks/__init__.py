"""Ablation studies of image classifiers: compose tricks, run what is missing, tabulate what was measured."""

__version__ = "0.1.0"
