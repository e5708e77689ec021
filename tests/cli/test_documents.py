"""The commands of the documents are accepted as they stand."""

import re
import shlex
from pathlib import Path

import pytest

from bagoftricks.cli.report import ReportArguments
from bagoftricks.cli.runs import RunsArguments
from bagoftricks.cli.search import search_arguments
from bagoftricks.cli.table import TableArguments
from bagoftricks.report.query import Query
from bagoftricks.study.experiment import load_experiment
from tests.cli.document_commands import write_examples

ROOT = Path(__file__).resolve().parents[2]


REPLACED = ("data=", "data.root=", "engine", "format=", "store=")  # by the digits, a plan and a folder of the test
DOCUMENTS = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def texts():
    for path in DOCUMENTS:
        yield path.relative_to(ROOT), path.read_text(encoding="utf-8").replace("\\\n", "")


def commands():
    for path, text in texts():
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                if line.startswith("bot-") and " ... " not in line:
                    command = shlex.split(line, comments=True)
                    yield pytest.param(path, command, id=f"{path}: {' '.join(command)}")


def shown():
    """Commands with what they print: a block of text whose lines begin with $ and with the output."""
    for path, text in texts():
        for block in re.findall(r"```text\n(\$ bot-.*?)```", text, re.DOTALL):
            for said in block.removeprefix("$ ").split("\n$ "):
                yield pytest.param(*said.split("\n", 1), id=f"{path}: {said.partition(chr(10))[0]}")


@pytest.mark.parametrize(("command", "output"), list(shown()))
def test_an_error_is_printed_as_the_document_shows_it(bot, command, output):
    program, *arguments = shlex.split(command)
    assert bot(program, *arguments).err.rstrip() == output.rstrip()


@pytest.mark.parametrize(("document", "command"), list(commands()))
def test_a_documented_command_composes(bot, document, command, monkeypatch, tmp_path):
    write_examples(ROOT / document, tmp_path)
    program, *arguments = [re.sub(r"\bexamples\b", str(ROOT / "examples"), word) for word in command]
    if "--help" in arguments:
        assert bot(program, *arguments).status == 0
        return
    if program == "bot-table":
        chosen = TableArguments.of(arguments)
        Query.of(chosen.where, chosen.sort, chosen.limit)
        return
    if program == "bot-report" and any(word.startswith("plot=") for word in arguments):
        done = bot(program, *arguments)
        assert done.status == 0 or "no such folder" in done.err
        return
    if program == "bot-report":
        assert ReportArguments.of(arguments)
        return
    if program == "bot-runs":
        assert RunsArguments.of(arguments)
        return
    if program in ("bot-eval", "bot-predict") and arguments[0].startswith("run="):
        assert " no finished run" in bot(program, *arguments, "store=.").err
        return
    if program == "bot-predict":
        assert "no such file of weights" in bot(program, *arguments).err
        return
    if program == "bot-eval" and arguments[0].startswith("show="):
        assert "no such file" in bot(program, *arguments).err
        return
    if program == "bot-bench" and arguments[0].startswith("experiment="):
        assert load_experiment(arguments[0].removeprefix("experiment="), "paper").arms
        return
    if program == "bot-sweep" and arguments[0].startswith("extend="):
        assert "holds no study" in bot(program, *arguments).err
        return
    if program == "bot-sweep" and arguments[0].startswith("from=") and not Path(arguments[0][5:]).exists():
        assert "no such file" in bot(program, *arguments).err
        return
    if program == "bot-sweep":
        monkeypatch.setattr("bagoftricks.study.estimate.seconds_from_steps", lambda run: 60.0)  # trains a few steps
        data = ["data=digits", "image_size=16", "data.pad=1", "data.flip=true", "batch_size=256"]
        typed = arguments[: arguments.index(">")] if ">" in arguments else arguments
        typed = [word for word in typed if not word.startswith(REPLACED)]
        given = {word.partition("=")[0] for word in typed}
        data = [word for word in data if word.partition("=")[0] not in given]
        planned = bot(program, *typed, *data, "plan=true", "format=json", "store=.")
        said = planned.err.splitlines()[:-1]  # a teacher is a run that this store does not have
        lacking = bool(said) and all("there is no such finished run" in line for line in said)
        assert planned.status == 0 or lacking or "digits has no" in planned.err, planned.err  # masks, boxes
        return
    search_arguments(arguments)  # refuses what is no search
    arguments = [argument for argument in arguments if argument != "-m" and not argument.startswith("hydra")]
    searched = [re.sub(r"=(?:tag\(log,)?(?:interval|choice)\(([^,]+),.*", r"=\1", argument) for argument in arguments]
    swept = [re.sub(r"=([\w.-]+),[\w.,-]+$", r"=\1", argument) for argument in searched]  # --cfg shows one job
    assert bot(program, *swept, "--cfg", "job").status == 0


def test_there_are_commands_to_check():
    assert len(list(commands())) > 10


@pytest.mark.parametrize(
    "link", re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
)
def test_the_readme_links_to_what_exists(link):
    assert (ROOT / link).exists()
