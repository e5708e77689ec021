"""Temporary folders of processes that live, that have ended, and that were killed."""

import os
import signal
import subprocess
import sys

from bagoftricks.engines.scratch import scratch

HOLD = """
import sys, time
from pathlib import Path
from bagoftricks.engines.scratch import scratch
with scratch(Path(sys.argv[1]), "bot-") as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_gone_after_its_block(tmp_path):
    with scratch(tmp_path, "bot-") as folder:
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_with_the_next_one_and_that_of_a_live_one_stays(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    theirs = process.stdout.readline().strip()
    try:
        with scratch(tmp_path, "bot-"):
            assert os.path.isdir(theirs)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert os.path.isdir(theirs)
    with scratch(tmp_path, "bot-"):
        assert not os.path.isdir(theirs)
