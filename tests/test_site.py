"""The documentation site: its links, its navigation, and (slow) the whole of it, built as `make docs` builds it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("material")

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

import bagoftricks
from docs.site import kept, library, notebooks, reference, repository
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


def test_a_new_file_is_in_the_navigation_of_its_folder_whose_own_page_is_first():
    names = ["docs/index.md", "docs/howto/a.md", "docs/howto/README.md", "docs/lab/study.md", "docs/adr/0001-a.md"]
    assert navigation([*names, "docs/new.md", "docs/data.md"]) == [
        {"Home": "docs/index.md"},
        {"How-to guides": [{"All guides": "docs/howto/README.md"}, "docs/howto/a.md", {"Data": ["docs/data.md"]}]},
        {"Lab notebook": ["docs/lab/study.md"]},
        {"Project": [{"Decisions": ["docs/adr/0001-a.md"]}, "docs/new.md"]},
    ]


def test_each_link_that_leads_nowhere_is_a_warning_and_stops_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "two.md").write_text("# Two\n", encoding="utf-8")
    folders = {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site")}
    settings = {"hooks": [], "plugins": [], "nav": ["index.md", "two.md"], "strict": True, **folders}
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[a](two.md#two)\n", encoding="utf-8")
    build(load_config(str(ROOT / "mkdocs.yml"), **settings))
    wrong = "[a](gone.md) [a](two.md#gone) [a](#gone) [a](gone/) ![a](gone.svg)"
    (tmp_path / "docs" / "index.md").write_text(f"# One\n\n{wrong}\n", encoding="utf-8")
    with pytest.raises(Abort, match="5 warnings"):
        build(load_config(str(ROOT / "mkdocs.yml"), **settings))


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Return a function that makes files of a repository from texts by their paths, and returns those of its site."""
    monkeypatch.setattr(repository, "ROOT", tmp_path)
    config = load_config(str(ROOT / "mkdocs.yml"), hooks=[], plugins=[])

    def make(texts):
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        found = repository.RepositoryFiles(repository.repository_files(config))
        repository.add_linked_sources(config, found)
        return found

    return make


def test_a_source_that_a_page_links_to_becomes_a_page_and_no_other_does(files):
    found = files(
        {
            "docs/one.md": "[a](../examples/a.py#L1) [b](https://example.org/c.py) [d](two.md)",
            "docs/two.md": "[e](../examples/)",
            "examples/a.py": "x = 1\n",
            "unlinked.py": "",
        }
    )
    assert {file.src_uri: file.dest_uri for file in found} == {
        "docs/one.md": "docs/one.html",
        "docs/two.md": "docs/two.html",
        "examples/a.py": "examples/a.py.html",
        "examples": "examples/index.html",
    }
    assert "```python\nx = 1\n```" in found.get_file_from_path("examples/a.py").content_string
    assert "- [a.py](examples/a.py)" in found.get_file_from_path("examples").content_string


def test_a_link_to_a_folder_leads_to_its_readme(files):
    found = files({"docs/one.md": "[a](../results/study/)", "results/study/README.md": "# A study"})
    assert found.get_file_from_path("results/study").dest_uri == "results/study/index.html"
    assert len(found) == 2


def test_a_source_with_fences_of_its_own_stays_one_block(files):
    found = files({"docs/one.md": "[a](a.txt)", "docs/a.txt": "```sh\nls\n```\n"})
    assert "````text\n```sh\nls\n```\n````" in found.get_file_from_path("docs/a.txt").content_string


def test_what_is_kept_is_made_again_only_after_a_change(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = []

    def make():
        made.append(1)
        return {"page": str(len(made))}

    def result():
        kept.digest.cache_clear()
        return kept.kept([(tmp_path / "of", "*.py")], make)["page"]

    (tmp_path / "of").mkdir()
    source = tmp_path / "of" / "a.py"
    source.write_text("1", encoding="utf-8")
    assert [result(), result()] == ["1", "1"]
    source.write_text("2", encoding="utf-8")
    assert result() == "2"
    source.rename(source.with_name("b.py"))
    assert result() == "3"


def test_a_notebook_is_shown_with_its_outputs(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "source": ["print(1)\n", "2"],
            "outputs": [{"text": ["1\n"]}, {"data": {"text/plain": ["2"], "image/png": "AAAA\n"}}],
        },
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert notebooks.notebook_text(tmp_path / "a.ipynb") == (
        "# Title\ntext\n\n```python\nprint(1)\n2\n```\n\n```text\n1\n2\n```\n\n![output](data:image/png;base64,AAAA)"
    )


def test_the_reference_has_every_setting_with_its_default_and_every_public_name():
    settings = reference.settings_page()
    assert "| `epochs` | whole number | `120` | passes over the training images |" in settings
    assert "### `data=imagefolder`" in settings
    api = library.api_page()
    for name in bagoftricks.__all__:
        assert f"## `bot.{name}`" in api
    assert "`UserError`" in api
    assert "### `TrainedRun`" in api
    assert "- `load(weights: str | None = None, device: str | None = None) -> LoadedRun`:" in api


@pytest.mark.slow
@pytest.mark.serial  # minutes, near the limit of a test if others run as well
def test_the_site_is_built_without_a_warning_and_each_of_its_links_leads_somewhere(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    built = subprocess.run(
        [ROOT / "scripts/docs", tmp_path / "site"], env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert built.stdout.splitlines()[-1] == str(tmp_path / "site/index.html")
    assert "bot-sweep" in (tmp_path / "site/docs/reference/commands.html").read_text(encoding="utf-8")
    pages = {entry["location"].partition("#")[0] for entry in search_entries(tmp_path / "site")}
    assert {"docs/data.html", "docs/reference/settings.html", "results/index.html"} <= pages
    assert not [page for page in pages if page.endswith(".py.html")]


def search_entries(site):
    return json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
