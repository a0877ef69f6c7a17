"""Run the command line as `python -m overheard`."""

import sys

from overheard.cli import main

if __name__ == "__main__":
    sys.exit(main())
