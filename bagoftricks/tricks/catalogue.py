"""Find tricks by name: their cards from the source at once, their classes by import when they are used.

``bot-train --help`` lists every trick and ``--cfg job`` types every hyper-parameter, yet importing a trick imports
torch, which takes seconds. So a card is read from the trick's source with ``ast``; a contract test holds that each
card says what the imported class says (docs/adr/0004).
"""

import ast
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.tricks import FAMILY_OF

if TYPE_CHECKING:
    from bagoftricks.recipe.trick import Trick

TYPES: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "int | None": Optional[int],  # noqa: UP045 (the spelling that OmegaConf reads)
    "float | None": Optional[float],  # noqa: UP045
    "str | None": Optional[str],  # noqa: UP045
}


class HyperParameter(NamedTuple):
    """One hyper-parameter: its annotation as written, its default, its docstring."""

    name: str
    annotation: str
    default: Any
    doc: str

    @property
    def type(self) -> Any:
        """The type the command line converts to; the choices of a ``Literal`` are text until the trick checks them."""
        return str if self.annotation.startswith("Literal[") else TYPES[self.annotation]


class Card(NamedTuple):
    """What the command line knows of a trick before it imports it."""

    name: str
    family: str
    class_name: str
    summary: str
    paper: str
    fields: tuple[HyperParameter, ...]
    warns: Mapping[str, str]  # tricks it should not go with -> why
    overlaps: str  # how it trains for corruptions that robustness is measured on; empty: it does not
    overlaps_if: str  # the hyper-parameter without which it does not

    def schema(self) -> type:
        """The trick's hyper-parameters as a dataclass, for Hydra's ConfigStore."""
        fields = [(f.name, f.type, field(default=f.default)) for f in self.fields]
        return make_dataclass(self.class_name, fields, kw_only=True)


@cache
def card(name: str) -> Card:
    """Read the card of one trick from its source."""
    family = family_of(name)
    source = Path(__file__).parent / family / f"{name}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and (said := _said(node)) is not None:
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            optional = (said.get("warns", {}), said.get("overlaps", ""), said.get("overlaps_if", ""))
            return Card(name, family, node.name, summary, said["paper"], tuple(fields_of(node)), *optional)
    raise AssertionError(f"{source.name} holds no class decorated with @trick")


def cards() -> list[Card]:
    """Every card, in the order of the table of contents."""
    return [card(name) for name in FAMILY_OF]


def family_of(name: str) -> str:
    if name not in FAMILY_OF:
        raise UserError(f"there is no trick '{name}'{did_you_mean(name, FAMILY_OF)} (bot-train --help lists them)")
    return FAMILY_OF[name]


def create(name: str, **params: Any) -> "Trick":
    """The trick called ``name`` with these hyper-parameters, the others at their defaults."""
    found = card(name)
    known = {field.name: field for field in found.fields}
    for key, value in params.items():
        if key not in known:
            raise UserError(f"trick '{name}' has no hyper-parameter '{key}'{did_you_mean(key, known)}")
        if known[key].annotation.startswith("float") and isinstance(value, int):
            params[key] = float(value)  # 1 and 1.0 are the same run
    module = import_module(f"bagoftricks.tricks.{found.family}.{name}")
    made: Trick = getattr(module, found.class_name)(**params)
    return made


def fields_of(node: ast.ClassDef) -> list[HyperParameter]:
    """The annotated fields of a class, with their literal defaults and the docstring under each."""
    return [
        HyperParameter(name, ast.unparse(field.annotation), ast.literal_eval(field.value) if field.value else None, doc)
        for name, (field, doc) in documented(node).items()
    ]


def documented(node: ast.ClassDef) -> dict[str, tuple[ast.AnnAssign, str]]:
    """Each annotated field of a class with the docstring under it, on one line."""
    found = {}
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            doc = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            found[statement.target.id] = statement, " ".join(str(doc).split())
    return found


def _said(node: ast.ClassDef) -> dict[str, Any] | None:
    """The arguments of ``@trick(...)``, None for a class without it."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "trick":
            return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in decorator.keywords}
    return None
