"""The scenarios that ship, in nemotron_loadtest/scenarios: `find_scenario("quick")`."""

from __future__ import annotations

from pathlib import Path

_DIRECTORY = Path(__file__).parents[1] / "scenarios"


def shipped_scenarios() -> list[Path]:
    """Their files, by name."""
    return sorted(_DIRECTORY.glob("*.toml"))


def find_scenario(name_or_path: str) -> Path:
    """The file of a scenario that is given by its path, or by its name if it is one that ships.

    A file that is there comes before a name. What is neither is taken for a path, for `load_scenario` to refuse.
    """
    path = Path(name_or_path)
    if not path.is_file():
        path = next((one for one in shipped_scenarios() if one.stem == name_or_path), path)
    return path
