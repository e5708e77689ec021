"""One rank of a run: ``python -m bagoftricks.run.rank SETTINGS.json``, started by ``run.ranks``."""

import sys
from pathlib import Path

from bagoftricks.run.ranks import run_as_rank

if __name__ == "__main__":
    sys.exit(run_as_rank(Path(sys.argv[1])))
