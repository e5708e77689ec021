"""Pictures on a page: those that the records support, with their numbers; a line for each of the others."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bagoftricks.report.page import drawings
from bagoftricks.report.page.drawings import pictures_section, save_pictures
from bagoftricks.report.page.whole_page import load_report, whole_page
from bagoftricks.report.pictures.registry import PICTURES
from tests.report.page.studies import make_study
from tests.report.page.test_page import Outline

ARMS = {"baseline": [70.0, 71.0, 72.0], "cosine": [75.0, 76.1, 77.2]}


@pytest.fixture(autouse=True)
def one_kind(monkeypatch):
    monkeypatch.setattr(drawings, "PICTURES", {"forest": PICTURES["forest"]})


@pytest.fixture
def study(tmp_path):
    return load_report(make_study(tmp_path, ARMS), [], "").studies[0]


def test_a_picture_stands_with_its_words_and_numbers(study):
    text = pictures_section(study, 10**6)
    outline = Outline(text)
    for tag in ("figure", "svg", "title", "desc", "figcaption", "details", "table"):
        assert outline.tags.count(tag) == 1, tag
    assert "s1-forest" in outline.values("id")
    assert all(name.startswith("s1-") for name in outline.values("id"))
    assert "5.1" in re.search("<table>.*</table>", text, re.DOTALL)[0]  # the mean of 5, 5.1 and 5.2


def test_a_picture_that_is_lacking_or_too_large_has_a_line_instead(study, tmp_path, monkeypatch):
    large = pictures_section(study, 5000)
    assert "<figure" not in large
    assert "forest: the page would be too large; bot-table study=made plot=forest file=forest.svg" in large
    nothing = load_report(make_study(tmp_path / "other", {"a": [None] * 3}), [], "").studies[0]
    assert "forest: no run of the study is finished" in pictures_section(nothing, 10**6)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "bagoftricks[plots]" in pictures_section(study, 10**6)


def test_the_files_of_pictures_are_the_same_again(study, tmp_path):
    first, second = ([path.read_bytes() for path in save_pictures(study, tmp_path / name)] for name in "ab")
    assert first == second != []
    assert (tmp_path / "a" / "made-forest.svg").exists()


@pytest.mark.slow
def test_the_script_of_results_makes_page_and_pictures_of_each_store(tmp_path):
    make_study(tmp_path / "paper" / "study" / "runs", ARMS)
    scripts = Path(__file__).parents[3] / "scripts"
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(scripts.parent)}
    subprocess.run([scripts / "results", tmp_path], check=True, env=environment, capture_output=True)
    assert (tmp_path / "paper/study/page.html").exists()
    assert (tmp_path / "paper/study/figures/made-forest.svg").exists()


@pytest.mark.slow
def test_the_script_of_results_takes_a_study_over_whole_or_not_at_all(tmp_path):
    make_study(tmp_path / "made" / "runs", ARMS)
    script = Path(__file__).parents[3] / "scripts" / "results"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(script.parents[1])

    def add(*arguments):
        return subprocess.run(
            [script, "add", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    refused = add("made/runs", "mine")
    assert refused.returncode == 2
    assert refused.stderr == "scripts/results: mine is there, and is no study: name another folder\n"
    assert add("nowhere", "paper/study").returncode == 2
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"
    for _ in range(2):  # the second takes the place of the first
        done = add("made/runs", "paper/study")
        assert done.returncode == 0, done.stderr
    tables = {f"table.{suffix}" for suffix in ("txt", "md", "csv", "tex", "json")}
    assert tables | {"runs", "page.html", "figures"} == {path.name for path in (tmp_path / "paper/study").iterdir()}
    assert [path.name for path in (tmp_path / "paper").iterdir()] == ["study"]


@pytest.mark.slow
@pytest.mark.long
def test_a_page_of_fifty_arms_with_all_pictures_has_at_most_500_kib(tmp_path, monkeypatch):
    monkeypatch.setattr(drawings, "PICTURES", PICTURES)
    arms = {f"+ tricks of a long name, number {n}": [70.0 + n / 9, 71.0 + n / 7, 70.5] for n in range(50)}
    report = load_report(make_study(tmp_path, arms), [], "bot-report")
    page = whole_page(report)
    assert "<figure" in page
    assert len(page.encode()) <= drawings.PAGE_BYTES
    assert page == whole_page(report)
