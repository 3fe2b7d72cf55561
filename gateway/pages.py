"""Pages for people: the playground at `/`, the API's documentation at `/docs`, and the files that both load.

- All of it is in this package: no page asks another server for anything, and the policy lets none.
- Files are read once, at the start. Browsers ask each time whether theirs is still the right one (`no-cache`, ETag):
  so a new version is there at once, and an old one costs a 304.
- `/` is one address for two: whoever asks for HTML is a person, everybody else gets JSON.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from litestar import HttpMethod, Request, Response, route

from .errors import NoSuchPath
from .openapi.operation import JSON, TEXT, Answer, Media, Operation, described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.handlers import HTTPRouteHandler

AnyRequest = Request[Any, Any, Any]
READ = (HttpMethod.GET, HttpMethod.HEAD)  # monitors ask for the second, and every server has it (RFC 9110, 9.1)

HTML = "text/html"
TYPES = {
    ".html": HTML,
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": JSON,
    ".svg": "image/svg+xml",
}
# What a page may do: load its own files, call its own server, show pictures that it was sent. Nothing inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
}

_KEPT = Answer("The file is the one that If-None-Match stands for", headers=("etag",))
ROOT = Operation(
    summary="Tell what is served: the playground for browsers, JSON for others",
    answers={200: Answer("What is served", {JSON: Media({"type": "object"}), HTML: Media(TEXT)}), 304: _KEPT},
    open=True,
)
DOCS = Operation(
    summary="Show the documentation",
    answers={200: Answer("The page", {HTML: Media(TEXT)}, ("etag",)), 304: _KEPT},
    open=True,
)
ASSET = Operation(
    summary="Fetch a file of the pages",
    answers={
        200: Answer("The file", {kind: Media({}) for kind in TYPES.values() if kind != HTML}, ("etag",)),
        304: _KEPT,
    },
    errors=(404, 500),
    open=True,
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, its media type, its entity tag."""

    data: bytes
    mime_type: str
    etag: str


def load() -> dict[str, Asset]:
    """Return the files of the pages by name."""
    folder = files(__package__).joinpath("playground")
    return {file.name: _asset(file.name, file.read_bytes()) for file in folder.iterdir() if file.is_file()}


def pages(landing: bytes) -> list[HTTPRouteHandler]:
    """Return what serves the pages; `landing` is the JSON of `/` for whoever wants no HTML."""
    assets = load()

    @route("/", http_method=READ, opt=described(ROOT))
    async def root(request: AnyRequest) -> Response[bytes]:
        if "text/html" not in request.headers.get("accept", ""):
            return Response(landing, status_code=200, media_type=JSON, headers={"vary": "accept"})
        return _served(assets["index.html"], request, {"vary": "accept"})

    @route("/docs", http_method=READ, opt=described(DOCS))
    async def docs(request: AnyRequest) -> Response[bytes]:
        return _served(assets["docs.html"], request)

    @route("/playground/{name:str}", http_method=READ, opt=described(ASSET))
    async def asset(request: AnyRequest) -> Response[bytes]:
        found = assets.get(str(request.path_params["name"]))
        if found is None or found.mime_type == HTML:
            raise NoSuchPath(f"There is nothing at {request.scope['path'][:200]}.")
        request.state.visit.quiet = True  # a page loads a dozen of them
        return _served(found, request)

    @route("/favicon.ico", http_method=READ, opt=described(ASSET))
    async def favicon(request: AnyRequest) -> Response[bytes]:
        """Browsers request it for a tab that shows JSON or an image."""
        request.state.visit.quiet = True
        return _served(assets["icon.svg"], request)

    return [root, docs, asset, favicon]


def _asset(name: str, data: bytes) -> Asset:
    suffix = name[name.rindex(".") :]
    return Asset(data, TYPES[suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')


def _served(asset: Asset, request: AnyRequest, more: Mapping[str, str] | None = None) -> Response[bytes]:
    headers = {**HEADERS, "etag": asset.etag, **(more or {})}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, media_type=asset.mime_type, headers=headers)
    return Response(asset.data, status_code=200, media_type=asset.mime_type, headers=headers)
