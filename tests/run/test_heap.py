import ctypes
import subprocess
import sys

import pytest

from bagoftricks.run.execute import execute
from bagoftricks.settings import RuntimeSettings
from tests.run.interrupted import Stopping, tiny

FAULTS = """
import resource, sys
from bagoftricks.run.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(3):
    bytearray(64 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    bytearray(64 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")


def faults(how: str, **environment: str) -> int:
    """Return the page faults of taking and freeing 64 MiB ten times."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], env={"PATH": "", **environment}, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@glibc
def test_freed_memory_is_taken_again_without_page_faults():
    pages = 10 * 64 * 2**20 // 4096
    assert faults("kept") < pages / 100
    assert faults("default") > pages / 600  # of huge pages, one in 512


@glibc
def test_the_environments_own_settings_go_first():
    assert faults("kept", MALLOC_MMAP_THRESHOLD_="1048576") > 10 * faults("kept")


def test_a_run_keeps_its_memory_and_says_what_it_computes_in(tmp_path, monkeypatch):
    kept: list[bool] = []
    monkeypatch.setattr("bagoftricks.run.execute.keep_freed_memory", lambda: kept.append(True))
    reporter = Stopping()
    settings = tiny(tmp_path, tricks=["mixed_precision"], epochs=1, runtime=RuntimeSettings(device="cpu"))
    execute(settings, reporter, "bot-train")
    assert kept == [True]
    assert "on cpu, in bfloat16" in reporter.notes[0]
