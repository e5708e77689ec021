"""Compute one number from errors: mCE, relative mCE, mean corruption error and mFR. Imports no torch.

Errors are in percent, a list of one error per severity for each corruption. Flip probabilities have one severity, and
mFR is computed from them as mCE is from errors (Hendrycks and Dietterich 2019, sections 3.3 and 3.4, arXiv:1903.12261).
AlexNet's errors, which normalise these scores, are package data; they are looked up by name, never by position.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean

from bagoftricks.errors import UserError

Errors = Mapping[str, Sequence[float]]  # corruption -> error in percent at each severity
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Normaliser:
    """Network whose errors normalise those of another."""

    name: str
    errors: Errors  # or flip probabilities
    clean: float  # its error on the images before corruption, in percent


@cache
def alexnet() -> Normaliser:
    """Return AlexNet's errors on the 19 corruptions of ImageNet-C (hendrycks/robustness, README of commit ac836a5).

    Its clean error is that of torchvision's weights, 43.478 %, used for the relative mCE.
    """
    errors = {row["corruption"]: [100 * float(n) for s in SEVERITIES if (n := row[f"severity{s}"])] for row in _rows()}
    (clean,) = errors.pop("clean")
    return Normaliser("AlexNet", errors, clean)


@cache
def corruption_names(kind: str | None = None) -> tuple[str, ...]:
    """Return the 15 corruptions of ImageNet-C (``main``) in the paper's order, the 4 ``extra`` ones, or all."""
    return tuple(row["corruption"] for row in _rows() if row["set"] in (("main", "extra") if kind is None else (kind,)))


@cache
def alexnet_flips() -> Normaliser:
    """Return AlexNet's flip probabilities on ImageNet-P in percent (clovaai/assembled-cnn, mce/eval_robustness.py)."""
    with (Path(__file__).parent / "alexnet_p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    errors = {row["perturbation"]: [100 * float(row["flip_probability"])] for row in rows}
    return Normaliser("AlexNet", errors, alexnet().clean)


def mean_error(errors: Errors) -> float:
    """Return the mean over severities, then over corruptions, in percent: the score of CIFAR-10-C and Food-101-C."""
    return mean(mean(of) for of in errors.values())


def corruption_errors(errors: Errors, normaliser: Normaliser) -> dict[str, float]:
    """Return the CE of each corruption in percent: its errors summed over severities, over the normaliser's sum."""
    return {name: 100 * mean(of) / _base(name, normaliser) for name, of in errors.items()}


def mce(errors: Errors, normaliser: Normaliser) -> float:
    """Return the mean of the corruptions' CEs in percent: a mean of ratios, not a ratio of means."""
    return mean(corruption_errors(errors, normaliser).values())


def relative_mce(errors: Errors, clean: float, normaliser: Normaliser) -> float | None:
    """Return the mean over corruptions of the error added to the clean one, over the normaliser's added error.

    The result is None if a corruption does not add to the normaliser's error: the ratio has no meaning.
    """
    added = {name: _base(name, normaliser) - normaliser.clean for name in errors}
    if min(added.values()) <= 0:
        return None
    return mean(100 * (mean(of) - clean) / added[name] for name, of in errors.items())


def _base(name: str, normaliser: Normaliser) -> float:
    """Return the normaliser's mean error on a corruption."""
    if name not in normaliser.errors:
        raise UserError(f"{normaliser.name} has no errors on '{name}': choose another protocol, corruptions=")
    found = mean(normaliser.errors[name])
    if found == 0:
        raise UserError(f"{normaliser.name} makes no errors on '{name}', and nothing is a fraction of 0: normalise_by=")
    return found


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with (Path(__file__).parent / "alexnet_c.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
