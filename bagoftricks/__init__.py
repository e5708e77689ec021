"""Ablation studies of image classifiers: compose tricks, run what is missing, tabulate what was measured.

``import bagoftricks as bot`` loads nothing else: each name below is imported when it is first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bagoftricks import errors, plugins
    from bagoftricks.api.composing import compose
    from bagoftricks.api.loading import load
    from bagoftricks.api.sweeping import sweep
    from bagoftricks.api.training import train
    from bagoftricks.report.frames import corruptions, curves, results, study

__version__ = "0.2.0"
__all__ = ["compose", "corruptions", "curves", "errors", "load", "plugins", "results", "study", "sweep", "train"]

_HOMES = {
    "compose": "bagoftricks.api.composing",
    "load": "bagoftricks.api.loading",
    "sweep": "bagoftricks.api.sweeping",
    "train": "bagoftricks.api.training",
    **dict.fromkeys(("results", "curves", "corruptions", "study"), "bagoftricks.report.frames"),
}


def __getattr__(name: str) -> Any:
    """Import a name of the library, or one of its two public modules."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"bagoftricks.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names that users need."""
    return [*__all__, "__version__"]
