"""Aliases: which main effects and two-way interactions the arms of a design cannot separate.

A factor of one level is a column of the design matrix, 1 where it is on and -1 where it is off; one of several
alternatives is as many orthogonal contrasts. An interaction is the products of its factors' columns. Two effects are
aliased where the inner product of their columns is the number of arms (the sign gives whether they add or subtract),
partly where it is anything else but zero.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from bagoftricks.study.arms import Arm
from bagoftricks.study.factors import factor_label

AliasTerm = tuple[int, ...]  # numbers of factors: one is a main effect, two are an interaction, none is the mean
DesignColumns = NDArray[np.float64]
NOT_ZERO = 1e-9
MOST_ALIASES = 6  # terms in a line on a factor with alternatives
SEPARATE = 5  # resolution of a design in which no main effect or two-way interaction is aliased with another

RESOLUTIONS = {
    1: "resolution I: a trick is not on in half of the arms",
    2: "resolution II: main effects are aliased with each other",
    3: "resolution III: main effects are aliased with two-way interactions",
    4: "resolution IV: main effects are clear, two-way interactions are aliased with each other",
}


@dataclass(frozen=True)
class Aliases:
    """Aliases of a design: ``inner[i, j]`` is the largest inner product of two terms' columns, 1 and -1 if full."""

    labels: tuple[str, ...]  # of the factors
    single: tuple[bool, ...]  # of the factors: without alternatives
    terms: tuple[AliasTerm, ...]
    inner: DesignColumns  # (terms, terms)

    @property
    def resolution(self) -> int:
        """Number of factors in the shortest product that is not balanced, at most ``SEPARATE``."""
        tied = np.argwhere(np.triu(np.abs(self.inner) > NOT_ZERO, 1))
        words = [set(self.terms[i]) ^ set(self.terms[j]) for i, j in tied if self._is_word(i, j)]
        return min(map(len, words), default=SEPARATE)

    @property
    def clear_interactions(self) -> int:
        """Number of two-way interactions that are aliased with no main effect and no other two-way interaction."""
        tied = (np.abs(self.inner[1:, 1:]) > NOT_ZERO).sum(axis=1) > 1
        return sum(len(term) == 2 and not t for term, t in zip(self.terms[1:], tied, strict=True))

    def _is_word(self, i: int, j: int) -> bool:
        """Return True if the factors of two terms that are not in both make an unbalanced product."""
        return all(self.single[factor] for factor in set(self.terms[i]) & set(self.terms[j]))

    def lines(self) -> list[str]:
        """Return the resolution and the aliases as text; empty if everything can be told apart."""
        if self.resolution == SEPARATE:
            return []
        return [RESOLUTIONS[self.resolution], *self._full(), *self._partial(), *self._of_alternatives()]

    def name(self, term: AliasTerm) -> str:
        """Return the label of an effect; that of a factor of several tricks or alternatives is in brackets."""
        labels = (f"({label})" if " + " in label or " | " in label else label for label in self._labels(term))
        return " x ".join(labels) or "the mean"

    def _labels(self, term: AliasTerm) -> list[str]:
        return [self.labels[factor] for factor in term]

    def _plain(self) -> list[int]:
        """Return the terms of factors without alternatives."""
        return [i for i, term in enumerate(self.terms) if all(self.single[factor] for factor in term)]

    def _full(self) -> list[str]:
        """``a = -b x c``, one line for each group of terms that share a column."""
        lines, seen, plain = [], set[int](), self._plain()
        for i in plain:
            group = [j for j in plain if j > i and abs(abs(self.inner[i, j]) - 1) < NOT_ZERO]
            if group and i not in seen:
                others = (f"{'-' if self.inner[i, j] < 0 else ''}{self.name(self.terms[j])}" for j in group)
                lines.append(" = ".join([self.name(self.terms[i]), *others]))
                seen |= {i, *group}
        return lines

    def _partial(self) -> list[str]:
        """Return how far each main effect is mixed with two-way interactions; one line if it is the same for all."""
        plain = self._plain()
        mains, pairs = ([i for i in plain if len(self.terms[i]) == size] for size in (1, 2))
        found = {}
        for i in mains:
            parts = [abs(r) for r in self.inner[i, pairs] if NOT_ZERO < abs(r) < 1 - NOT_ZERO]
            if parts:
                of = f"{len(parts)} of {len(pairs)} two-way interactions (correlation up to {max(parts):.2f})"
                found[self.name(self.terms[i])] = f"partly aliased with {of}"
        if not found:
            between = np.abs(self.inner[np.ix_(pairs, pairs)])
            between = between[(between > NOT_ZERO) & (between < 1 - NOT_ZERO)]
            up_to = f"(correlation up to {between.max():.2f})" if between.size else ""
            return [f"two-way interactions are partly aliased with each other {up_to}"] if between.size else []
        first = "main effects are right only if there are no interactions"
        if len(found) == len(mains) and len(set(found.values())) == 1:
            return [f"{first}: each main effect is {next(iter(found.values()))}"]
        return [first, *(f"{name} is {text}" for name, text in found.items())]

    def _of_alternatives(self) -> list[str]:
        """Return for each term of a factor with alternatives those that one of its contrasts is mixed with."""
        plain, lines = self._plain(), []
        for i in sorted(set(range(len(self.terms))) - set(plain)):
            tied = [j for j in np.flatnonzero(np.abs(self.inner[i]) > NOT_ZERO) if j in plain or j > i]
            if tied:
                names = [self.name(self.terms[j]) for j in tied[:MOST_ALIASES]]
                names += [f"{len(tied) - MOST_ALIASES} more"] * (len(tied) > MOST_ALIASES)
                lines.append(f"{self.name(self.terms[i])} is mixed with {', '.join(names)}")
        return lines


def find_aliases(on: Sequence[Sequence[str]], factors: Sequence[Sequence[str]]) -> Aliases:
    """Return the aliases of a design: the labels of the levels that are on in each arm, and of each factor's levels."""
    mains = [_contrasts(on, labels) for labels in factors]
    terms: list[AliasTerm] = [term for size in (0, 1, 2) for term in combinations(range(len(factors)), size)]
    columns, owners = [], []
    for owner, term in enumerate(terms):
        for parts in product(*(mains[factor] for factor in term)):
            columns.append(np.prod(parts, axis=0) if parts else np.ones(len(on)))
            owners.append(owner)
    matrix = np.stack(columns, axis=1)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=0), NOT_ZERO)
    inner, firsts = matrix.T @ matrix, np.flatnonzero(np.diff(owners, prepend=-1))
    high, low = (f.reduceat(f.reduceat(inner, firsts, axis=0), firsts, axis=1) for f in (np.maximum, np.minimum))
    labels = tuple(map(factor_label, factors))
    return Aliases(labels, tuple(len(of) == 1 for of in factors), tuple(terms), np.where(high >= -low, high, low))


def _contrasts(on: Sequence[Sequence[str]], labels: Sequence[str]) -> list[DesignColumns]:
    """Return the columns of a factor (arms,): one of 1 and -1, or orthogonal ones of mean 0 for alternatives."""
    levels = np.array([[label in arm for label in labels] for arm in on], dtype=np.float64)
    if len(labels) == 1:
        return [2 * levels[:, 0] - 1]
    return list(np.linalg.qr(levels - levels.mean(axis=0))[0].T)


def alias_lines(arms: Sequence[Arm], factors: Sequence[Sequence[str]]) -> list[str]:
    """Return the notes on a fraction: how often each alternative is on, then what it cannot separate."""
    on = [arm.on for arm in arms]
    lines = []
    for labels in factors:
        if len(labels) > 1:
            counts = Counter(next((label for label in labels if label in arm), "off") for arm in on)
            shares = ", ".join(f"{label} in {counts[label]}" for label in ("off", *labels))
            lines.append(f"of {len(on)} arms: {shares}")
    return [*lines, *find_aliases(on, factors).lines()]
