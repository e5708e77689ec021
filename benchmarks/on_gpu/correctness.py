"""Step a: the tests of the device, one line for each; those that passed in an earlier call are not run again."""

import os

import pytest
from on_gpu.ledger import Work

SYNCHRONISATION = "test_synchronisation"


class Recorder:
    """A pytest plug-in that keeps the outcome of each test as soon as it is known."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.passed = {row["test"] for row in work.rows if row["outcome"] == "passed"}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid not in self.passed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or (report.outcome != "passed" and report.when == "setup"):
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else last_line(str(report.longrepr or ""))
            self.work.add(test=report.nodeid, outcome=report.outcome, seconds=round(report.duration, 2), why=why)


def last_line(text: str) -> str:
    """Return the line of a failure that says what is wrong."""
    wrong = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return (wrong or [""])[0][:300]


def run_tests(work: Work, *arguments: str) -> None:
    """Run the tests of the device; the report has those that fail, which do not end the step."""
    which = "not gpu and not slow" if work.dry else "gpu"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic products need it before the first one
    own = ["-p", "no:cacheprovider", "-o", "addopts=", "-W", "default", "-q", "-m", which]
    status = pytest.main([*own, *arguments], plugins=[Recorder(work)])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"pytest ended with {status}")


def measure(work: Work) -> None:
    run_tests(work, "tests/gpu", f"--ignore=tests/gpu/{SYNCHRONISATION}.py", *(["-k", "bf16"] if work.dry else []))
