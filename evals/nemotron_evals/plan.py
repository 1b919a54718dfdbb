"""What a run asks, written down when it begins, so that going on with it later asks the same."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from nemotron_evals.card import Mode, Settings
from nemotron_evals.errors import ChangedError, EvalError
from nemotron_evals.results import DataUsed

NAME = "run.json"
LOGS = "logs"
"""The directory of Inspect's logs within a run's: they hold all prompts and answers."""

_TIME = "time.json"
_NOTE = """\
These logs hold all questions and answers. Of GPQA no part may be published, so keep them to yourself; results.json and
the report have no text of it. 'inspect view --log-dir .' shows them.
"""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A benchmark in one mode, as it is asked."""

    benchmark: str
    thinking: Mode
    questions: int
    repeats: int
    settings: Settings
    data: DataUsed


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run asks. All of it has to stay for the whole run."""

    url: str
    model: str
    package: str | None
    judge: str | None
    limit: int | None
    asked: list[Asked]


class Spent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a run began (ISO 8601, UTC), and the seconds that it took so far."""

    started: str
    seconds: float


def begin(directory: Path, plan: Plan) -> bool:
    """Make a run's directory, or go on in one.

    Returns:
        Whether it goes on.

    Raises:
        ChangedError: It was begun with another plan; the message names what differs.
        EvalError: The directory is something else, or cannot be made.
    """
    path = directory / NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        was = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise EvalError(f"{directory} cannot be a run's directory: {error.strerror}") from None
    if was is None:
        if (directory / LOGS).exists() or any(one.name != ".lock" for one in directory.iterdir()):
            raise EvalError(f"{directory} is not empty and no run's directory: name another with -o")
        _prepare(directory)
        _write(path, plan)
        return False
    try:
        before = msgspec.json.decode(was, type=Plan)
    except msgspec.MsgspecError as error:
        raise EvalError(f"{path} is not what this version of nemotron-eval writes: {error}") from None
    if differences := list(_differences(before, plan)):
        raise ChangedError(
            f"{directory} was begun with {'; '.join(differences)}. Give what it was begun with, to go on, or another "
            "directory, with -o"
        )
    return True


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep a second process out of a run's directory.

    Raises:
        EvalError: One is there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise EvalError(f"another nemotron-eval is running in {directory}") from None
    try:
        yield
    finally:
        os.close(handle)


def spent(directory: Path) -> Spent:
    """The time that a run took so far; nothing if it begins now."""
    try:
        return msgspec.json.decode((directory / _TIME).read_bytes(), type=Spent)
    except (OSError, msgspec.MsgspecError):
        return Spent(now(), 0.0)


def spend(directory: Path, time: Spent) -> None:
    """Write down the time that a run took so far."""
    _write(directory / _TIME, time)


def now() -> str:
    """ISO 8601, UTC, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _prepare(directory: Path) -> None:
    logs = directory / LOGS
    logs.mkdir(mode=0o700)
    (logs / ".gitignore").write_text("*\n", encoding="utf-8")
    (logs / "README.txt").write_text(_NOTE, encoding="utf-8")
    # Inspect reads the first `.env` from here upwards: of somebody else, were there none here.
    (directory / ".env").write_text("", encoding="utf-8")


def _write(path: Path, value: Any) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1))
    temporary.replace(path)


def _differences(before: Plan, now: Plan) -> Iterator[str]:
    for name in ("url", "model", "package", "judge", "limit"):
        was, given = getattr(before, name), getattr(now, name)
        if was != given:
            yield f"{name} {was if was is not None else 'none'}, not {given if given is not None else 'none'}"
    old, new = ({(one.benchmark, one.thinking): one for one in plan.asked} for plan in (before, now))
    if old.keys() != new.keys():
        yield f"{_named(old)}, not {_named(new)}"
        return
    for key, was in old.items():
        yield from (f"{key[0]} with thinking {key[1]}: {what}" for what in _asked_differently(was, new[key]))


def _asked_differently(was: Asked, given: Asked) -> Iterator[str]:
    if was.data.sha256 != given.data.sha256:
        yield f"other data ({was.data.source}, SHA-256 {was.data.sha256[:12]}…, not {given.data.sha256[:12]}…)"
    for name in ("repeats", "settings", "questions"):
        if getattr(was, name) != getattr(given, name):
            yield f"{name} {_said(getattr(was, name))}, not {_said(getattr(given, name))}"


def _said(value: object) -> str:
    if isinstance(value, Settings):
        return f"of temperature {value.temperature:g}, top_p {value.top_p:g} and {value.max_tokens} tokens"
    return str(value)


def _named(asked: dict[tuple[str, Mode], Asked]) -> str:
    return ", ".join(f"{name} ({mode})" for name, mode in asked)
