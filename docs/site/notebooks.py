"""Notebooks as pages: text and code, with the outputs that were saved."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File

from docs.site.repository import ROOT, page_of_text


def notebook_pages(config: MkDocsConfig) -> Iterator[File]:
    """Yield a page for each notebook of docs/notebooks."""
    for path in sorted(ROOT.glob("docs/notebooks/*.ipynb")):
        name = path.relative_to(ROOT).as_posix()
        yield page_of_text(config, name, notebook_text(path), f"{name.removesuffix('.ipynb')}.html")


def notebook_text(path: Path) -> str:
    """Return the cells of a notebook as Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell))


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    shown = [output.get("data", {}).get("text/plain", output.get("text", [])) for output in cell["outputs"]]
    if printed := "".join("".join(lines).rstrip() + "\n" for lines in shown if lines):
        yield f"```text\n{printed}```"
    for output in cell["outputs"]:
        yield from _pictures(output.get("data", {}))


def _pictures(data: dict[str, Any]) -> Iterator[str]:
    """Yield the pictures of an output as images that need no file."""
    if "image/svg+xml" in data:
        encoded = base64.b64encode("".join(data["image/svg+xml"]).encode()).decode()
        yield f"![output](data:image/svg+xml;base64,{encoded})"
    elif "image/png" in data:
        yield f"![output](data:image/png;base64,{''.join(data['image/png']).strip()})"
