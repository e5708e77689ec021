"""Markdown of tables and code."""

from collections.abc import Iterable


def code(text: str, language: str = "text") -> str:
    """Return a fenced block."""
    return f"```{language}\n{text}\n```"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [
        "| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *([cell(c) for c in r] for r in rows)]
    ]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Return text that ends no cell of a table."""
    return text.replace("\n", " ").replace("|", "&#124;")
