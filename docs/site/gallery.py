"""Studies of results/: the interactive page of each, as ``scripts/results`` makes it, and a page of its parts."""

from collections.abc import Iterator
from pathlib import Path

from docs.site.kept import kept
from docs.site.repository import ROOT

COMMAND = "bot-report store=runs file=page.html"
FORMATS = ("table.csv", "table.json", "table.tex", "table.txt", "repeat.md")


def study_folders() -> list[Path]:
    """Return the folders of results/ with a store that has a study."""
    return [studies.parents[1] for studies in sorted(ROOT.glob("results/*/**/runs/studies"))]


def interactive_pages() -> Iterator[tuple[str, str]]:
    """Yield (path in the repository, HTML) of the page of each study."""
    for folder in study_folders():
        name = (folder / "page.html").relative_to(ROOT).as_posix()
        sources = ((folder / "runs", "*"), (ROOT / "bagoftricks", "*.py"))
        yield name, kept(sources, lambda folder=folder: {"page.html": interactive_page(folder)})["page.html"]


def interactive_page(folder: Path) -> str:
    """Return the page of the studies in the store ``folder/runs``."""
    from bagoftricks.report.page.whole_page import load_report, whole_page
    from bagoftricks.store.store import Store

    return whole_page(load_report(Store(str(folder / "runs")), [], COMMAND))


def study_text(folder: Path) -> str:
    """Return the page of a study, with links as from the folder that its own folder is in."""
    name = folder.relative_to(ROOT / "results").as_posix()
    table = folder / "table.md"
    runs = len(list(folder.glob("runs/*/record.json")))
    files = [f"[{file}]({folder.name}/{file})" for file in FORMATS if (folder / file).is_file()]
    parts = [
        f"---\nhide: [toc]\n---\n# {name}",
        f"[**The interactive page**]({folder.name}/page.html): {runs} runs, their arms, curves, settings and commands.",
        table.read_text(encoding="utf-8") if table.is_file() else "",
        *(f"![{p.stem}]({folder.name}/figures/{p.name})" for p in sorted(folder.glob("figures/*.svg"))),
        "The same table in other formats: " + ", ".join(files) + "." if files else "",
    ]
    return "\n\n".join(part for part in parts if part)
