"""bot-report: what is written where, and what is refused."""

import pytest

from bagoftricks.cli.report import ReportArguments
from bagoftricks.report.pictures.registry import PICTURES
from tests.cli.test_commands import one_line
from tests.report.page.studies import make_study


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("bagoftricks.report.page.drawings.PICTURES", {})


ARMS = {"baseline": [70.0, 71.0, 72.0], "cosine": [75.0, 76.1, 77.2]}


def test_a_page_is_written_and_written_again(bot, tmp_path):
    make_study(tmp_path, ARMS, title="Two arms")
    done = bot("bot-report", "store=.", "study=made", "file=a.html")
    assert done.status == 0, done.err
    assert done.out.startswith("a.html: 1 study, 6 runs, ")
    first = (tmp_path / "a.html").read_bytes()
    assert b"<h1>Two arms</h1>" in first
    assert b"bot-report store=. study=made file=a.html" in first
    assert bot("bot-report", "store=.", "study=made", "file=a.html").status == 0
    assert (tmp_path / "a.html").read_bytes() == first


def test_pictures_become_files_too(bot, tmp_path, monkeypatch):
    make_study(tmp_path, ARMS)
    monkeypatch.setattr("bagoftricks.report.page.drawings.PICTURES", {"forest": PICTURES["forest"]})
    done = bot("bot-report", "store=.", "figures=drawn")
    assert done.out.splitlines()[:-1] == ["drawn/made-forest.svg"]
    assert (tmp_path / "drawn/made-forest.svg").read_text().startswith("<svg")


def test_the_whole_store_is_the_default(bot, tmp_path):
    make_study(tmp_path, ARMS)
    make_study(tmp_path, {"x": [1.0, 2.0, 3.0]}, name="other")
    assert bot("bot-report", "store=.").out.startswith("report.html: 2 studies, 9 runs, ")
    assert bot("bot-report", "store=.", "study=[other]").out.startswith("report.html: 1 study, 3 runs, ")
    assert bot("bot-report", "store=.", "study=[other,other]").out.startswith("report.html: 1 study, 3 runs, ")


def test_a_file_that_is_no_page_of_ours_is_kept(bot, tmp_path):
    make_study(tmp_path, ARMS)
    (tmp_path / "mine.html").write_text("<!DOCTYPE html>\nmine")
    assert "is no page of bot-report: type another name" in one_line(bot("bot-report", "store=.", "file=mine.html"))
    assert (tmp_path / "mine.html").read_text().endswith("mine")


def test_wrong_input_is_one_line(bot, tmp_path):
    make_study(tmp_path, ARMS)
    assert "did you mean 'study'?" in one_line(bot("bot-report", "studdy=a"))
    assert "did you mean 'made'?" in one_line(bot("bot-report", "store=.", "study=mad"))
    assert "ends with .html" in one_line(bot("bot-report", "store=.", "file=a.pdf"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    assert "holds neither a study nor a finished run" in one_line(bot("bot-report", "store=empty"))
    assert "no such folder" in one_line(bot("bot-report", "store=nowhere"))
    assert "study= is empty" in one_line(bot("bot-report", "store=.", "study="))
    assert "cannot be written" in one_line(bot("bot-report", "store=.", "file=/proc/a.html"))
    assert "figures=empty.txt: is a file" in one_line(bot("bot-report", "store=.", "figures=empty.txt"))
    assert not (tmp_path / "report.html").exists()


def test_the_command_of_the_page_has_what_was_typed():
    assert ReportArguments.of(["store=a b", "study=x"]).command == "bot-report 'store=a b' study=x"
