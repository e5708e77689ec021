"""Markdown of texts that were written for a terminal."""

import re

from bagoftricks.escape import for_markdown

CODE = re.compile(r"``(.+?)``")
SETTING = re.compile(r"(?<![\w`])((?:\+?[a-z_]+(?:\.[a-z_0-9]+)+|[a-z_]+)=[\w.,+\-\[\]:]*\w)")
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5}(?:v\d)?)")


def prose(text: str) -> str:
    """Return a line of text as Markdown: settings and ``code`` as code, numbers of arXiv as links."""
    parts = CODE.split(text)
    made = [f"`{part}`" if at % 2 else _with_links(part) for at, part in enumerate(parts)]
    return "".join(made)


def _with_links(text: str) -> str:
    parts = SETTING.split(text)
    made = [f"`{part}`" if at % 2 else for_markdown(part) for at, part in enumerate(parts)]
    return ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", "".join(made))


def paragraphs(docstring: str) -> list[str]:
    """Return the paragraphs of a docstring as Markdown, each on one line."""
    return [prose(" ".join(part.split())) for part in docstring.split("\n\n") if part.strip()]


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a table; the cells are Markdown already."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "&#124;") for cell in line) + " |" for line in lines)


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign; below 0, a minus, not a hyphen."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
