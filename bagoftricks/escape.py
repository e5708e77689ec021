"""Text of users, files and records made safe for the place where it is shown.

A label, a file name or a message can hold anything: a sequence that moves a terminal's cursor, a pipe that breaks a
Markdown table, a formula that a spreadsheet runs. There is one function for each place.
"""

import re
from dataclasses import asdict
from html import escape

from bagoftricks.errors import printable

MARKDOWN = re.compile(r"[\\`*|<>&~$]|(?<!\w)_|_(?!\w)|(?<=\])[(\[]")  # markup, links, HTML; not the _ of resnet_d
LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\`{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{MINUS SIGN}": "$-$",
    **{c: f"{{{c}}}" for c in "[]*"},  # they would be options of the end of a row
}
NEGATIVE = re.compile(r"(?<![\w.\-])-(?=\.?\d)")  # the sign of a number
FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")  # begins what a spreadsheet computes
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def lines_for_terminal(text: str) -> str:
    """Return the lines of a text, each as ``printable`` returns it."""
    return "\n".join(map(printable, text.split("\n")))


def for_markdown(text: object) -> str:
    """Return text for a cell or a line of Markdown; what would be markup there is an HTML entity."""
    return MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", printable(text))


def for_latex(text: object) -> str:
    """Return text for a cell or a line of LaTeX. The sign of a number is a minus, and two hyphens are no dash."""
    made = "".join(LATEX.get(c, c) for c in printable(text))
    return re.sub("-(?=-)", "-{}", NEGATIVE.sub("$-$", made))


class Html(str):
    """HTML whose every part was made safe already."""

    __slots__ = ()


def for_html(text: object) -> Html:
    """Return text for an element or a quoted attribute of HTML; what is HTML already stays as it is."""
    return text if isinstance(text, Html) else Html(escape(printable(text)))


def for_csv(value: object) -> str:
    """Return a cell of CSV, quoted where it must be. Text that a spreadsheet computes begins with an apostrophe."""
    text = "" if value is None else str(value)
    if isinstance(value, str):
        text = text.replace("\0", r"\x00")  # readers stop at it
        if FORMULA.match(text) and not NUMBER.fullmatch(text):
            text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text


def for_json(value: object) -> str:
    """Return JSON for a reader of any language: a number that is infinite or not a number is null."""
    import json  # takes a moment that most commands do without

    strict = json.loads(json.dumps(value, default=asdict), parse_constant=lambda constant: None)
    return json.dumps(strict, indent=2)
