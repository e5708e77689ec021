"""A logger in one file: a line of JSON for each step, which any program can follow."""

import json
from pathlib import Path

from bagoftricks.plugins import Logger, logger


@logger(name="json_lines")
class JsonLines(Logger):
    """Lines of JSON, a file per run."""

    folder: str = "lines"
    """folder of the files"""

    def start(self, run):
        self.path = Path(self.folder, f"{run.id}.jsonl")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if run.again or run.done == 0:
            first = {"label": run.label, "group": run.group, "config": run.config}
            self.path.write_text(json.dumps(first) + "\n")
        return f"tail -f {self.path}"

    def log(self, step, figures):
        self.write({"step": step, **figures})

    def finish(self, outcome):
        self.write({"outcome": outcome})

    def write(self, line):
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
