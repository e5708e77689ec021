"""Rows of an experiment that are chosen or set by hand: ``rows=E0,E4-E6``, ``skip=E1``, ``row.E4.epochs=4``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.study.arms import Arm


def chosen_arms(arms: Sequence[Arm], rows: Sequence[str], skip: Sequence[str]) -> tuple[list[Arm], list[str]]:
    """Return the arms of the ``rows``, all without any, but for those to ``skip``; and a note on each new comparison.

    A row is compared with the nearest one that is left on its way of comparisons; where none is left, with the first
    chosen row of the same way.
    """
    labels = [arm.label for arm in arms]
    wanted = {at for row in rows for at in find_rows("rows", row, labels)} if rows else set(range(len(arms)))
    wanted -= {at for row in skip for at in find_rows("skip", row, labels)}
    if not any(not arms[at].quoted for at in wanted):
        raise UserError(f"{_typed(rows, skip)}: no row with a run is left ({listed_rows(labels)})")
    left, notes = [], []
    against = _nearest(arms, wanted)
    for at in sorted(wanted):
        arm, other = arms[at], against[arms[at].label]
        if arm.compare_to != other:
            instead = f"is compared with '{other}'" if other else "is compared with no row"
            notes.append(f"'{arm.label}' {instead}, for '{arm.compare_to}' is left out")
        left.append(replace(arm, compare_to=other))
    if len(left) < len(arms):
        notes.insert(0, f"{len(left)} of {len(arms)} rows ({_typed(rows, skip)})")
    return left, notes


def with_row_settings(arms: Sequence[Arm], settings: Sequence[tuple[str, str]]) -> list[Arm]:
    """Return the arms with the settings of single rows after their own: (row, ``epochs=4``) each."""
    changed = list(arms)
    for row, setting in settings:
        key, labels = f"row.{row}.{setting.partition('=')[0]}", [arm.label for arm in arms]
        place = find_row(key, row, labels)
        if place is None:
            raise UserError(f"{key}: there is no row '{row}' ({listed_rows(labels)})")
        if changed[place].quoted:
            raise UserError(f"{key}: the row is quoted, and has no run: leave it out")
        changed[place] = replace(changed[place], settings=(*changed[place].settings, setting))
    return changed


def _nearest(arms: Sequence[Arm], wanted: set[int]) -> dict[str, str | None]:
    """Return the label of the chosen row that each row is compared with."""
    before = {arm.label: arm.compare_to for arm in arms}
    there = {arms[at].label for at in wanted}
    found: dict[str, str | None] = {}
    first: dict[str, str] = {}  # root of a way of comparisons -> the first chosen row below it
    for at in sorted(wanted):
        label = arms[at].label
        seen, other = [label], before[label]
        while other is not None and other not in there and other not in seen:
            seen.append(other)
            other = before.get(other)
        if other is None or other in seen:
            root = seen[-1]
            other = first.setdefault(root, label) if len(seen) > 1 else None
            first.setdefault(root, label)
        found[label] = None if other == label else other
    return found


def find_rows(key: str, typed: str, labels: Sequence[str]) -> list[int]:
    """Return the places of the rows that ``E4``, ``4``, a beginning of a label, or a range of two of them names."""
    if (one := find_row(key, typed, labels)) is not None:
        return [one]
    for at in [at for at, character in enumerate(typed) if character == "-"]:
        first, last = find_row(key, typed[:at], labels), find_row(key, typed[at + 1 :], labels)
        if first is not None and last is not None:
            if first > last:
                raise UserError(f"{key}={typed}: row {first + 1} comes after row {last + 1}: type them in their order")
            return list(range(first, last + 1))
    meant = did_you_mean(typed, [short_name(label) for label in labels])
    raise UserError(f"{key}={typed}: there is no such row{meant} ({listed_rows(labels)})")


def find_row(key: str, typed: str, labels: Sequence[str]) -> int | None:
    """Return the place of a row by its label, its short name before the colon, its number, or a beginning of it.

    None if there is none. Raises UserError if several begin so.
    """
    word = typed.strip().lower()
    lower = [label.lower() for label in labels]
    for names in (lower, [short_name(label) for label in lower]):
        if names.count(word) == 1:
            return names.index(word)
    if word.isdecimal():
        return int(word) - 1 if 0 < int(word) <= len(labels) else None
    begin = [at for at, label in enumerate(lower) if word and label.startswith(word)]
    if len(begin) > 1:
        named = "; ".join(f"{at + 1} {labels[at]}" for at in begin)
        raise UserError(f"{key}={typed}: {len(begin)} rows begin so ({named}): type more of it, or the number")
    return begin[0] if begin else None


def short_name(label: str) -> str:
    """Return the name of a row before its colon: ``E0`` of ``E0: R50``."""
    return label.partition(":")[0]


def listed_rows(labels: Sequence[str]) -> str:
    """Return all rows with their numbers, for an error."""
    return "; ".join(f"{at} {label}" for at, label in enumerate(labels, start=1))


def _typed(rows: Sequence[str], skip: Sequence[str]) -> str:
    words: Mapping[str, Sequence[str]] = {"rows": rows, "skip": skip}
    return " ".join(f"{key}={','.join(names)}" for key, names in words.items() if names)


def choice_name(rows: Sequence[str], skip: Sequence[str]) -> str:
    """Return the end of the name of a study of chosen rows, without commas, which part names; empty for all."""
    left_out = f"-without-{'+'.join(skip)}" if skip else ""
    return (f"-{'+'.join(rows)}" if rows else "") + left_out
