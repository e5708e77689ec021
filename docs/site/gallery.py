"""Interactive pages of the committed studies, as ``scripts/results`` makes them."""

from collections.abc import Iterator
from pathlib import Path

from docs.site.repository import ROOT

COMMAND = "bot-report store=runs file=page.html"


def study_pages() -> Iterator[tuple[str, str]]:
    """Yield (path in the repository, HTML) of the page of each store in results/ that has a study."""
    for studies in sorted(ROOT.glob("results/*/**/runs/studies")):
        folder = studies.parents[1]
        yield (folder / "page.html").relative_to(ROOT).as_posix(), study_page(folder)


def study_page(folder: Path) -> str:
    """Return the page of the studies in the store ``folder/runs``."""
    from bagoftricks.report.page.whole_page import load_report, whole_page
    from bagoftricks.store.store import Store

    return whole_page(load_report(Store(str(folder / "runs")), [], COMMAND))
