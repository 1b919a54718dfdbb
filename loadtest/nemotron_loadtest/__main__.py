"""The door of `nemotron-bench`, also as `python -m nemotron_loadtest`: what it needs is an extra."""

from __future__ import annotations

import sys


def main() -> int:
    """Run nemotron-bench, or say what to install.

    Returns:
        The exit status, see `nemotron-bench --help`.
    """
    try:
        from nemotron_loadtest.cli import main as run

        return run()
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"nemotron-bench: {error}. Install what load tests need, in a clone of this project: "
            "pip install '.[loadtest]'.\n"
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
