"""Generate docs/tricks.md from the cards: ``python -m bagoftricks.cli.docs``; and README's table, if it has one."""

import ast
from pathlib import Path

from bagoftricks.cli.topics import discouraged
from bagoftricks.registry import Card, HyperParameter
from bagoftricks.tricks import FAMILIES
from bagoftricks.tricks.catalogue import cards

COMMAND = "python -m bagoftricks.cli.docs"
BEGIN, END = f"<!-- table of tricks: {COMMAND} -->", "<!-- end of the table -->"


def main() -> None:
    """Write the files of the checkout that this package is in."""
    root = Path(__file__).parents[2]
    readme = root / "README.md"
    (root / "docs" / "tricks.md").write_text(reference(), encoding="utf-8")
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


def reference() -> str:
    """Return the reference of all tricks, as Markdown."""
    parts = [f"# Tricks\n\nGenerated from the tricks' source by `{COMMAND}`: edit that, not this file."]
    for family, about in FAMILIES.items():
        parts.append(f"## `{family}`: tricks {about}")
        parts += [_entry(card) for card in cards() if card.family == family]
    return "\n\n".join(parts) + "\n"


def with_table(readme: str) -> str:
    """Return README's text with its table of tricks made again; without the markers of one, the text as it is."""
    if BEGIN not in readme:
        return readme
    before, _, rest = readme.partition(BEGIN)
    rows = [
        f"| `{family}`: tricks {about} | {' '.join(f'`{card.name}`' for card in cards() if card.family == family)} |"
        for family, about in FAMILIES.items()
    ]
    table = "\n".join(["| group | tricks |", "|---|---|", *rows])
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def _entry(card: Card) -> str:
    switch = f"Switch on: `+{card.family}={card.name}`. Paper: {card.paper}."
    lines = [f"### `{card.name}`", "", card.summary, "", switch]
    for other, reason in discouraged(card).items():
        lines += ["", f"Discouraged with `{other}`: {reason}."]
    if card.overlaps:
        condition = f" (with `{card.overlaps_if}=true`)" if card.overlaps_if else ""
        lines += ["", f"Overlaps with the corruptions of the robustness protocols{condition}: {card.overlaps}."]
    if card.fields:
        lines += ["", "| hyper-parameter | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(card.name, field) for field in card.fields]
    return "\n".join(lines)


def _row(trick: str, field: HyperParameter) -> str:
    default = {"True": "true", "False": "false", "None": "null", "": "none"}.get(str(field.default), field.default)
    return f"| `tricks.{trick}.{field.name}` | {_type(field)} | {default} | {field.doc.replace('|', '&#124;')} |"


def _type(field: HyperParameter) -> str:
    choices = field.annotation.removeprefix("Literal")
    if choices != field.annotation:
        return "one of " + ", ".join(f"`{choice}`" for choice in ast.literal_eval(choices))
    return field.annotation.replace(" | None", " or null")


if __name__ == "__main__":
    main()
