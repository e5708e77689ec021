"""One of the ranks of a run: ``python -m bagoftricks.run.rank SETTINGS.json``, as ``study.ranks`` has it started."""

import sys
from pathlib import Path

from bagoftricks.run.ranks import as_rank

if __name__ == "__main__":
    sys.exit(as_rank(Path(sys.argv[1])))
