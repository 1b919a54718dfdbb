"""What a front says of itself and of the model: questions that cost no generating."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nemotron_front.models import Models

VERSION = version("nemotron-triton")


def routes(models: Models) -> list[Route]:
    """Their routes, which raise ApiError and NemotronError."""

    async def listed(_: Request) -> Response:
        return JSONResponse(await models.list())

    async def one(request: Request) -> Response:
        return JSONResponse(await models.one(request.path_params["name"]))

    async def metadata(_: Request) -> Response:
        return JSONResponse(await _metadata(models))

    async def release(_: Request) -> Response:
        return JSONResponse({"release": VERSION, "api": VERSION})

    async def short(_: Request) -> Response:
        return JSONResponse({"version": VERSION})

    return [
        Route("/v1/models", listed),
        Route("/v1/models/{name:path}", one),  # a name has a slash, which clients send as it is or as %2F
        Route("/v1/metadata", metadata),
        Route("/v1/version", release),
        Route("/version", short),
    ]


async def _metadata(models: Models) -> dict[str, object]:
    """NIM's description of a deployment. What has no meaning here is empty."""
    info, name = await models.info(), await models.resolve()
    return {
        "version": VERSION,
        "modelInfo": [{"shortName": name, "modelUrl": ""}],
        "selectedModelProfileId": info.package if info else "",
        "assetInfo": [],
        "licenseInfo": {"name": "", "path": "", "sha": "", "size": 0, "url": "", "type": "", "content": ""},
        "repository_override": "",
    }
