"""Rows that are asked for: ``where='model=resnet50 top1>70 tricks~mixup' sort=-top1 limit=20``."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any, TypeVar

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.plugins import split_list, typed_text
from bagoftricks.registry import Values

R = TypeVar("R")
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": le, ">=": ge, "!=": ne, "==": eq, "=": eq, "<": lt, ">": gt, "~": lambda value, text: text in value,
}  # fmt: skip
CONDITION = re.compile(rf"\s*([\w.:-]+)\s*({'|'.join(SIGNS)})\s*(\"[^\"]*\"|'[^']*'|[^\s'\"]\S*)(?=\s|$)")


@dataclass(frozen=True)
class Condition:
    """Comparison of one value of a row, as typed: ``top1>70``."""

    key: str
    sign: str
    text: str

    def holds(self, row: Values) -> bool:
        """Return True if a row fulfils it; a value that a row lacks is null. Raises UserError for text as a number."""
        value, compare = row.get(self.key), SIGNS[self.sign]
        if isinstance(value, int | float) and not isinstance(value, bool) and self.sign != "~" and self.text != "null":
            try:
                return compare(value, float(self.text))
            except ValueError as error:
                raise UserError(f"where: {self.key}{self.sign}{self.text}: {self.text} is no number") from error
        if value is None and self.sign not in ("=", "==", "!="):
            return False
        return compare(typed_text(value), self.text)


@dataclass(frozen=True)
class Query:
    """Rows to show, their order, how many, and their columns."""

    where: tuple[Condition, ...] = ()
    sort: tuple[str, ...] = ()  # keys, the most important first; one with - in front from high to low
    limit: int | None = None
    columns: tuple[str, ...] = ()  # none: the usual ones

    @classmethod
    def of(cls, where: str, sort: str, limit: str, columns: Sequence[str] = ()) -> "Query":
        """Return the query as typed. Raises UserError for what cannot be read."""
        if limit and not re.fullmatch(r"0*[1-9]\d{0,8}", limit):
            raise UserError(f"limit={limit[:40]}: must be a whole number, 1 or more")
        return cls(tuple(_conditions(where)), tuple(split_list(sort)), int(limit) if limit else None, tuple(columns))

    def select(
        self, rows: Sequence[R], cells: Callable[[R], Values], more: Iterable[str] = (), instead: str = ""
    ) -> list[R]:
        """Return the rows that fulfil all conditions, sorted, as many as wanted.

        ``cells``: the values of a row by key; ``more``: keys that no row may have. Raises UserError for other keys,
        with what to type ``instead``.
        """
        if not (self.where or self.sort):
            return list(rows[: self.limit])
        pairs = [(row, cells(row)) for row in rows]
        known = dict.fromkeys([*(key for _, values in pairs for key in values), *more])
        for what, key in [*(("where", c.key) for c in self.where), *(("sort", key.lstrip("-")) for key in self.sort)]:
            if key not in known and pairs:
                raise UserError(f"{what}: there is no '{key}'{did_you_mean(key, known) or _listed(known, instead)}")
        found = [(row, values) for row, values in pairs if all(c.holds(values) for c in self.where)]
        for key in reversed(self.sort):
            found = _sorted(found, key.removeprefix("-"), downwards=key.startswith("-"))
        return [row for row, _ in found[: self.limit]]


def _conditions(text: str) -> list[Condition]:
    found, at = [], 0
    while text[at:].strip():
        match = CONDITION.match(text, at)
        if match is None:
            signs = " ".join(sign for sign in SIGNS if sign != "==")
            raise UserError(
                f"where: '{text[at:].strip()[:60]}' is not KEY SIGN VALUE, as top1>70 or model=resnet50 "
                f"(signs: {signs}; a value with blanks in quotes)"
            )
        key, sign, value = match.groups()
        found.append(Condition(key, sign, value[1:-1] if value[0] in "'\"" else value))
        at = match.end()
    return found


def _sorted(rows: list[tuple[R, Values]], key: str, *, downwards: bool) -> list[tuple[R, Values]]:
    """Return the rows by a value, numbers before texts; those without it last, either way."""

    def order(pair: tuple[R, Values]) -> tuple[bool, Any]:
        value = pair[1][key]
        is_number = isinstance(value, int | float)
        return not is_number, value if is_number else typed_text(value)

    have = [pair for pair in rows if pair[1].get(key) is not None]
    return [*sorted(have, key=order, reverse=downwards), *(pair for pair in rows if pair[1].get(key) is None)]


def _listed(known: Iterable[str], instead: str) -> str:
    plain = ", ".join(key for key in known if "." not in key and ":" not in key)
    return f" ({plain}; {instead or 'and settings such as data.limit'})"
