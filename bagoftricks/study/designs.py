"""Designs: which sets of tricks a study runs, made from one list of tricks. Nothing here runs or imports a trick."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.study.aliases import find_aliases
from bagoftricks.study.arms import DESIGNS, Arm, Tricks
from bagoftricks.study.factors import (
    BASELINE,
    NO_TRICKS,
    Factor,
    Level,
    factor_label,
    level_arm,
    read_factors,
    read_level,
)
from bagoftricks.study.fractions import Folds, Size, fraction

ANY_SIZE = Size()
EVERY_FACTOR = "all"  # fold=all


def make_arms(design: str, tricks: Sequence[str], *, base: Tricks = NO_TRICKS, size: Size = ANY_SIZE) -> list[Arm]:
    """Return the rows of a study; ``base`` is in each of them. Of those that select: the arms of the first round."""
    _check_options(design, size)
    factors = read_factors(design, tricks, base)
    if design == "factorial":
        return _crossed(_subsets(factors, size.max_tricks, size.max_arms), base)
    if design == "fractional":
        rows = fraction([len(factor) for factor in factors], size, _folds(size.fold, factors))
        return _crossed([[f[on - 1] for f, on in zip(factors, row, strict=True) if on] for row in rows], base)
    levels = [factor[0] for factor in factors]
    if design == "stack":
        return _stack(levels, base)
    if design == "leave_one_out":
        return _leave_one_out(levels, base)
    singles = [[level] for level in levels]
    if design == "halving":  # the means of its arms choose, they are no result
        return [replace(arm, compare_to=None) for arm in _compared([[], *singles], base)]
    return _compared(singles if design == "arms" else [[], *singles], base)


def _check_options(design: str, size: Size) -> None:
    if design not in DESIGNS:
        raise UserError(f"there is no design '{design}'{did_you_mean(design, DESIGNS)} (one of {', '.join(DESIGNS)})")
    fold = f"[{','.join(size.fold)}]" if size.fold else None
    of_fractions = {"runs": size.runs, "resolution": size.resolution, "fold": fold}
    for name, value in {"max_tricks": size.max_tricks, **of_fractions}.items():
        owner = "fractional" if name in of_fractions else "factorial"
        if value is not None and design != owner:
            raise UserError(f"{name}={value} is for the design '{owner}', not for '{design}'; drop it")
    if size.max_tricks is not None and size.max_tricks < 1:
        raise UserError(f"max_tricks={size.max_tricks} leaves no trick to study; give 1 or more")


def _folds(typed: Sequence[str], factors: Sequence[Factor]) -> Folds:
    """Return the numbers of the factors that ``fold=`` names: by a trick, by the entry, or "all"."""
    found: list[tuple[str, int | None]] = []
    labels = [factor_label([level.label for level in factor]) for factor in factors]
    for name in typed:
        if name == EVERY_FACTOR and all(len(factor) == 1 for factor in factors):
            found.append((name, None))
            continue
        of = [
            i for i, factor in enumerate(factors) if name in (labels[i], *(t for level in factor for t in level.names))
        ]
        of = of or [i for i, label in enumerate(labels) if label.replace(" ", "") == name.replace(" ", "")]
        if name == EVERY_FACTOR or (of and len(factors[of[0]]) > 1):
            two = [label for label, factor in zip(labels, factors, strict=True) if len(factor) == 1]
            way_out = f"fold={two[0]}, or " if two else ""
            raise UserError(f"fold={name}: switches factors of two levels, not alternatives; give {way_out}more runs=")
        if not of:
            known = ", ".join([*labels, EVERY_FACTOR])
            raise UserError(f"fold={name}: there is no such factor{did_you_mean(name, labels)} ({known})")
        found.append((name, of[0]))
    return found


def fold_lines(folds: Sequence[str], arms: int) -> list[str]:
    """Return a note on each fold of a design that has ``arms`` arms with all of them."""
    before = [arms >> (len(folds) - i) for i in range(len(folds))]
    return [
        f"fold={name}: {count} arms, then {count} more with {'every factor' if name == EVERY_FACTOR else name} switched"
        for name, count in zip(folds, before, strict=True)
    ]


def folds_for(tricks: Sequence[str], size: Size, runs: int) -> tuple[str, ...]:
    """Return the folds of a fraction that double it to ``runs`` arms: those that it has, and the best ones after them.

    The best fold gives the highest resolution, then the most two-way interactions that are clear of others.
    Raises UserError if doubling does not lead to that number.
    """
    factors = read_factors("fractional", tricks, NO_TRICKS)
    labels = [[level.label for level in factor] for factor in factors]

    def made(fold: tuple[str, ...]) -> list[Arm]:
        return make_arms("fractional", tricks, size=size._replace(fold=fold))

    def quality(fold: str) -> tuple[int, int]:
        aliases = find_aliases([arm.on for arm in made((*size.fold, fold))], labels)
        return aliases.resolution, aliases.clear_interactions

    arms = len(made(size.fold))
    if arms == runs:
        return size.fold
    if arms > runs or runs % arms or (runs // arms).bit_count() > 1:
        raise UserError(
            f"runs={runs}: a study of {arms} arms is folded to {2 * arms} or {4 * arms}; give runs={2 * arms}"
        )
    names = [factor_label(of) for of in labels if len(of) == 1]
    possible = []
    for name in [*names, EVERY_FACTOR]:
        try:
            possible.append((quality(name), name))
        except UserError:
            continue  # adds no arm
    if not possible:
        raise UserError(f"runs={runs}: no fold of these {arms} arms adds any; they separate all that they can")
    best = max(possible, key=lambda pair: pair[0])[1]
    return folds_for(tricks, size._replace(fold=(*size.fold, best)), runs)


# Rows


def _arm(chosen: Sequence[Level], base: Tricks, label: str | None = None, compare_to: str | None = None) -> Arm:
    return level_arm(_set_label(chosen) if label is None else label, chosen, base, compare_to)


def _set_label(chosen: Sequence[Level]) -> str:
    return " + ".join(level.label for level in chosen) or BASELINE


def _stack(factors: Sequence[Level], base: Tricks) -> list[Arm]:
    arms = [_arm([], base)]
    for i, factor in enumerate(factors):
        arms.append(_arm(factors[: i + 1], base, f"+ {factor.label}", arms[-1].label))
    return arms


def _leave_one_out(factors: Sequence[Level], base: Tricks) -> list[Arm]:
    without = [_arm([f for f in factors if f != out], base, f"without {out.label}", "all") for out in factors]
    return [_arm(factors, base, "all"), *without]


def _compared(sets: Sequence[Sequence[Level]], base: Tricks) -> list[Arm]:
    """Return an arm for each set, compared to the baseline when that is among them."""
    compare_to = BASELINE if BASELINE in map(_set_label, sets) else None
    return [_arm(s, base, compare_to=None if _set_label(s) == BASELINE else compare_to) for s in sets]


def _crossed(sets: Sequence[Sequence[Level]], base: Tricks) -> list[Arm]:
    """Return an arm for each set, with the labels of the factors that are switched on."""
    arms = _compared(sets, base)
    return [replace(arm, on=tuple(f.label for f in chosen)) for arm, chosen in zip(arms, sets, strict=True)]


def _subsets(factors: Sequence[Factor], max_tricks: int | None, max_arms: int) -> list[tuple[Level, ...]]:
    """Return every choice of levels of up to ``max_tricks`` factors, the small ones first."""
    n = len(factors)
    largest = n if max_tricks is None else min(n, max_tricks)
    exactly = [1]  # [k]: choices of exactly k factors
    for factor in factors:
        exactly = [a + len(factor) * b for a, b in zip([*exactly, 0], [0, *exactly], strict=True)]
    counts = [sum(exactly[: k + 1]) for k in range(largest + 1)]
    if counts[-1] > max_arms:
        fits = [f"max_tricks={k} ({count} arms), " for k, count in enumerate(counts) if k and count <= max_arms]
        upto = "" if largest == n else f" of up to {largest}"
        raise UserError(
            f"a factorial{upto} of {n} tricks has {counts[-1]} arms, more than max_arms={max_arms}; "
            f"give {fits[-1] if fits else ''}max_arms={counts[-1]}, or the design fractional"
        )
    return [
        levels for size in range(largest + 1) for chosen in combinations(factors, size) for levels in product(*chosen)
    ]


# Forward selection


@dataclass(frozen=True)
class GreedyStep:
    """The tricks chosen so far, and the arms that add one more: one batch of runs. No candidates: all are chosen."""

    chosen: tuple[str, ...]
    candidates: list[Arm]


def greedy_first(tricks: Sequence[str], base: Tricks = NO_TRICKS) -> GreedyStep:
    """Return each trick alone. Gains are over the baseline, which ``make_arms("greedy", ...)`` lists before these."""
    return _step([], _levels_of(tricks, base), base)


def greedy_next(step: GreedyStep, tricks: Sequence[str], label: str) -> GreedyStep:
    """Return the step after the candidate of that label was chosen."""
    best = next(arm for arm in step.candidates if arm.label == label)
    factors = _levels_of(tricks, NO_TRICKS)
    chosen = [read_level(entry) for entry in step.chosen]
    won = next(f for f in _left(chosen, factors) if _set_label([*chosen, f]) == best.label)
    return _step([*chosen, won], factors, best.tricks)


def _levels_of(tricks: Sequence[str], base: Tricks) -> list[Level]:
    return [factor[0] for factor in read_factors("greedy", tricks, base)]


def _left(chosen: Sequence[Level], factors: Sequence[Level]) -> list[Level]:
    """Return the factors that share no trick with the chosen ones: neither these, nor the same with other values."""
    taken = {name for factor in chosen for name in factor.names}
    return [factor for factor in factors if taken.isdisjoint(factor.names)]


def _step(chosen: Sequence[Level], factors: Sequence[Level], base: Tricks) -> GreedyStep:
    """Return the step after ``chosen``; ``base`` may hold their tricks."""
    so_far = _set_label(chosen)
    arms = [_arm([*chosen, f], base, _set_label([*chosen, f]), so_far) for f in _left(chosen, factors)]
    return GreedyStep(tuple(factor.label for factor in chosen), arms)
