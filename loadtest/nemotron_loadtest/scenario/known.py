"""What stands in a scenario, for whoever has misspelt it."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

from nemotron_loadtest.scenario.scenario import Scenario


def expected_at(field: str, content: dict[str, Any]) -> str:
    """What a table may hold, or which kinds of it there are.

    Args:
        field: The table or its `kind`, like `arrivals` or `arrivals.kind`; empty for the scenario itself.
        content: The scenario as TOML has it.

    Returns:
        Empty where it is neither.
    """
    structs: list[inspect.StructType] = [_struct(inspect.type_info(Scenario))]
    for name in [name for name in field.split(".") if name not in ("", "kind")]:
        content = content.get(name, {}) if isinstance(content, dict) else {}
        found = [one for struct in structs for one in struct.fields if one.encode_name == name]
        structs = [struct for one in found for struct in _structs(one.type)]
        chosen = [struct for struct in structs if isinstance(content, dict) and struct.tag == content.get("kind")]
        structs = chosen or structs
    if len(structs) == 1:
        names = ["kind"] if structs[0].tag else []
        return f"expected one of {', '.join([*names, *(one.encode_name for one in structs[0].fields)])}"
    return f"expected the kind {', '.join(str(struct.tag) for struct in structs)}" if structs else ""


def _structs(of: inspect.Type) -> list[inspect.StructType]:
    types = of.types if isinstance(of, inspect.UnionType) else (of,)
    return [one for one in types if isinstance(one, inspect.StructType)]


def _struct(of: inspect.Type) -> inspect.StructType:
    assert isinstance(of, inspect.StructType)  # noqa: S101 - asked of a struct
    return of
