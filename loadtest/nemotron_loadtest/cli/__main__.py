"""`python -m nemotron_loadtest.cli`, where the command is not on the path."""

import sys

from nemotron_loadtest.cli import main

sys.exit(main())
