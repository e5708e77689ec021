"""The documentation site: its links, its navigation, and (slow) the whole of it, built as `make docs` builds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site.links import BuiltSite
from docs.site.navigation import navigation

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site(tmp_path):
    """Return a function that makes a site of files and returns its faults."""

    def make(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        return list(BuiltSite(tmp_path).faults())

    return make


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="two.html">', ""),
        ('<a href="two.html#here">', ""),
        ('<a href="https://example.org">', ""),
        ('<img src="data:image/png;base64,AAAA">', ""),
        ('<a href="three.html">', "one.html: three.html: is no file of the site"),
        ('<a href="two.html#there">', "one.html: two.html#there: there is no such anchor"),
        ('<a href="#there">', "one.html: #there: there is no such anchor"),
        ('<a href="../outside.html">', "one.html: ../outside.html: is no file of the site"),
        ('<a href=".">', "one.html: .: is no file of the site"),
        ('<img src="gone.svg">', "one.html: gone.svg: is no file of the site"),
        ('<script src="https://example.org/a.js">', "one.html: https://example.org/a.js: is loaded from elsewhere"),
        (
            '<link rel="stylesheet" href="//example.org/a.css">',
            "one.html: //example.org/a.css: is loaded from elsewhere",
        ),
        ('<link rel="canonical" href="https://example.org/a.html">', ""),
    ],
)
def test_a_link_leads_to_a_file_and_an_anchor_and_nothing_is_loaded_from_elsewhere(site, body, fault):
    assert site(one=body, two='<p id="here">') == ([fault] if fault else [])


def test_a_new_file_is_in_the_navigation_of_its_folder():
    names = ["docs/index.md", "docs/howto/ship.md", "docs/lab/study.md", "docs/adr/0001-a.md", "docs/new.md"]
    assert navigation(names) == [
        {"Home": "docs/index.md"},
        {"How-to guides": ["docs/howto/ship.md"]},
        {"Reference": ["docs/new.md"]},
        {"Lab notebook": ["docs/lab/study.md"]},
        {"Project": [{"Decisions": ["docs/adr/0001-a.md"]}]},
    ]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_each_of_its_links_leads_somewhere(tmp_path):
    pytest.importorskip("material")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    built = subprocess.run(
        [ROOT / "scripts/docs", tmp_path / "site"], env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert built.stdout.splitlines()[-1] == str(tmp_path / "site/index.html")
    assert "bot-sweep" in (tmp_path / "site/docs/reference/commands.html").read_text(encoding="utf-8")
