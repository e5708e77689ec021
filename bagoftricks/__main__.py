"""``python -m bagoftricks``: the command of this name."""

import sys

from bagoftricks.cli.overview import main

if __name__ == "__main__":
    sys.exit(main())
