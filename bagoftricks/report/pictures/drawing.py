"""A picture with its words and its numbers, and the files that it becomes, equal in every byte when made again."""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from bagoftricks.errors import UserError, printable
from bagoftricks.folders import local_path
from bagoftricks.report.pictures.style import require_matplotlib, styled
from bagoftricks.store.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".svg", ".pdf", ".png")
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
DECIMALS = re.compile(r"-?\d+\.\d+")
FONTS = "'DejaVu Sans',Verdana,Arial,sans-serif"  # the first is what the layout was made for, the others are no wider
FAMILY = re.compile(r" ?font-family: [^;]*;?")
REFERENCE_TO_ID = re.compile(r"(^#|url\(#)([\w-]+)")
PLACES = ("d", "x", "y", "width", "height", "transform", "points", "viewBox")  # attributes that hold coordinates


class DrawnNumbers(NamedTuple):
    """Values that a picture shows, exactly: a row for each mark or curve, None where there is no value."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]


@dataclass(frozen=True)
class Drawing:
    """A figure with what a reader needs who cannot see it, or who prints it."""

    figure: "Figure"
    title: str
    description: str  # alternative text: one or two sentences with the main numbers
    caption: str  # what is drawn, with interval, n, correction and protocol
    numbers: DrawnNumbers

    def _repr_html_(self) -> str:
        from html import escape

        return f"<figure>{svg_text(self)}<figcaption>{escape(self.caption)}</figcaption></figure>"


def check_picture_file(name: str, file: str) -> None:
    """Raise UserError unless ``file``, the argument ``name``, can be drawn: a known suffix, and matplotlib is there."""
    if Path(file).suffix.lower() not in PICTURE_SUFFIXES:
        raise UserError(f"{name}={file}: the name must end in {', '.join(PICTURE_SUFFIXES)}")
    require_matplotlib(f"{name}={file}: ")


def save_drawing(drawing: Drawing, path: str | Path, name: str = "file") -> None:
    """Write the drawing as SVG, PDF or PNG, by the suffix. Raises UserError about the argument ``name``."""
    check_picture_file(name, str(path))
    kind = Path(path).suffix[1:].lower()
    data = svg_text(drawing).encode() if kind == "svg" else _rendered(drawing, kind)
    try:
        write_whole(local_path(name, str(path)), lambda whole: whole.write_bytes(data))
    except OSError as error:
        raise UserError(f"{name}={path}: cannot be written ({error.strerror})") from error


def svg_text(drawing: Drawing, prefix: str = "") -> str:
    """Return the drawing as an SVG element with title and description, its text as text.

    ``prefix`` begins its ids, so that several can stand in one page.
    """
    root = ElementTree.fromstring(_rendered(drawing, "svg"))
    for old in [child for child in root if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}title")]:
        root.remove(old)
    for definitions in root.iter(f"{{{SVG}}}defs"):
        for rule in definitions.findall(f"{{{SVG}}}style"):
            definitions.remove(rule)  # it would hold for a whole page
    root.set("style", f"stroke-linejoin:round;stroke-linecap:butt;font-family:{FONTS}")
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}title {prefix}description")
    names = _new_ids(root, prefix)
    for element in root.iter():
        _tidy(element, names)
    for at, (tag, text) in enumerate((("title", drawing.title), ("desc", drawing.description))):
        words = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": prefix + ("title", "description")[at]})
        words.text = printable(text)
        root.insert(at, words)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _rendered(drawing: Drawing, kind: str) -> bytes:
    """Return the file that matplotlib makes, without the date and the version of anything."""
    about = printable(drawing.description)
    metadata: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Title": drawing.title, "Subject": about},
        "png": {"Software": None, "Title": _latin(drawing.title), "Description": _latin(about)},
    }
    file = io.BytesIO()
    with styled():
        drawing.figure.savefig(file, format=kind, metadata=metadata[kind])
    return file.getvalue()


def _latin(text: str) -> str:
    """Return text that a PNG can hold."""
    return printable(text).encode("latin-1", "replace").decode("latin-1")


def _new_ids(root: ElementTree.Element, prefix: str) -> dict[str, str]:
    """Return a short new id for each one that something refers to."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    used = dict.fromkeys(found[2] for value in values if (found := REFERENCE_TO_ID.search(value)))
    return {name: f"{prefix}i{at}" for at, name in enumerate(used)}


def _tidy(element: ElementTree.Element, names: dict[str, str]) -> None:
    """Shorten coordinates, styles and ids; ``names``: the new ids by the old ones."""
    if (old := element.attrib.pop("id", "")) in names:
        element.set("id", names[old])
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    for key, value in element.attrib.items():
        if key in PLACES:
            element.set(key, DECIMALS.sub(_rounded, " ".join(value.split())))
        elif key != "id":
            value = FAMILY.sub("", value).replace(": ", ":").replace("; ", ";") if key == "style" else value
            element.set(key, REFERENCE_TO_ID.sub(lambda found: found[1] + names[found[2]], value))
    styles = {child.get("style") for child in element}
    if len(element) > 1 and len(styles) == 1 and None not in styles and element.get("style") is None:
        element.set("style", str(styles.pop()))  # of all marks of a line at once
        for child in element:
            del child.attrib["style"]
    for place in ("text", "tail"):
        if not (getattr(element, place) or "").strip():
            setattr(element, place, None)


def _rounded(found: "re.Match[str]") -> str:
    """Return a coordinate in hundredths of a point, which is finer than any printer."""
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
