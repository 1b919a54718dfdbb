"""The door of `nemotron-eval`, also as `python -m nemotron_evals`: what it needs has an environment of its own."""

from __future__ import annotations

import sys


def main() -> int:
    """Run nemotron-eval, or say what to install.

    Returns:
        The exit status, see `nemotron-eval --help`.
    """
    try:
        from nemotron_evals.cli import main as run

        return run()
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"nemotron-eval: {error}. Evaluations have an environment of their own, in a clone of this project: "
            "'make setup-evals' makes it in .venv-evals; pip install '.[evals]' installs all but the checkers that "
            "requirements-evals.lock pins without their dependencies.\n"
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
