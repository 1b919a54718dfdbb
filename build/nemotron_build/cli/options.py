"""What the commands' options have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nemotron_serving.command_line import path, whole

if TYPE_CHECKING:
    from nemotron_build.checkpoint.shape import ModelShape
    from nemotron_build.profiles import Profile

INT32 = 2**31 - 1
"""The most that engines and clients can write as one of these numbers."""

_LIMITS = {
    "max_seq_len": (2, "prompt and output tokens of a request"),
    "max_batch_size": (1, "requests generating at once"),
    "max_num_tokens": (1, "tokens that one step of a GPU's engine processes"),
}


def add_limits(parser: argparse._ActionsContainer) -> None:
    """Add `--max-seq-len` and its like, which take the place of what a profile says."""
    for name, (least, text) in _LIMITS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=whole(least, INT32), metavar="N", help=text)


def asked_limits(arguments: argparse.Namespace) -> dict[str, int]:
    """The limits that were given as options, by their names in a profile."""
    return {name: value for name in _LIMITS if (value := getattr(arguments, name, None)) is not None}


def limit_arguments(arguments: argparse.Namespace) -> list[str]:
    """The same as options again, for a command that is printed."""
    given = asked_limits(arguments)
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def named_profile(arguments: argparse.Namespace) -> Profile:
    """The profile that `--profile` names, with the limits that were given as options.

    Raises:
        BuildError: there is none, it cannot be used, or a limit that it does not take.
    """
    from nemotron_build.errors import UsageError
    from nemotron_build.profiles import changed_profile, load_profile

    profile, given = load_profile(arguments.profile), asked_limits(arguments)
    if "max_num_tokens" in given and not profile.compiles:
        raise UsageError(
            f"--max-num-tokens is for profiles that compile an engine, and {profile.name} does not. Leave it out."
        )
    return changed_profile(profile, given) if given else profile


def fitted_profile(
    arguments: argparse.Namespace, profile: Profile, shape: ModelShape
) -> tuple[Profile, tuple[str, ...]]:
    """The profile with no longer sequences than the model knows, and what there is to say about that.

    The limits of the profiles that ship are those of the 8B model, so a smaller model gets what it has. What somebody
    wrote, as an option or in a file of his own, is not changed: it is refused where it is too much.
    """
    from nemotron_build.profiles import changed_profile

    known, wanted = shape.max_position_embeddings, profile.limits.max_seq_len
    own = arguments.profile is None or arguments.profile.endswith(".toml") or "max_seq_len" in asked_limits(arguments)
    if own or wanted <= known:
        return profile, ()
    note = f"max_seq_len is {known} instead of {wanted} of profile {profile.name}: the model knows no more positions."
    return changed_profile(profile, {"max_seq_len": known}), (note,)


def add_output(parser: argparse.ArgumentParser, default: Path) -> None:
    """Add `-o DIR` and `--force`, for commands that write a package."""
    parser.add_argument(
        "-o", "--output", dest="package", type=path, default=default, metavar="DIR", help=f"where to write ({default})"
    )
    parser.add_argument("--force", action="store_true", help="replace the package that is there")
