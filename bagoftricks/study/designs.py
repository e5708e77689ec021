"""Designs: which sets of tricks a study runs, made from one list of tricks. Nothing here runs or imports a trick.

An entry of the list is a trick as it is typed, ``mixup`` or ``mixup(alpha=0.5, partner=batch)``, or several joined by
"+", which are then switched on and off together.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any, NamedTuple, get_args, get_origin

import numpy as np

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.plugins import split_items, split_list, typed_text
from bagoftricks.registry import HyperParameter, Values
from bagoftricks.study.arms import DESIGNS, Arm, Tricks
from bagoftricks.tricks.catalogue import card, family_of, hyper_parameter

ALTERNATIVES = ("one_at_a_time", "arms", "greedy")  # never put two entries in one arm unless they share no trick
NO_TRICKS: Tricks = MappingProxyType({})
BASELINE = "baseline"

TRICK = re.compile(r"(?P<name>\w+)\s*(?:\((?P<params>[^()]*)\))?")
PLUS = re.compile(r"\+(?![^(]*\))")  # not the one in mixup(alpha=1e+2)


class Factor(NamedTuple):
    """Tricks that a design switches on and off as one."""

    label: str
    tricks: dict[str, Values]

    @property
    def effective(self) -> dict[str, Values]:
        """The tricks with every hyper-parameter: ``mixup`` and ``mixup(alpha=0.2)`` are one factor."""
        return {
            name: {**{f.name: f.default for f in card(name).fields}, **given} for name, given in self.tricks.items()
        }


class Size(NamedTuple):
    """Size of a design, as far as it is typed."""

    max_tricks: int | None = None  # factorial: tricks of an arm
    runs: int | None = None  # fractional: arms
    resolution: int | None = None  # fractional
    max_arms: int = 512  # a design of more arms is refused


ANY_SIZE = Size()


def make_arms(design: str, tricks: Sequence[str], *, base: Tricks = NO_TRICKS, size: Size = ANY_SIZE) -> list[Arm]:
    """Return the rows of a study; ``base`` is in each of them. Greedy: the baseline and the first batch."""
    _check_options(design, size.max_tricks, size.runs, size.resolution)
    factors = _factors(design, tricks, base)
    if design == "stack":
        return _stack(factors, base)
    if design == "leave_one_out":
        return _leave_one_out(factors, base)
    if design == "factorial":
        return _crossed(_subsets(factors, size.max_tricks, size.max_arms), base)
    if design == "fractional":
        rows = _fraction(len(factors), size.runs, size.resolution, size.max_arms)
        return _crossed([[f for f, on in zip(factors, row, strict=True) if on] for row in rows], base)
    singles = [[factor] for factor in factors]
    return _compared(singles if design == "arms" else [[], *singles], base)


def factor_levels(tricks: Sequence[str]) -> list[list[str]]:
    """Return the labels of each factor's levels next to "off", which arms of crossed factors name in ``on``."""
    return [[_factor(entry).label] for entry in tricks]


# What is typed


def parse_trick(text: str) -> tuple[str, Values]:
    """``"mixup(alpha=0.5)"`` as ``("mixup", {"alpha": 0.5})``, values in the types that the trick declares."""
    match = TRICK.fullmatch(text.strip())
    if match is None:
        raise UserError(f"'{text}' is no trick; write it as mixup or as mixup(alpha=0.5,partner=batch)")
    name, given = match["name"], (match["params"] or "").strip()
    family_of(name)
    params: dict[str, object] = {}
    for pair in split_items(given):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value):
            raise UserError(f"trick '{name}': '{pair.strip()}' sets no hyper-parameter; write key=value")
        field = hyper_parameter(name, key)
        if key in params:
            raise UserError(f"trick '{name}': hyper-parameter '{key}' is given twice; drop one")
        params[key] = typed_value(name, field, value)
    return name, params


def typed_value(trick: str, field: HyperParameter, text: str) -> Any:
    """``text`` in the type of the field: a run with alpha=1 is the run with alpha=1.0, as on the command line."""
    kinds = get_args(field.type) or (field.type,)
    if str not in kinds and type(None) in kinds and text.lower() in ("null", "none", "~"):
        return None

    def convert(text: str) -> Any:
        return {"true": True, "false": False}[text.lower()] if bool in kinds else kinds[0](text)

    try:
        return [convert(item) for item in split_list(text)] if get_origin(field.type) is list else convert(text)
    except (KeyError, ValueError):
        kind = kinds[0].__name__
        raise UserError(f"trick '{trick}': {field.name}={text} is no {kind}; its default is {field.default}") from None


def _trick_label(name: str, params: Values) -> str:
    given = ", ".join(f"{key}={typed_text(value)}" for key, value in params.items())
    return f"{name}({given})" if given else name


def _factor(entry: str) -> Factor:
    """Return the trick or the tricks of one entry of the list."""
    tricks: dict[str, Values] = {}
    for text in PLUS.split(entry):
        name, params = parse_trick(text)
        if name in tricks:
            raise UserError(f"trick '{name}' is given twice in '{entry}'; drop one")
        tricks[name] = params
    return Factor(" + ".join(_trick_label(name, params) for name, params in tricks.items()), tricks)


def _factors(design: str, entries: Sequence[str], base: Tricks) -> list[Factor]:
    """Return the entries of the list, none twice and none in the base already."""
    if not entries:
        raise UserError(f"the design '{design}' needs tricks and was given none; list some, as in mixup,cosine")
    factors: list[Factor] = []
    for entry in entries:
        factor = Factor(BASELINE, {}) if design == "arms" and entry.strip() == BASELINE else _factor(entry)
        for name in factor.tricks:
            if name in base:
                raise UserError(f"trick '{name}' is in every arm already, as a part of the base; drop one of the two")
        for other in factors:
            _check_pair(design, other, factor)
        factors.append(factor)
    return factors


def _check_pair(design: str, first: Factor, second: Factor) -> None:
    """Raise UserError unless two entries make different arms, and fit into one where the design puts them together."""
    if first.effective == second.effective:
        same = "" if first.label == second.label else f" (as '{first.label}', which is the same)"
        raise UserError(f"'{second.label}' is given twice{same}; drop one")
    shared = [name for name in second.tricks if name in first.tricks]
    if shared and design not in ALTERNATIVES:
        why = f"an arm of the design '{design}' would hold both '{first.label}' and '{second.label}'"
        raise UserError(f"trick '{shared[0]}' is given twice: {why}; drop one, or compare them with one_at_a_time")


def _check_options(design: str, max_tricks: int | None, runs: int | None, resolution: int | None) -> None:
    if design not in DESIGNS:
        raise UserError(f"there is no design '{design}'{did_you_mean(design, DESIGNS)} (one of {', '.join(DESIGNS)})")
    options = {"max_tricks": (max_tricks, "factorial"), "runs": (runs, "fractional")}
    for name, (value, owner) in (options | {"resolution": (resolution, "fractional")}).items():
        if value is not None and design != owner:
            raise UserError(f"{name}={value} is for the design '{owner}', not for '{design}'; drop it")
    if max_tricks is not None and max_tricks < 1:
        raise UserError(f"max_tricks={max_tricks} leaves no trick to study; give 1 or more")


# Rows


def _arm(chosen: Sequence[Factor], base: Tricks, label: str | None = None, compare_to: str | None = None) -> Arm:
    tricks = {name: dict(params) for part in (base, *(f.tricks for f in chosen)) for name, params in part.items()}
    return Arm(label=_set_label(chosen) if label is None else label, tricks=tricks, compare_to=compare_to)


def _set_label(chosen: Sequence[Factor]) -> str:
    return " + ".join(factor.label for factor in chosen) or BASELINE


def _stack(factors: Sequence[Factor], base: Tricks) -> list[Arm]:
    arms = [_arm([], base)]
    for i, factor in enumerate(factors):
        arms.append(_arm(factors[: i + 1], base, f"+ {factor.label}", arms[-1].label))
    return arms


def _leave_one_out(factors: Sequence[Factor], base: Tricks) -> list[Arm]:
    without = [_arm([f for f in factors if f != out], base, f"without {out.label}", "all") for out in factors]
    return [_arm(factors, base, "all"), *without]


def _compared(sets: Sequence[Sequence[Factor]], base: Tricks) -> list[Arm]:
    """Return an arm for each set, compared to the baseline when that is among them."""
    compare_to = BASELINE if BASELINE in map(_set_label, sets) else None
    return [_arm(s, base, compare_to=None if _set_label(s) == BASELINE else compare_to) for s in sets]


def _crossed(sets: Sequence[Sequence[Factor]], base: Tricks) -> list[Arm]:
    """Return an arm for each set, with the labels of the factors that are switched on."""
    arms = _compared(sets, base)
    return [replace(arm, on=tuple(f.label for f in chosen)) for arm, chosen in zip(arms, sets, strict=True)]


def _subsets(factors: Sequence[Factor], max_tricks: int | None, max_arms: int) -> list[tuple[Factor, ...]]:
    """Return every subset of up to ``max_tricks`` factors, the small ones first."""
    n = len(factors)
    largest = n if max_tricks is None else min(n, max_tricks)
    counts = [sum(math.comb(n, size) for size in range(k + 1)) for k in range(largest + 1)]
    if counts[-1] > max_arms:
        fits = [f"max_tricks={k} ({count} arms), " for k, count in enumerate(counts) if k and count <= max_arms]
        upto = "" if largest == n else f" of up to {largest}"
        raise UserError(
            f"a factorial{upto} of {n} tricks has {counts[-1]} arms, more than max_arms={max_arms}; "
            f"give {fits[-1] if fits else ''}max_arms={counts[-1]}, or the design fractional"
        )
    return [subset for size in range(largest + 1) for subset in combinations(factors, size)]


# Fractions


def _fraction(n: int, runs: int | None, resolution: int | None, max_arms: int) -> list[list[bool]]:
    """Return which of ``n`` tricks are on in each run.

    The signs of the columns are chosen so that the first run has no trick on: negating a column keeps the design's
    balance and resolution, and with the baseline in the design every other arm has its comparison.
    """
    _check_fraction(n, runs, resolution, max_arms)
    if runs is None:
        runs = _smallest(n, resolution or 4, max_arms)
    rows = _fracfact(_best(n, runs, resolution or 3)) if _is_power_of_two(runs) else _plackett_burman(n, runs)
    if len(set(map(tuple, rows))) < len(rows):
        why = f"with {n} tricks the Plackett-Burman design of runs={runs} holds an arm twice"
        raise UserError(f"{why}; give runs={1 << runs.bit_length()}")
    return [[level != first for level, first in zip(row, rows[0], strict=True)] for row in rows]


def _check_fraction(n: int, runs: int | None, resolution: int | None, max_arms: int) -> None:
    if resolution is not None and not 3 <= resolution <= n:
        possible = f"resolution=3 to {n}" if n >= 3 else "the design factorial, as fractions need three tricks"
        raise UserError(f"no fraction of the factorial of {n} tricks has resolution={resolution}; give {possible}")
    if runs is None:
        return
    if runs > 2**n:
        raise UserError(
            f"runs={runs} is more than the {2**n} of the full factorial of {n} tricks; give runs={2**n} or fewer"
        )
    if runs not in (sizes := _sizes(n)):
        some = ", ".join(map(str, sizes[:6]))
        raise UserError(f"no two-level design of {n} tricks has runs={runs}; give one of {some}")
    if runs > max_arms:
        raise UserError(f"runs={runs} is more than max_arms={max_arms}; give fewer runs, or max_arms={runs}")
    if resolution is not None and not _is_power_of_two(runs):
        why = f"runs={runs} is a Plackett-Burman design, which is not chosen by its resolution"
        raise UserError(f"{why}; drop resolution={resolution}, or give runs={1 << runs.bit_length()}")


def _is_power_of_two(runs: int) -> bool:
    return runs.bit_count() == 1


def _sizes(n: int) -> list[int]:
    """Return the numbers of runs that can tell ``n`` main effects and the mean apart, of those that pyDOE3 knows."""
    return sorted(size for e in range(n + 1) for f in (1, 12, 20) if n < (size := f * 2**e) <= 2**n)


def _smallest(n: int, resolution: int, max_arms: int) -> int:
    """Return the runs of the smallest design of at least this resolution; the full one when no fraction has it."""
    for letters in range(1, min(n, max_arms.bit_length() - 1) + 1):
        if _words(n, letters, resolution):
            return 1 << letters
    why = f"a design of resolution {resolution} of {n} tricks has more than max_arms={max_arms} arms"
    lower = f" or resolution={resolution - 1}" if resolution > 3 else ""
    raise UserError(f"{why}; give a larger max_arms{lower}")


def _best(n: int, runs: int, resolution: int) -> list[str]:
    """Return the words of the design of highest resolution in ``runs`` runs; refuse one below ``resolution``."""
    found = ((best, _words(n, runs.bit_length() - 1, best)) for best in range(max(n, 3), 2, -1))
    best, words = next((best, words) for best, words in found if words)
    if best < resolution:
        why = f"{n} tricks in runs={runs} have resolution {best} at best, not resolution={resolution}"
        raise UserError(f"{why}; give more runs, or drop one of the two")
    return words


def _words(n: int, letters: int, resolution: int) -> list[str]:
    """Generators ``["a", "b", "c", "abc"]`` of ``n`` columns in ``2 ** letters`` runs; empty when there is no room.

    A design has resolution R when no product of fewer than R columns is constant, so a column may join when it is no
    product of up to R - 2 others. pyDOE3.fracfact_by_res looks at each generator alone, not at their products: for 7
    factors and resolution 5 it gives a design of resolution 4 (abcd and abce make de, a word of four with f and g).
    """
    columns: list[int] = []
    products = [{0}, *(set[int]() for _ in range(resolution - 2))]  # [k]: of exactly k columns, as sets of letters
    for column in sorted(range(1, 2**letters), key=lambda c: (c.bit_count(), c)):
        if len(columns) < n and not any(column in level for level in products):
            columns.append(column)
            for k in range(resolution - 2, 0, -1):
                products[k] |= {column ^ product for product in products[k - 1]}
    words = ["".join(a for i, a in enumerate(ascii_lowercase) if column >> i & 1) for column in columns]
    return words if len(words) == n else []


def _fracfact(words: Sequence[str]) -> list[list[int]]:
    from pyDOE3 import fracfact  # type: ignore[import-untyped]

    return np.asarray(fracfact(" ".join(words))).astype(int).tolist()  # type: ignore[no-any-return]


def _plackett_burman(n: int, runs: int) -> list[list[int]]:
    """Return the last columns: in 24, 40 or more runs they are a smaller design and its mirror, of resolution 4."""
    from pyDOE3 import pbdesign

    return np.asarray(pbdesign(runs - 1))[:, -n:].astype(int).tolist()  # type: ignore[no-any-return]


# Aliases

RESOLUTIONS = {
    1: "resolution I: a trick is not on in half of the arms",
    2: "resolution II: main effects are aliased with each other",
    3: "resolution III: main effects are aliased with two-way interactions",
    4: "resolution IV: main effects are clear, two-way interactions are aliased with each other",
}


def alias_structure(arms: Sequence[Arm], tricks: Sequence[str]) -> str:
    """Return which main effects and two-way interactions these arms cannot separate; empty if they separate all.

    Read off the design matrix: columns are aliased when their inner product is the number of arms (the sign says
    whether the effects add or subtract), partly when it is anything else but zero.
    """
    factors = [_factor(entry) for entry in tricks]
    levels = np.array([[1 if _is_on(factor, arm) else -1 for factor in factors] for arm in arms])
    terms = [term for size in (0, 1, 2) for term in combinations(range(len(factors)), size)]
    columns = np.stack([levels[:, list(term)].prod(axis=1) for term in terms], axis=1)
    inner = columns.T @ columns / len(arms)
    words = [set(terms[i]) ^ set(terms[j]) for i, j in np.argwhere(np.triu(inner, 1))]
    if not words:
        return ""
    names = [" x ".join(factors[i].label for i in term) or "the mean" for term in terms]
    lines = [RESOLUTIONS[min(map(len, words))], *_full_aliases(inner.tolist(), names)]
    return "\n".join(lines + _partial_aliases(inner[:, 1 : len(factors) + 1].T.tolist(), names))


def _is_on(factor: Factor, arm: Arm) -> bool:
    return all(arm.tricks.get(name) == params for name, params in factor.tricks.items())


def _full_aliases(inner: Sequence[Sequence[float]], names: Sequence[str]) -> list[str]:
    """``a = -b x c``, one line for each group of terms that share a column."""
    lines, seen = [], set[int]()
    for i, row in enumerate(inner):
        group = [j for j in range(i + 1, len(row)) if abs(row[j]) == 1]
        if group and i not in seen:
            lines.append(" = ".join([names[i], *(f"{'-' if row[j] < 0 else ''}{names[j]}" for j in group)]))
            seen |= {i, *group}
    return lines


def _partial_aliases(mains: Sequence[Sequence[float]], names: Sequence[str]) -> list[str]:
    """Return how far each main effect is mixed with two-way interactions; one line if it is the same for all."""
    n, found = len(mains), {}
    for i, row in enumerate(mains):
        parts = [abs(r) for r in row[n + 1 :] if 0 < abs(r) < 1]
        if parts:
            of = f"{len(parts)} of {len(row) - n - 1} two-way interactions (correlation up to {max(parts):.2f})"
            found[names[i + 1]] = f"partly aliased with {of}"
    if len(found) == n and len(set(found.values())) == 1:
        return [f"each main effect is {next(iter(found.values()))}"]
    return [f"{name} is {text}" for name, text in found.items()]


# Forward selection


@dataclass(frozen=True)
class GreedyStep:
    """The tricks chosen so far, and the arms that add one more: one batch of runs. No candidates: all are chosen."""

    chosen: tuple[str, ...]
    candidates: list[Arm]


def greedy_first(tricks: Sequence[str], base: Tricks = NO_TRICKS) -> GreedyStep:
    """Return each trick alone. Gains are over the baseline, which ``make_arms("greedy", ...)`` lists before these."""
    return _step([], _factors("greedy", tricks, base), base)


def greedy_next(
    step: GreedyStep,
    tricks: Sequence[str],
    gains: Mapping[str, float | None],
    throughput: Mapping[str, float] | None = None,
    floor: float | None = None,
) -> GreedyStep | None:
    """Choose the candidate that gains most over the set chosen so far and list the next ones; None when none gains.

    ``gains`` and ``throughput`` are by the label of the candidate's arm; a gain of None is a run that failed. Of equal
    gains the first in the list wins.
    """
    if floor is not None and throughput is None:
        raise UserError(f"a floor of {floor:g} images/s on inference needs the throughput of each arm; measure it")
    gained = [(arm, gain) for arm in step.candidates if (gain := gains[arm.label]) is not None and gain > 0]
    if floor is not None and throughput is not None:
        gained = [(arm, gain) for arm, gain in gained if throughput[arm.label] >= floor]
    if not gained:
        return None
    best = max(gained, key=lambda pair: pair[1])[0]
    factors = _factors("greedy", tricks, NO_TRICKS)
    chosen = [_factor(entry) for entry in step.chosen]
    won = next(f for f in _left(chosen, factors) if _set_label([*chosen, f]) == best.label)
    return _step([*chosen, won], factors, best.tricks)


def _left(chosen: Sequence[Factor], factors: Sequence[Factor]) -> list[Factor]:
    """Return the factors that share no trick with the chosen ones: neither these, nor the same with other values."""
    taken = {name for factor in chosen for name in factor.tricks}
    return [factor for factor in factors if taken.isdisjoint(factor.tricks)]


def _step(chosen: Sequence[Factor], factors: Sequence[Factor], base: Tricks) -> GreedyStep:
    """Return the step after ``chosen``, whose tricks ``base`` holds already."""
    so_far = _set_label(chosen)
    arms = [_arm([f], base, _set_label([*chosen, f]), so_far) for f in _left(chosen, factors)]
    return GreedyStep(tuple(factor.label for factor in chosen), arms)
