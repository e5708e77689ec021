"""A page as one HTML file: it loads nothing, and without its script only sorting and filters are gone."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bagoftricks import __version__
from bagoftricks.escape import Html, for_html
from bagoftricks.report.locking import lock_study
from bagoftricks.report.page.elements import code_block, element, link
from bagoftricks.report.page.findings import ReportedStudy, findings, unfinished_runs
from bagoftricks.report.page.sections import runs_section, study_section
from bagoftricks.report.study_results import load_results
from bagoftricks.store.record import Record
from bagoftricks.store.store import Store
from bagoftricks.study.lock import lock_element
from bagoftricks.study.plan import study_names

GENERATOR = "bagoftricks"  # the meta tag that tells our pages from other files


@dataclass(frozen=True)
class Reported:
    """Studies and other runs of a page, and the command that makes it."""

    studies: tuple[ReportedStudy, ...]
    others: tuple[Record, ...]
    command: str
    store: str
    waiting: str = ""  # for what, while there is nothing to show

    @property
    def title(self) -> str:
        """Title of the page."""
        if self.alone:
            return self.studies[0].results.title
        return f"Studies of {self.store}" if self.studies else f"Runs of {self.store}"

    @property
    def alone(self) -> bool:
        """True if the page is of one study and nothing else."""
        return len(self.studies) == 1 and not self.others

    @property
    def runs(self) -> int:
        """Number of the runs with a record."""
        ids = {record.id for study in self.studies for record in study.results.every_record}
        return len(ids | {record.id for record in self.others})


def load_report(store: Store, names: Sequence[str], command: str) -> Reported:
    """Return the studies of these names; without names, all studies and runs of the store. Raises UserError."""
    found = []
    for number, name in enumerate(dict.fromkeys(names or study_names(store)), start=1):
        results = load_results(Store(store.root), name)
        found.append(ReportedStudy(results, unfinished_runs(results, store), f"s{number}"))
    known = {record.id for study in found for record in study.results.every_record}
    others = [] if names else [record for record in store.records() if record.id not in known]
    return Reported(tuple(found), tuple(others), command, str(store))


def whole_page(report: Reported, *, live: bool = False, pictures: bool = True) -> str:
    """Return the page, with its pictures as far as they fit; ``live``: it looks for a newer one of itself."""
    nothing = [Html("")] * len(report.studies)
    plain = _assembled(report, nothing, live)
    if not (pictures and report.studies):
        return plain
    from bagoftricks.report.page.drawings import PAGE_BYTES, pictures_section  # here: they load matplotlib

    room = PAGE_BYTES - len(plain.encode()) // len(report.studies)
    return _assembled(report, [pictures_section(study, room) for study in report.studies], live)


def _assembled(report: Reported, pictures: Sequence[Html], live: bool) -> str:
    """Return the page with these pictures for its studies."""
    lead = [sentence for study in report.studies for sentence in findings(study)]
    body = [
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("header", element("h1", report.title), _contents(report, pictures)),
        element("main", *_sections(report, pictures), id="content"),
        _footer(report),
        *_lock(report),
        *(Html(f"<script>{script}</script>") for script in _scripts(live)),
    ]
    made = element(
        "html", element("head", *_head(report.title, " ".join(lead), live)), element("body", *body), lang="en"
    )
    return f"<!DOCTYPE html>\n{made}\n"


def _head(title: str, about: str, live: bool) -> list[Html]:
    """Return the head, with a policy that forbids the browser to load anything or to run another script."""
    scripts = " ".join(f"'sha256-{_digest(script)}'" for script in _scripts(live))
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {scripts}; base-uri 'none'"
    policy += "; form-action 'none'" + ("; connect-src 'self'" if live else "")
    return [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=GENERATOR),
        element("meta", name="description", content=about[:300]),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),  # or browsers ask a server for one
        Html(f"<style>{_file('page.css')}</style>"),
        *([element("noscript", element("meta", http_equiv="refresh", content="5"))] if live else []),
    ]


def _contents(report: Reported, pictures: Sequence[Html]) -> Html:
    """Return links to the studies; of one alone, to its parts."""
    entries = [link(study.anchor, study.results.title) for study in report.studies] + [link("runs", "Runs")]
    if report.alone:
        kinds = ("results", "Results"), ("pictures", "Pictures"), ("measured", "How it was measured"), ("arms", "Arms")
        entries[:1] = [
            link(f"{report.studies[0].anchor}-{name}", text)
            for name, text in kinds
            if name != "pictures" or pictures[0]
        ]
    listed = element("ul", *(element("li", entry) for entry in entries))
    return element("nav", listed, aria_label="Contents")


def _sections(report: Reported, pictures: Sequence[Html]) -> list[Html]:
    if not report.studies and not report.others:
        return [element("h2", "Waiting", id="runs"), element("p", report.waiting or "No run is finished yet.")]
    headings = ["What was found" if report.alone else study.results.title for study in report.studies]
    return [*map(study_section, report.studies, pictures, headings), runs_section(report.studies, report.others)]


def _lock(report: Reported) -> list[Html]:
    """Return the locks of the page's studies, from which another machine plans the same runs."""
    found = [lock_study(study.results.study, study.results.records) for study in report.studies]
    locks = [lock for lock in found if lock]
    return [Html(lock_element(*locks))] if locks else []


def _footer(report: Reported) -> Html:
    parts = [element("p", f"Made by bagoftricks {__version__} with"), code_block(report.command)]
    if report.studies:
        which, whose = ("", "lock of its study") if report.alone else (" name=STUDY", "locks of its studies")
        parts += [element("p", f"The page carries the {whose}. The same runs on another machine:")]
        parts += [code_block(f"bot-sweep from=report.html{which} plan=true")]
    return element("footer", *parts)


def _scripts(live: bool) -> list[str]:
    return [_file("page.js"), *([_file("live.js")] if live else [])]


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


def is_ours(text: bytes) -> bool:
    """Return True if a file begins as our pages do."""
    return text.startswith(b"<!DOCTYPE html>") and f'name="generator" content="{for_html(GENERATOR)}"'.encode() in text
