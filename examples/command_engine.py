"""An engine that puts a command of yours before each run's own: srun, nice, docker run.

    bot-sweep plugins=[examples/command_engine.py] engine=command 'engine.prefix=srun -n1' 'engine.places=[a,b,c]' ...
    bot-sweep plugins=[examples/command_engine.py] engine=command 'engine.prefix=nice -n 19' ...

The other machines see the same folders.
"""

import os
import shlex
import subprocess
import time
from dataclasses import field
from pathlib import Path

from bagoftricks.plugins import Ended, Engine, engine


@engine(name="command")
class CommandEngine(Engine):
    """Any command that carries out the line that follows it, on a machine that sees the store."""

    prefix: str = ""
    """command before each run's own; {slot} is its place"""
    places: list[str] = field(default_factory=lambda: ["0"])
    """names of the places, which prefix may use; one run at a time in each"""

    def open(self, runs, view, limits):
        """Forget earlier jobs."""
        super().open(runs, view, limits)
        self.jobs = {}  # place -> (run, process, start)

    def room(self):
        """Return the number of free places."""
        return len(self.places) - len(self.jobs)

    def submit(self, runs):
        """Start the command of each run in a free place."""
        for run in runs:
            place = next(place for place in self.places if place not in self.jobs)
            store = shlex.quote(f"store={Path(run.settings.store).absolute()}")
            line = f"{self.prefix.format(slot=place)} {run.command} {store}"
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(["sh", "-c", f"exec {line}"], start_new_session=True, **quiet)
            self.jobs[place] = run, process, time.monotonic()
            self.view.started(run)

    def poll(self):
        """Return the commands that have ended."""
        time.sleep(0.2)
        over = [(place, *job) for place, job in self.jobs.items() if job[1].poll() is not None]
        for place, *_ in over:
            del self.jobs[place]
        now = time.monotonic()
        return [Ended(run, process.returncode, now - began) for _, run, process, began in over]

    def close(self):
        """Stop the commands that are left; their runs save."""
        for _, process, _ in self.jobs.values():
            os.killpg(process.pid, 15)
        for _, process, _ in self.jobs.values():
            process.wait(60)
