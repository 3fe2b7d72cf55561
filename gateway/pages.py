"""HTML pages: the playground at `/`, the API documentation at `/docs`, and the files that both load.

- All files are in this package: no page loads anything from another server, and the security policy forbids it.
- Files are read once, at start. Browsers revalidate them each time (`no-cache`, ETag): a new version is used at once,
  and an unchanged file is answered with 304.
- `/` returns HTML to clients that accept it, JSON to all others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
from litestar import HttpMethod, Response, route

from .context import AnyRequest  # noqa: TC001 - Litestar reads it
from .dialects import DIALECTS
from .errors import NoSuchPath
from .openapi.examples import page_examples
from .openapi.operation import JSON, TEXT, Media, Operation, ResponseDoc, handler_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from litestar.handlers import HTTPRouteHandler

READ_METHODS = (HttpMethod.GET, HttpMethod.HEAD)  # monitors use HEAD, which every server must support (RFC 9110, 9.1)

HTML = "text/html"
TYPES = {
    ".html": HTML,
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": JSON,
    ".svg": "image/svg+xml",
}
# Pages may load their own files, call their own server and show received images; nothing inline is allowed.
SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
}

_NOT_MODIFIED = ResponseDoc("The file has not changed since the version in If-None-Match", headers=("etag",))
ROOT = Operation(
    summary="List the endpoints: the playground for browsers, JSON for other clients",
    responses={
        200: ResponseDoc("The endpoints", {JSON: Media({"type": "object"}), HTML: Media(TEXT)}),
        304: _NOT_MODIFIED,
    },
    open=True,
)
DOCS = Operation(
    summary="Show the documentation",
    responses={200: ResponseDoc("The page", {HTML: Media(TEXT)}, ("etag",)), 304: _NOT_MODIFIED},
    open=True,
)
ASSET = Operation(
    summary="Fetch a file of the pages",
    responses={
        200: ResponseDoc(
            "The file", {media_type: Media({}) for media_type in TYPES.values() if media_type != HTML}, ("etag",)
        ),
        304: _NOT_MODIFIED,
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


def load_assets() -> dict[str, Asset]:
    """Return the files of the pages by their path below `playground`, such as `form/settings.js`."""
    assets = {name: _asset(name, data) for name, data in _read_files(files(__package__).joinpath("playground"))}
    examples = msgspec.json.encode(page_examples(DIALECTS.values()))
    return assets | {"examples.json": _asset("examples.json", examples)}


def _read_files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read_files(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()


def pages(endpoints: bytes) -> list[HTTPRouteHandler]:
    """Return the routes of the pages; `endpoints` is the JSON of `/` for clients that do not accept HTML."""
    assets = load_assets()
    return [*_page_routes(assets, endpoints), *_asset_routes(assets)]


def _page_routes(assets: Mapping[str, Asset], endpoints: bytes) -> list[HTTPRouteHandler]:
    @route("/", http_method=READ_METHODS, opt=handler_options(ROOT))
    async def root(request: AnyRequest) -> Response[bytes]:
        if "text/html" not in request.headers.get("accept", ""):
            return Response(endpoints, status_code=200, media_type=JSON, headers={"vary": "accept"})
        return _asset_response(assets["index.html"], request, {"vary": "accept"})

    @route("/docs", http_method=READ_METHODS, opt=handler_options(DOCS))
    async def docs(request: AnyRequest) -> Response[bytes]:
        return _asset_response(assets["docs/docs.html"], request)

    return [root, docs]


def _asset_routes(assets: Mapping[str, Asset]) -> list[HTTPRouteHandler]:
    @route("/playground/{name:path}", http_method=READ_METHODS, opt=handler_options(ASSET))
    async def asset(request: AnyRequest) -> Response[bytes]:
        found = assets.get(str(request.path_params["name"]).removeprefix("/"))
        if found is None or found.mime_type == HTML:
            raise NoSuchPath(f"Nothing is served at {request.scope['path'][:200]}.")
        request.state.record.quiet = True  # a page loads a dozen of them
        return _asset_response(found, request)

    @route("/favicon.ico", http_method=READ_METHODS, opt=handler_options(ASSET))
    async def favicon(request: AnyRequest) -> Response[bytes]:
        """Browsers request it for a tab that shows JSON or an image."""
        request.state.record.quiet = True
        return _asset_response(assets["icon.svg"], request)

    return [asset, favicon]


def _asset(name: str, data: bytes) -> Asset:
    suffix = name[name.rindex(".") :]
    return Asset(data, TYPES[suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')


def _asset_response(
    asset: Asset, request: AnyRequest, extra_headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    headers = {**HEADERS, "etag": asset.etag, **(extra_headers or {})}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, media_type=asset.mime_type, headers=headers)
    return Response(asset.data, status_code=200, media_type=asset.mime_type, headers=headers)
