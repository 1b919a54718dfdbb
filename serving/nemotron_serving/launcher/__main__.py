"""`python -m nemotron_serving.launcher`, where the command nemotron-serve is not installed."""

from __future__ import annotations

import sys

from nemotron_serving.launcher.cli import main

sys.exit(main())
