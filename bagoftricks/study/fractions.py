"""Fractions of a factorial: the level of each factor in each run, as numbers. Level 0 is off.

A fraction is a regular two-level design of 2^k runs, or one of Plackett and Burman. A factor of two or three
alternatives takes two columns P and Q of a regular design and keeps their product PQ free, so that the contrasts
between its levels are orthogonal to those of the other factors (Montgomery 2017, section 9.4):

* with three alternatives, (P, Q) names the four levels: (0, 0) is off, (1, 0), (0, 1) and (1, 1) are the alternatives;
* with two alternatives, P switches the factor on and Q chooses the alternative. Where it is off, Q changes nothing: off
  fills two of the four cells, because each alternative is compared with it: it is on in half of the runs, and each
  alternative in a quarter. In the full factorial, where two runs would differ in such a Q alone, they are one arm, and
  each level is on in a third of the arms. A fraction with two such runs is not used: it would not be balanced.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from math import prod
from typing import NamedTuple

from bagoftricks.errors import UserError

MOST_ALTERNATIVES = 3
DesignRow = tuple[int, ...]  # of a run: the level of each factor, or the bit of each column
Generators = list[tuple[int, ...]]  # of each factor: its one or two columns, as sets of letters (bits)


class Size(NamedTuple):
    """Size of a design, as far as it is typed."""

    max_tricks: int | None = None  # factorial: tricks of an arm
    runs: int | None = None  # fractional: before it is folded
    resolution: int | None = None  # fractional: before it is folded
    max_arms: int = 512  # a design of more arms is refused
    fold: tuple[str, ...] = ()  # fractional: factors whose level is switched in further arms, or "all"


Folds = Sequence[tuple[str, int | None]]  # as typed, and the number of the factor; None: all factors


def fraction(alternatives: Sequence[int], size: Size, folds: Folds = ()) -> list[DesignRow]:
    """Return the runs of a fraction; ``alternatives`` are the numbers of levels of the factors next to off.

    The signs of the columns are chosen so that the first run has everything off: negating a column keeps the design's
    balance and resolution, and with the baseline in the design every other arm has its comparison. With each of
    ``folds``, all runs so far follow once more with the level of a factor switched.

    Raises UserError for a size that does not exist, and for a fold that adds no run.
    """
    _check_fraction(alternatives, size)
    runs = size.runs or _smallest(alternatives, size.resolution or 4, size.max_arms)
    if _is_power_of_two(runs):
        generators = _best(alternatives, runs, size.resolution or 3)
        rows = _bits(generators, runs)
    else:
        rows = _plackett_burman(len(alternatives), runs)
    for name, factor in folds:
        before = sum(min(a, 2) for a in alternatives[:factor]) if factor is not None else 0
        rows = _folded(rows, name, None if factor is None else before, size.max_arms)
    levels = _levels(rows, alternatives)
    if not _has_each_run_once(levels, rows, alternatives):
        raise UserError(f"fold={folds[-1][0]}: some of its arms are there already; fold another factor")
    return levels


# Sizes


def _check_fraction(alternatives: Sequence[int], size: Size) -> None:
    n, runs, resolution = len(alternatives), size.runs, size.resolution
    if resolution is not None and not 3 <= resolution <= n:
        possible = f"resolution=3 to {n}" if n >= 3 else "the design factorial, as fractions need three tricks"
        raise UserError(f"no fraction of the factorial of {n} tricks has resolution={resolution}; give {possible}")
    if max(alternatives) > MOST_ALTERNATIVES:
        why = f"a factor of a fraction has at most {MOST_ALTERNATIVES} alternatives, and one has {max(alternatives)}"
        raise UserError(f"{why}; leave some out, or give design=factorial")
    if runs is None:
        return
    full = 2 ** sum(min(a, 2) for a in alternatives)
    if runs > full:
        raise UserError(
            f"runs={runs} is more than the {full} of the full factorial of {n} tricks; give runs={full} or fewer"
        )
    if runs not in (sizes := _sizes(alternatives)):
        some = ", ".join(map(str, sizes[:6]))
        kind = "two-level design" if max(alternatives) == 1 else "design with alternatives"
        raise UserError(f"no {kind} of {n} tricks has runs={runs}; give one of {some}")
    if runs > size.max_arms:
        raise UserError(f"runs={runs} is more than max_arms={size.max_arms}; give fewer runs, or max_arms={runs}")
    if resolution is not None and not _is_power_of_two(runs):
        why = f"runs={runs} is a Plackett-Burman design, which is not chosen by its resolution"
        raise UserError(f"{why}; drop resolution={resolution}, or give runs={1 << runs.bit_length()}")


def _is_power_of_two(runs: int) -> bool:
    return runs.bit_count() == 1


def _sizes(alternatives: Sequence[int]) -> list[int]:
    """Return the numbers of runs that can tell the main effects and the mean apart: regular designs', and of two levels
    alone those of Plackett and Burman that pyDOE3 knows.
    """
    columns, letters = sum(1 if a == 1 else 3 for a in alternatives), sum(min(a, 2) for a in alternatives)
    kinds = (1, 12, 20) if max(alternatives) == 1 else (1,)
    return sorted(size for e in range(letters + 1) for f in kinds if columns < (size := f * 2**e) <= 2**letters)


def _smallest(alternatives: Sequence[int], resolution: int, max_arms: int) -> int:
    """Return the runs of the smallest design of at least this resolution; the full one when no fraction has it."""
    full = sum(min(a, 2) for a in alternatives)
    for letters in range(1, min(full, max_arms.bit_length() - 1) + 1):
        if _generators(alternatives, letters, resolution):
            return 1 << letters
    why = f"a design of resolution {resolution} of {len(alternatives)} tricks has more than max_arms={max_arms} arms"
    lower = f" or resolution={resolution - 1}" if resolution > 3 else ""
    raise UserError(f"{why}; give a larger max_arms{lower}")


# Regular designs


def _best(alternatives: Sequence[int], runs: int, resolution: int) -> Generators:
    """Return the generators of highest resolution in ``runs`` runs; refuse one below ``resolution``."""
    letters, n = runs.bit_length() - 1, len(alternatives)
    found = ((best, _generators(alternatives, letters, best)) for best in range(max(n, 3), 2, -1))
    best, generators = next(((best, made) for best, made in found if made), (0, []))
    if not generators:
        raise UserError(f"runs={runs} do not balance the levels of these factors; give runs={2 * runs}")
    if best < resolution:
        why = f"{n} tricks in runs={runs} have resolution {best} at best, not resolution={resolution}"
        raise UserError(f"{why}; give more runs, or drop one of the two")
    return generators


def _generators(alternatives: Sequence[int], letters: int, resolution: int) -> Generators:
    """Return the columns of each factor in ``2 ** letters`` runs; an empty list when there is no room.

    A design has resolution R when no product of fewer than R columns of different factors is constant, so a column may
    join when it is no product of up to R - 2 others. pyDOE3.fracfact_by_res looks at each generator alone, not at their
    products: for 7 factors and resolution 5 it gives a design of resolution 4 (abcd and abce make de, a word of four
    with f and g).
    """
    found: dict[int, tuple[int, ...]] = {}
    products = [{0}, *(set[int]() for _ in range(resolution - 2))]  # [k]: of columns of exactly k factors
    columns = sorted(range(1, 2**letters), key=lambda c: (c.bit_count(), c))
    single: Iterator[tuple[int, ...]] = ((c,) for c in columns)
    double: Iterator[tuple[int, ...]] = combinations(columns, 2)
    for factor in sorted(range(len(alternatives)), key=lambda i: alternatives[i] == 1):  # those of two columns first
        several = alternatives[factor] > 1
        for chosen in double if several else single:
            own = (*chosen, chosen[0] ^ chosen[1]) if several else chosen
            if not any(column in level for level in products for column in own):
                break
        else:
            return []
        found[factor] = chosen
        for k in range(resolution - 2, 0, -1):
            products[k] |= {column ^ other for column in own for other in products[k - 1]}
    made = [found[factor] for factor in range(len(alternatives))]
    if 2 not in alternatives:
        return made
    for role in range(3):  # of the three columns P, Q and PQ: which one switches the factor on
        turned = [_turned(*of)[role] if count == 2 else of for of, count in zip(made, alternatives, strict=True)]
        rows = _bits(turned, 2**letters)
        if _has_each_run_once(_levels(rows, alternatives), rows, alternatives):
            return turned
    return []


def _turned(p: int, q: int) -> tuple[tuple[int, int], ...]:
    return (p, q), (q, p), (p ^ q, q)


def _bits(generators: Generators, runs: int) -> list[DesignRow]:
    """Return the bit of each column in each run; the first letter changes last."""
    columns = [[i for i in range(column.bit_length()) if column >> i & 1] for of in generators for column in of]
    letters = product((0, 1), repeat=runs.bit_length() - 1)
    return [tuple(sum(bits[i] for i in column) & 1 for column in columns) for bits in letters]


def _levels(rows: Sequence[DesignRow], alternatives: Sequence[int]) -> list[DesignRow]:
    """Return the level of each factor by the bits of its columns, each run once."""

    def levels(bits: Iterator[int]) -> Iterator[int]:
        for count in alternatives:
            p, q = next(bits), next(bits) if count > 1 else 0
            yield p + 2 * q if count == 3 else p * (1 + q)

    return list(dict.fromkeys(tuple(levels(iter(row))) for row in rows))


def _has_each_run_once(levels: Sequence[DesignRow], rows: Sequence[DesignRow], alternatives: Sequence[int]) -> bool:
    """Return True if no two runs are one arm, or if the arms are the full factorial: both are balanced."""
    return len(levels) == len(rows) or len(levels) == prod(count + 1 for count in alternatives)


# Other runs


def _plackett_burman(n: int, runs: int) -> list[DesignRow]:
    """Return the last columns: in 24, 40 or more runs they are a smaller design and its mirror, of resolution 4."""
    from pyDOE3 import pbdesign  # type: ignore[import-untyped]

    signs = pbdesign(runs - 1)[:, -n:]
    rows: list[DesignRow] = [tuple(row) for row in (signs != signs[0]).astype(int).tolist()]
    if len(set(rows)) < len(rows):
        why = f"with {n} tricks the Plackett-Burman design of runs={runs} holds an arm twice"
        raise UserError(f"{why}; give runs={1 << runs.bit_length()}")
    return rows


def _folded(rows: list[DesignRow], name: str, column: int | None, max_arms: int) -> list[DesignRow]:
    """Return the runs, then each with the bit of one column switched, or with all of them."""
    more = [tuple(bit ^ (column in (None, i)) for i, bit in enumerate(row)) for row in rows]
    added = len(set(more) - set(rows))
    if not added:
        why = "nothing is aliased with it" if column is not None else "it is its own mirror"
        raise UserError(f"fold={name}: adds no arm, because the design has them all ({why}); fold another factor")
    if added < len(rows):
        raise UserError(f"fold={name}: {len(rows) - added} of its arms are there already; fold another factor, or all")
    if 2 * len(rows) > max_arms:
        raise UserError(f"fold={name}: makes more than max_arms={max_arms} arms; give a larger max_arms")
    return [*rows, *more]
