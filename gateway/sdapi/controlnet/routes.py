"""Paths of the ControlNet extension, at the root of the host, as its clients read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get

from tintype.v1.limits import MAX_CONTROLS

from ...context import AnyRequest  # noqa: TC001 - Litestar reads it
from ...openapi.operation import JSON, TEXT
from ..operations import described
from .units import NONE, list_names

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ..state import WebUi

BASE = "/controlnet"
VERSION = 3  # of the extension's API, whose fields are read
AUTOMATIC = "ip-adapter-auto"  # the module that leaves the encoding of an IP-Adapter's image to the server
NO_MODEL = "None"
ALL_TYPES = "All"
_NAMES = {"type": "array", "items": TEXT}
_MODELS = (401, 500, 501, 503, 504)


def routes(web: WebUi) -> list[HTTPRouteHandler]:
    """Return the routes below `/controlnet`; the lists are those of the selected model."""
    return [*_list_routes(web), *_fixed_routes(web)]


def _list_routes(web: WebUi) -> list[HTTPRouteHandler]:
    @get(f"{BASE}/model_list", opt=_described("List the ControlNets and IP-Adapters", _MODELS, model_list=_NAMES))
    async def models(request: AnyRequest) -> Response[bytes]:
        return _json({"model_list": list_names(await web.model(request))})

    detail = {"type": "object"}
    summary = "List the modules: there are no preprocessors"

    @get(f"{BASE}/module_list", opt=_described(summary, _MODELS, module_list=_NAMES, module_detail=detail))
    async def modules(request: AnyRequest) -> Response[bytes]:
        names = _modules(list((await web.model(request)).image_adapters))
        return _json({"module_list": names, "module_detail": _details(names)})

    @get(f"{BASE}/control_types", opt=_described("List the kinds of control: one", _MODELS, control_types=detail))
    async def types(request: AnyRequest) -> Response[bytes]:
        model = await web.model(request)
        kind = {
            "module_list": _modules(list(model.image_adapters)),
            "model_list": [NO_MODEL, *list_names(model)],
            "default_option": NONE,
            "default_model": NO_MODEL,
        }
        return _json({"control_types": {ALL_TYPES: kind}})

    return [models, modules, types]


def _fixed_routes(web: WebUi) -> list[HTTPRouteHandler]:
    number = {"type": "integer"}

    @get(f"{BASE}/version", opt=_described("Get the version of the extension's API", (401, 500), version=number))
    async def version(request: AnyRequest) -> Response[bytes]:
        web.owner(request)
        return _json({"version": VERSION})

    # Older clients read the second name.
    counts = {"control_net_unit_count": MAX_CONTROLS, "control_net_max_models_num": MAX_CONTROLS}

    @get(
        f"{BASE}/settings",
        opt=_described("Get the largest number of units", (401, 500), **dict.fromkeys(counts, number)),
    )
    async def settings(request: AnyRequest) -> Response[bytes]:
        web.owner(request)
        return _json(counts)

    return [version, settings]


def _modules(adapters: list[str]) -> list[str]:
    return [NONE, *([AUTOMATIC] if adapters else [])]


def _details(modules: list[str]) -> dict[str, dict[str, Any]]:
    return {name: {"model_free": False, "sliders": []} for name in modules}


def _described(summary: str, errors: tuple[int, ...], **fields: Any) -> dict[str, Any]:
    return described(summary, {"type": "object", "properties": fields, "required": sorted(fields)}, errors)


def _json(body: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(body), media_type=JSON)
