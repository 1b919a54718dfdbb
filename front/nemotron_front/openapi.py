"""What the front answers to, as an OpenAPI document: its paths, and bodies by the tables that read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nemotron_front.errors import invalid
from nemotron_front.models import VERSION
from nemotron_front.reading import Field, Fields, Kind

_TYPES: Mapping[Kind, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "string": {"type": "string"},
    "array of strings": {"type": "array", "items": {"type": "string"}},
    "array of integers": {"type": "array", "items": {"type": "integer"}},
    "array": {"type": "array"},
    "object": {"type": "object"},
}
_NOTHING: dict[str, Any] = {"type": "null"}
"""Of a field that is not there, which every field may be."""


def openapi_route(routes: Iterable[Route], bodies: Mapping[str, Fields], streamed: Iterable[str]) -> Route:
    """The route of the document. See `document`."""

    async def openapi(_: Request) -> Response:
        return JSONResponse(document(routes, bodies, streamed))

    return Route("/openapi.json", openapi)


def document(routes: Iterable[Route], bodies: Mapping[str, Fields], streamed: Iterable[str]) -> dict[str, Any]:
    """An OpenAPI 3.1 document.

    Args:
        routes: What there is.
        bodies: From paths to the fields that a body has there.
        streamed: Paths whose answers may come as server-sent events.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path_format
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation = paths.setdefault(path, {})[method.lower()] = _operation(path, bodies.get(path))
            if path in streamed:
                operation["responses"]["200"]["content"]["text/event-stream"] = {}
            if names := list(route.param_convertors):
                told = {"in": "path", "required": True, "schema": {"type": "string"}}
                operation["parameters"] = [{"name": name, **told} for name in names]
    return {
        "openapi": "3.1.0",
        "info": {"title": "nemotron-front", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": {"Error": _error()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(path: str, body: Fields | None) -> dict[str, Any]:
    failed = {"description": "What is wrong.", "content": _json({"$ref": "#/components/schemas/Error"})}
    answered = {"description": "The answer.", "content": {"application/json": {}}}
    operation: dict[str, Any] = {"responses": {"200": answered, "default": failed}, "tags": [path.split("/")[1]]}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _json(body_schema(body))}
    return operation


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _error() -> dict[str, Any]:
    names = list(invalid(None, "").body["error"])
    properties = {name: {"type": ["string", "null"]} for name in names}
    error = {"type": "object", "required": names, "properties": properties}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def body_schema(fields: Fields) -> dict[str, Any]:
    """The JSON schema of a body. It has no field that would be refused, and no value that would be."""
    return _object(fields.rows, "")


def _object(rows: Iterable[Field], prefix: str) -> dict[str, Any]:
    """The schema of the object whose fields begin with the prefix."""
    within = [row for row in rows if row.name.startswith(prefix)]
    names = dict.fromkeys(row.name[len(prefix) :].partition(".")[0] for row in within)
    properties = {name: _property(within, prefix + name) for name in names}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _property(rows: list[Field], name: str) -> dict[str, Any]:
    """The schema of a field: of its own row, of its parts, or of both."""
    own = [row for row in rows if row.name == name]
    parts = [row for row in rows if row.name.startswith(f"{name}.")]
    schemas = [schema for row in own for schema in _values(row)]
    if parts:
        schemas.append(_object(parts, f"{name}."))
    told = {"description": own[0].doc} if own and own[0].doc else {}
    return told if {} in schemas else {**told, "anyOf": [*schemas, _NOTHING, {"type": "array", "maxItems": 0}]}


def _values(row: Field) -> list[dict[str, Any]]:
    if row.use == "refused":
        return [{"enum": list(row.only)}] if row.only else []
    if row.use == "ignored" or not row.kinds:
        return [{}]
    limits: dict[str, Any] = {}
    if row.range is not None:
        limits |= dict(zip(("minimum", "maximum"), row.range, strict=True))
    if row.values:
        limits["enum"] = list(row.values)
    return [{**_TYPES[kind], **limits} for kind in row.kinds]
