"""The door of `nemotron-serve`, also as `python -m nemotron_serving.launcher`: what it needs is an extra."""

from __future__ import annotations

import sys


def main() -> int:
    """Run nemotron-serve, or say what to install.

    Returns:
        The exit status, see `nemotron-serve --help`.
    """
    try:
        from nemotron_serving.launcher.cli import main as run

        return run()
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"nemotron-serve: {error}. Install what serving needs, in a clone of this project: "
            "pip install '.[server,front]' (front is for --openai-port).\n"
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
