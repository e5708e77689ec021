"""Elements of HTML that no text of a record can break out of: all text goes through ``for_html``."""

from collections.abc import Iterable

from bagoftricks.escape import Html, for_html

VOID = ("meta", "link", "br")  # elements without an end tag


def element(tag: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; children and attributes that are no HTML yet become text.

    ``class_`` stands for class and ``data_runs`` for data-runs; True is an attribute without a value, None is none.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    start = f"<{tag}{shown}>"
    return Html(start) if tag in VOID else Html(f"{start}{joined(children)}</{tag}>")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{for_html(value)}"'


def joined(parts: Iterable[object], between: str = "") -> Html:
    """Return the parts one after another, as HTML."""
    return Html(for_html(between).join(for_html(part) for part in parts))


def link(target: str, text: object) -> Html:
    """Return a link to the element of that id on this page."""
    return element("a", text, href=f"#{target}")


def code_block(text: str) -> Html:
    """Return a line to type, which one click selects."""
    return element("pre", element("code", text), tabindex="0")


def bullets(items: Iterable[object], class_: str | None = None) -> Html:
    """Return a list of items; nothing without any."""
    made = [element("li", item) for item in items]
    return element("ul", *made, class_=class_) if made else Html("")


def scrolled(table: str, about: str, **attributes: object) -> Html:
    """Return a table in a box that scrolls by itself, also with the keyboard."""
    attributes = {"class_": "scroll", "role": "region", "aria_label": about, "tabindex": "0", **attributes}
    return element("div", Html(table), **attributes)
