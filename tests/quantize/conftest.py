"""What tests that compute with torch and ModelOpt share with those of the build that do without."""

from __future__ import annotations

import os

# Tiny models gain nothing from several threads, and threads that spin for each other hold up all else that runs. torch
# reads this when it is imported, here and in child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
