"""Reference of the library: signature and docstring of each public name."""

import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import bagoftricks


def api_page() -> str:
    """Return the page of ``import bagoftricks``."""
    parts = ["# API\n\n`import bagoftricks as bot`; [From Python](../library.md) shows it at work."]
    for name in bagoftricks.__all__:
        value = getattr(bagoftricks, name)
        parts += _module(f"bot.{name}", value) if isinstance(value, ModuleType) else [entry(f"bot.{name}", value, "##")]
    return "\n\n".join(parts) + "\n"


def testing_page() -> str:
    """Return the page of ``bagoftricks.testing``."""
    from bagoftricks import testing

    checks = [(name, value) for name, value in vars(testing).items() if name.startswith("check_")]
    return "\n\n".join(["# Contract tests", _text(testing), *(entry(n, v, "##") for n, v in checks if _of(v, testing))])


def entry(name: str, value: Any, heading: str) -> str:
    """Return the signature and the docstring of a function or class."""
    try:
        signature = str(inspect.signature(value))
    except (TypeError, ValueError):
        signature = ""
    return f"{heading} `{name}`\n\n```python\n{name}{signature}\n```\n\n{_text(value)}"


def _module(name: str, module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", None) or [n for n, v in vars(module).items() if n[0] != "_" and _of(v, module)]
    return [
        f"## `{name}`\n\n{_text(module)}",
        *(entry(f"{name}.{n}", getattr(module, n), "###") for n in _public(names)),
    ]


def _public(names: Iterable[str]) -> list[str]:
    return sorted(names)


def _of(value: Any, module: ModuleType) -> bool:
    return getattr(value, "__module__", "") == module.__name__


def _text(value: Any) -> str:
    return inspect.getdoc(value) or ""
