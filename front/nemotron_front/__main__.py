"""`python -m nemotron_front`."""

import sys

from nemotron_front.cli import main

if __name__ == "__main__":
    sys.exit(main())
