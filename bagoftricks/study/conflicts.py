"""Conflicts of factors, found before a design that crosses them: one arm that cannot run would cost its balance."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, combinations, product

from bagoftricks.errors import ConflictError, NoEffectError, UserError
from bagoftricks.study.arms import Arm
from bagoftricks.study.factors import BASELINE, NO_TRICKS, Factor, Level, level_arm, read_factors
from bagoftricks.study.fractions import MOST_ALTERNATIVES
from bagoftricks.study.planner import Planner

MOST_NAMED_PAIRS = 3
Pair = tuple[int, int]  # numbers of two factors


def require_compatible(design: str, tricks: Sequence[str], planner: Planner, *, pairs: bool = True) -> None:
    """Raise UserError for a factor that cannot run or changes nothing, and for ``pairs`` that cannot be on together.

    The message has the list of tricks to type instead. Sets of three factors and more are not checked.
    """
    factors = read_factors(design, tricks, NO_TRICKS)
    if error := _error(planner.run_id):
        raise UserError(f"arm '{BASELINE}' cannot run: {error}") from error
    baseline = planner.run_id(level_arm(BASELINE, ()))
    for i, factor in enumerate(factors):
        for level in factor:
            without = _typed(tricks, without=[i])
            if error := _error(planner.run_id, level):
                raise UserError(_why_alone(level, error, without)) from error
            if baseline is not None and planner.run_id(level_arm(BASELINE, [level])) == baseline:
                raise UserError(
                    f"'{level.label}' changes nothing: it gives the baseline's own run; {_leave_out(without)}"
                )
    if pairs and (found := _conflicts(factors, planner)):
        raise UserError(_what_to_type(design, tricks, factors, found))


def _error(check: Callable[[Arm], object], *levels: Level) -> UserError | None:
    """Return why these levels cannot be on together, None if they can."""
    try:
        check(level_arm(BASELINE, levels))
    except UserError as error:
        return error
    return None


def _leave_out(without: str) -> str:
    return f"leave it out: {without}" if without else "leave it out"


def _why_alone(level: Level, error: UserError, without: str) -> str:
    leave_out = _leave_out(without)
    if isinstance(error, NoEffectError):
        return f"'{level.label}': {error.trick} changes nothing: {error.why}; {leave_out}, or {error.change}"
    return f"'{level.label}' cannot run: {error}; or {leave_out}"


def _conflicts(factors: Sequence[Factor], planner: Planner) -> dict[Pair, str]:
    """Return why two factors cannot be on together, with the labels of the levels that cannot."""
    found: dict[Pair, str] = {}
    for i, j in combinations(range(len(factors)), 2):
        for one, other in product(factors[i], factors[j]):
            error = _error(planner.check, one, other)
            if error is not None and (i, j) not in found:
                found[i, j] = f"'{one.label}' with '{other.label}' ({_reason(error)})"
    return found


def _reason(error: UserError) -> str:
    if isinstance(error, ConflictError):
        return f"both set {error.slot}"
    return f"{error.trick} changes nothing: {error.why}" if isinstance(error, NoEffectError) else str(error)


def _what_to_type(design: str, tricks: Sequence[str], factors: Sequence[Factor], found: Mapping[Pair, str]) -> str:
    named = [*found.values()][:MOST_NAMED_PAIRS]
    named += [f"{len(found) - MOST_NAMED_PAIRS} more pairs"] * (len(found) > MOST_NAMED_PAIRS)
    groups = _groups(len(tricks), found)
    ways_out = []
    most = max(sum(len(factors[i]) for i in group) for group in groups)
    if design == "factorial" or most <= MOST_ALTERNATIVES:
        ways_out.append(
            f"make them alternatives of one factor: {_typed(['|'.join(tricks[i] for i in g) for g in groups])}"
        )
    ways_out.append(f"leave out what conflicts: {_typed(tricks, without=_cover(found))}")
    return f"cannot be on together: {', '.join(named)}; {', or '.join(ways_out)}"


def _groups(count: int, found: Mapping[Pair, str]) -> list[list[int]]:
    """Return the factors in their order, those together that conflict directly or through others."""
    group = list(range(count))  # of each factor: the first one in its group
    for pair in found:
        low, high = sorted(group[i] for i in pair)
        group = [low if of == high else of for of in group]
    return [[i for i in range(count) if group[i] == first] for first in sorted(set(group))]


def _cover(found: Mapping[Pair, str]) -> list[int]:
    """Return factors without which no conflict is left: first those of the most conflicts, the later of equals."""
    left, cover = list(found), []
    while left:
        in_conflict = list(chain.from_iterable(left))
        cover.append(max(in_conflict, key=lambda i: (in_conflict.count(i), i)))
        left = [pair for pair in left if cover[-1] not in pair]
    return cover


def _typed(tricks: Sequence[str], without: Sequence[int] = ()) -> str:
    """Return the list as it is typed, an empty text if nothing is left."""
    left = [entry for i, entry in enumerate(tricks) if i not in without]
    return shlex.quote(f"tricks=[{','.join(left)}]") if left else ""
