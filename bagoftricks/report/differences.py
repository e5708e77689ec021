"""Columns of what differs among the rows of a table, and a note on what they have in common."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from bagoftricks.plugins import typed_text
from bagoftricks.registry import Values
from bagoftricks.report.column import Column
from bagoftricks.store.record import Environment
from bagoftricks.store.typed import default_settings

FIRST = ("model", "data", "epochs", "seed", "lr", "batch_size", "weight_decay", "image_size")  # in this order
SOURCES = ("data.limit", "data.holdout", "data.root", "model.weights", "model.new_head")
MACHINE = ("device", "devices", "threads", "torch", "bagoftricks")
CODE = ("git_revision", "host")  # only where nothing else tells two rows apart
DIGESTS = {"data.digest": "data", "model.weights_digest": "model"}
OF_COMMANDS = (  # settings that change neither a result nor its cost, and those that the machine's columns show
    *("store", "format", "rerun", "measure", "quantize", "metric", "target", "price_per_hour", "plugins", "data.cache"),
    *("runtime.progress", "runtime.device", "runtime.devices", "runtime.threads", "runtime.workers"),
    *("runtime.checkpoint_minutes", "runtime.checkpoint_steps", "runtime.checkpoint_keep", "runtime.keep_state"),
    *("extend", "restart", "objective", "corruptions"),  # the column parent shows what a run goes on from
)


def differing(rows: Sequence[Values], labels: Sequence[object]) -> list[Column]:
    """Return a column for each setting that differs among the rows, the most important first.

    ``rows`` hold settings and facts of the machine by key. ``labels`` tell of the tricks: they need no columns.
    """
    shown: list[str] = []
    for key in _candidates(rows):
        if not _differs(rows, key):
            continue
        values, group = _values(rows, key), _group(key)
        if not (group and _determined(values, rows, group if key not in DIGESTS else "", shown)):
            shown.append(key)
    for key in CODE:
        if _differs(rows, key):
            alike = list(zip(labels, *(_values(rows, known) for known in shown), strict=True))
            shown += [key] if len(set(alike)) < len(alike) else []
    return [Column(key, key, _shown_as(key, rows)) for key in shown]


def _shown_as(key: str, rows: Sequence[Values]) -> Callable[[Any], str]:
    """Return how the values of a column are shown: numbers in four digits if that still tells them apart."""
    if key in (*DIGESTS, "git_revision", "parent"):
        return _short
    numbers = {row[key] for row in rows if isinstance(row.get(key), float)}
    if len({f"{number:.4g}" for number in numbers}) < len(numbers):
        return typed_text
    return lambda value: typed_text(float(f"{value:.4g}") if isinstance(value, float) else value)


def in_common(rows: Sequence[Values]) -> str:
    """Return a note on the settings and the machine that all rows share, an empty text without any."""
    keys = [key for key in (*FIRST, *SOURCES, "device", "torch") if rows and not _differs(rows, key)]
    found = {key: rows[0].get(key) for key in keys}
    shared = [f"{key}={typed_text(value)}" for key, value in found.items() if value not in (None, False, 0.0)]
    return f"all rows: {', '.join(shared)}" if shared else ""


def _candidates(rows: Sequence[Values]) -> list[str]:
    """Return the keys that can tell rows apart, digests after the settings of their groups."""
    known = dict.fromkeys([*FIRST, *SOURCES, *(key for row in rows for key in row)])
    hidden = {*OF_COMMANDS, *DIGESTS, "parent", *(field.name for field in fields(Environment))}
    settings = [key for key in known if key not in hidden and not key.startswith(("tricks.", "corruptions."))]
    return [*settings, *DIGESTS, "parent", *MACHINE]


def _differs(rows: Sequence[Values], key: str) -> bool:
    default = default_settings().get(key)
    values = [row.get(key, default) for row in rows]
    return bool(values) and values.count(values[0]) < len(values)  # thousands of rows, and most settings are alike


def _values(rows: Sequence[Values], key: str) -> list[str]:
    """Return the value of each row as text; that of an earlier version without the setting is the default."""
    default = default_settings().get(key)
    return [typed_text(row.get(key, default)) for row in rows]


def _group(key: str) -> str:
    """Return ``data`` or ``model`` for a setting of theirs, whose value their choice may determine."""
    if key in ("image_size", "num_classes"):
        return "data"
    group, dot, _ = key.partition(".")
    return group if dot and group in DIGESTS.values() else ""


def _determined(values: Sequence[str], rows: Sequence[Values], group: str, shown: Sequence[str]) -> bool:
    """Return True if the value follows from the chosen data or network; that of a digest, from the shown columns."""
    by = [group] if group else [key for key in shown if key not in MACHINE]
    known: dict[tuple[str, ...], str] = {}
    causes = zip(*(_values(rows, key) for key in by), strict=True) if by else [() for _ in rows]
    return all(known.setdefault(cause, value) == value for cause, value in zip(causes, values, strict=True))


def _short(digest: object) -> str:
    return typed_text(digest)[:8]
