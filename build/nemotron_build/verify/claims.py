"""Holding the fields of a configuration against what they have to say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from nemotron_build.checkpoint.shape import RopeScaling
from nemotron_build.errors import VerificationError

AGAIN = "Convert the checkpoint again."


@dataclass(frozen=True)
class Claim:
    """One field of a configuration.

    Attributes:
        file: The file with the field.
        field: Its name there, with dots.
        found: What it says, or what counts where it is missing.
        expected: What it has to say.
        written: Whether the field is there.
        remedy: What to do if it says something else.
    """

    file: Path
    field: str
    found: object
    expected: object
    written: bool = True
    remedy: str = AGAIN


def check_claims(claims: Iterable[Claim]) -> None:
    """Check them in their order.

    Raises:
        VerificationError: naming the first field that is wrong.
    """
    for claim in claims:
        if not _equal(claim.found, claim.expected):
            found = f"is {claim.found!r}" if claim.written else f"is missing, which means {claim.found!r}"
            raise VerificationError(f"{claim.file}: {claim.field} {found}, expected {claim.expected!r}. {claim.remedy}")


def rope_claims(
    file: Path, field: str, found: RopeScaling | None, expected: RopeScaling | None, *, written: bool
) -> Iterator[Claim]:
    """The claims of rope scaling: that it is there or not, then each of its numbers."""
    kinds = [scaling and "llama3" for scaling in (found, expected)]
    yield Claim(file, field, kinds[0], kinds[1], written=written)
    if found is not None and expected is not None:
        for part in fields(RopeScaling):
            yield Claim(file, f"{field}.{part.name}", getattr(found, part.name), getattr(expected, part.name))


def excluded(modules: list[str], patterns: list[str]) -> list[str]:
    """Those of the modules that the patterns keep from being quantized."""
    return [module for module in modules if any(fnmatchcase(module, pattern) for pattern in patterns)]


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        VerificationError: it is missing or something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        raise VerificationError(f"{path} is missing. {AGAIN}") from None
    except ValueError as error:
        raise VerificationError(f"{path} cannot be read: {error}. {AGAIN}") from error


def _equal(found: object, expected: object) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        # An epsilon that went through float32 is the same epsilon.
        return math.isclose(found, expected, rel_tol=1e-6)
    return found == expected
