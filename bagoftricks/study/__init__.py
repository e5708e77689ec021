"""Planning of studies: designs, experiments, arms, estimates, and the processes that train their runs.

``bagoftricks.study`` is also the library's function that reads a study. Once this package is imported, that name is the
package's, so it can be called.
"""

import sys
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """Package that is called as the function of the library whose name it has."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return a study of a store: ``bot.study(name, store="results/runs")``."""
        return sys.modules["bagoftricks"].__getattr__("study")(*arguments, **named)


sys.modules[__name__].__class__ = CallablePackage
