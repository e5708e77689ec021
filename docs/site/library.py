"""Reference of the library: signature and docstring of each public name."""

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

import bagoftricks
from bagoftricks import errors, plugins
from docs.site.text import table

FUNCTIONS = tuple(name for name in bagoftricks.__all__ if name not in ("errors", "plugins"))
RETURNED = {"train": "TrainedRun", "load": "LoadedRun", "compose": "OwnTraining", "study": "Study"}
MODULES = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")
EXAMPLE = re.compile(r"^>>> .*(?:\n\S.*)*", re.MULTILINE)


def api_page() -> str:
    """Return the page of ``import bagoftricks``."""
    parts = ["# API\n\n`import bagoftricks as bot`; [From Python](../library.md) shows it at work."]
    homes = {name: import_module(bagoftricks._HOMES[name]) for name in FUNCTIONS}
    parts += [entry(f"bot.{name}", getattr(home, name), "##") for name, home in homes.items()]
    parts += ["## Objects that they return"]
    parts += [entry(name, getattr(homes[function], name), "###") for function, name in RETURNED.items()]
    parts += ["## `bot.plugins`", entry("bot.plugins.load", plugins.load, "###")]
    raised = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    rows = [(f"`{value.__name__}`", f"`{value.__base__.__name__}`", summary(value)) for value in raised]
    parts += ["## `bot.errors`", described(errors), table(("error", "a kind of", "meaning"), rows)]
    return "\n\n".join(parts) + "\n"


def plugins_page() -> str:
    """Return the page of what plug-ins are made of."""
    about = "What a plug-in imports from `bagoftricks.plugins`; [Contributing](../../CONTRIBUTING.md) and the\n"
    parts = ["# Parts of plug-ins", about + "[examples](../../examples/README.md) show them at work."]
    for name in plugins.PUBLIC:
        module = import_module(f"bagoftricks.{name}")
        rows = [(f"`{key}`", summary(value), arguments(value)) for key, value in public(module)]
        parts.append(f"## `{name}`\n\n{table(('name', 'what it is', 'arguments'), rows)}")
    return "\n\n".join(parts) + "\n"


def testing_page() -> str:
    """Return the page of ``bagoftricks.testing``."""
    from bagoftricks import testing

    checks = [entry(name, value, "##") for name, value in public(testing) if name.startswith("check_")]
    return "\n\n".join(["# Contract tests", described(testing), *checks]) + "\n"


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the documented functions and classes of a module with their names."""
    for name, value in vars(module).items():
        ours = getattr(value, "__module__", "") == module.__name__
        if ours and name[0] != "_" and isinstance(value, type | FunctionType) and inspect.getdoc(value):
            yield name, value


def entry(name: str, value: Any, heading: str) -> str:
    """Return the signature and the docstring of a function or class, and the public members of a class."""
    lines = [f"{heading} `{name}`", f"```python\n{signature(name, value)}\n```", described(value)]
    if inspect.isclass(value):
        lines += [_member(key, member) for key, member in vars(value).items() if key[0] != "_" and _documented(member)]
    return "\n\n".join(line for line in lines if line)


def signature(name: str, value: Any) -> str:
    """Return a call of a function or class, with short names of types."""
    try:
        text = MODULES.sub("", str(inspect.signature(value)))
    except (TypeError, ValueError):
        text = ""
    return f"{name}{text}"


def arguments(value: Any) -> str:
    """Return the names of the arguments of a function or class."""
    try:
        return ", ".join(f"`{name}`" for name in inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return ""


def described(value: Any) -> str:
    """Return a docstring as Markdown: examples as code."""
    return EXAMPLE.sub(lambda found: f"```python\n{found[0]}\n```", inspect.getdoc(value) or "")


def summary(value: Any) -> str:
    """Return the first paragraph of a docstring."""
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")


def _member(name: str, member: Any) -> str:
    shown = name if isinstance(member, property | cached_property) else signature(name, member).replace("(self, ", "(")
    return f"- `{shown.replace('(self)', '()')}`: {summary(member)}"


def _documented(member: Any) -> bool:
    return isinstance(member, property | cached_property | FunctionType | classmethod | staticmethod) and bool(
        inspect.getdoc(member)
    )
