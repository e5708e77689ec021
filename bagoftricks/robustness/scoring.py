"""From errors to one number: mCE, relative mCE, mean corruption error and mFR. Imports no torch.

Errors are in percent, a list of one error per severity for each corruption; flip probabilities likewise, of one
severity: mFR is to them what mCE is to errors. Hendrycks and Dietterich 2019, sections 3.3
and 3.4 (arXiv:1903.12261). AlexNet's errors, which its scores are fractions of, are package data; they are looked up by
name, never by position.
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
    """A network whose errors another's are fractions of."""

    name: str
    errors: Errors  # or flip probabilities
    clean: float  # its error on the images before corruption, in percent


@cache
def alexnet() -> Normaliser:
    """AlexNet's errors on the 19 corruptions of ImageNet-C (hendrycks/robustness, README of commit ac836a5).

    On clean images, 43.478 %: torchvision's weights, which its relative mCE is computed with.
    """
    errors = {row["corruption"]: [100 * float(n) for s in SEVERITIES if (n := row[f"severity{s}"])] for row in _rows()}
    (clean,) = errors.pop("clean")
    return Normaliser("AlexNet", errors, clean)


@cache
def corruption_names(kind: str | None = None) -> tuple[str, ...]:
    """The 15 of ImageNet-C (``main``) in the paper's order, the 4 ``extra`` ones, or all of them."""
    return tuple(row["corruption"] for row in _rows() if row["set"] in (("main", "extra") if kind is None else (kind,)))


@cache
def alexnet_flips() -> Normaliser:
    """AlexNet's flip probabilities on ImageNet-P, in percent (clovaai/assembled-cnn, mce/eval_robustness.py)."""
    with (Path(__file__).parent / "alexnet_p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    errors = {row["perturbation"]: [100 * float(row["flip_probability"])] for row in rows}
    return Normaliser("AlexNet", errors, alexnet().clean)


def mean_error(errors: Errors) -> float:
    """Mean over severities, then over corruptions, in percent: the unnormalised score of CIFAR-10-C and Food-101-C."""
    return mean(mean(of) for of in errors.values())


def corruption_errors(errors: Errors, normaliser: Normaliser) -> dict[str, float]:
    """CE of each corruption in percent: its errors summed over severities, over the normaliser's sum."""
    return {name: 100 * mean(of) / _base(name, normaliser) for name, of in errors.items()}


def mce(errors: Errors, normaliser: Normaliser) -> float:
    """The mean of the corruptions' CEs, in percent: a mean of ratios, not a ratio of means."""
    return mean(corruption_errors(errors, normaliser).values())


def relative_mce(errors: Errors, clean: float, normaliser: Normaliser) -> float | None:
    """The mean over corruptions of what each adds to the clean error, over what it adds to the normaliser's.

    None where a corruption does not add to the normaliser's error, so that the ratio has no meaning.
    """
    added = {name: _base(name, normaliser) - normaliser.clean for name in errors}
    if min(added.values()) <= 0:
        return None
    return mean(100 * (mean(of) - clean) / added[name] for name, of in errors.items())


def _base(name: str, normaliser: Normaliser) -> float:
    """The mean error that a corruption's is divided by."""
    if name not in normaliser.errors:
        raise UserError(f"{normaliser.name} has no errors on '{name}': use a protocol that is normalised otherwise")
    found = mean(normaliser.errors[name])
    if found == 0:
        raise UserError(f"{normaliser.name} makes no errors on '{name}', and nothing is a fraction of 0: normalise_by=")
    return found


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with (Path(__file__).parent / "alexnet_c.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
