"""Check of a built site: each link leads to a file and an anchor of it, and no page loads from elsewhere.

``python -m docs.site.links site`` prints what is wrong, one line each, and then exits with status 1.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {  # tag -> the attribute whose address a browser loads by itself
    **dict.fromkeys(("img", "script", "iframe", "source", "audio", "video", "embed", "input"), "src"),
    "link": "href",
    "object": "data",
    "image": "href",
    "use": "href",
}
LEADING = {"a": "href", "area": "href"}
NOT_LOADED = {"canonical", "alternate", "prev", "next"}  # kinds of <link> that only name another page
IMPORT = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


@dataclass
class Address(HTMLParser):
    """Parser that collects the anchors, links and loaded addresses of a page."""

    text: str
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Parse the text."""
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what an element names, links to or loads."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if values.get(name))
        if address := values.get(LEADING.get(tag, "")):
            self.links.append(address)
        only_names = tag == "link" and not set(values.get("rel", "").split()).isdisjoint(NOT_LOADED)
        if not only_names and (address := values.get(LOADING.get(tag, ""))):
            self.loaded.append(address)
        self.loaded += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]


class BuiltSite:
    """Pages of a folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @cached_property
    def pages(self) -> dict[Path, Address]:
        """Parsed pages by their paths."""
        return {path: Address(path.read_text(encoding="utf-8")) for path in sorted(self.folder.rglob("*.html"))}

    def faults(self) -> Iterator[str]:
        """Yield a line for each link that leads nowhere and each address of another host that a page loads."""
        for path, page in self.pages.items():
            name = path.relative_to(self.folder).as_posix()
            for address in dict.fromkeys([*page.links, *page.loaded]):
                if fault := self.fault(path, address, loads=address in page.loaded):
                    yield f"{name}: {address}: {fault}"
        for path in sorted(self.folder.rglob("*.css")):
            for address in (a or b for a, b in IMPORT.findall(path.read_text(encoding="utf-8"))):
                if fault := self.fault(path, address, loads=True):
                    yield f"{path.relative_to(self.folder).as_posix()}: {address}: {fault}"

    def fault(self, path: Path, address: str, *, loads: bool) -> str:
        """Return what is wrong with an address on the page or style ``path``; empty: nothing."""
        parts = urlsplit(address)
        if parts.scheme == "data":
            return ""
        if parts.scheme or parts.netloc:
            return "is loaded from elsewhere" if loads else ""
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_relative_to(self.folder) or not target.is_file():
            return "is no file of the site"
        known = self.pages.get(target)
        if parts.fragment and known and unquote(parts.fragment) not in known.anchors:
            return "there is no such anchor"
        return ""


def main() -> int:
    """Print the faults of the site in the folder that is the only argument; return the exit status."""
    site = BuiltSite(Path(sys.argv[1]))
    faults = list(site.faults())
    print("\n".join(faults) if faults else f"{len(site.pages)} pages, every link leads to a file")
    return 1 if faults or not site.pages else 0


if __name__ == "__main__":
    sys.exit(main())
