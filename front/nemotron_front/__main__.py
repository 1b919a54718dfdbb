"""The door of `nemotron-front`, also as `python -m nemotron_front`: what it needs is an extra."""

from __future__ import annotations

import sys


def main() -> int:
    """Run nemotron-front, or say what to install.

    Returns:
        The exit status, see `nemotron-front --help`.
    """
    try:
        from nemotron_front.cli import main as run

        return run()
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"nemotron-front: {error}. Install what the front needs, in a clone of this project: "
            "pip install '.[front]'.\n"
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
