"""The programs that `make setup-deploy` installs, and where they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ENVIRONMENT = ROOT / ".venv-deploy"
NODE_MODULES = ENVIRONMENT / "node_modules"
# Where Debian keeps what root runs and what podman runs for itself.
_SYSTEM = f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/lib/podman"


def tool(name: str) -> Path:
    """A program: of the environment of `make setup-deploy`, or else of the machine.

    Raises:
        FileNotFoundError: There is none.
    """
    found = shutil.which(name, path=f"{ENVIRONMENT / 'bin'}:{_SYSTEM}")
    if found is None:
        raise FileNotFoundError(f"{name} is missing: run 'make setup-deploy' first.")
    return Path(found)
