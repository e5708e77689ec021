"""Notebooks as pages: text and code, with the outputs that were saved."""

import json
from collections.abc import Iterator
from pathlib import Path

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


def _parts(cell: dict) -> Iterator[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell.get("outputs", []):
        shown = output.get("data", {}).get("text/plain", output.get("text", []))
        if shown:
            yield "```text\n" + "".join(shown).rstrip() + "\n```"
