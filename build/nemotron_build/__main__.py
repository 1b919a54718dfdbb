"""`python -m nemotron_build`, where the command is not installed."""

from __future__ import annotations

import sys

from nemotron_build.cli import main

sys.exit(main())
