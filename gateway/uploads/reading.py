"""Read the images of requests.

An image is bytes, base64, a `data:` URL, a URL, or a result link of this gateway. It may have tens of megabytes, so
base64 is decoded and headers are read in threads.
"""

from __future__ import annotations

import asyncio
import binascii
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from PIL import ImageChops

from tintype.v1 import image_file, image_header
from tintype.v1.image_parts import BadImage
from tintype.v1.limits import MAX_FILES

from ..errors import ImageNotFetched, InvalidImage, NoSuchFile
from ..http.body_limits import hold_bytes
from .fetch import Fetcher, FetchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config import GatewayConfig
    from ..results.store import Store

ImageSource: TypeAlias = str | bytes

PARALLEL = 4  # images of one request that are read at a time
FETCH_TIMEOUT = 15.0  # seconds for one image, redirects included
MAX_SCHEME = 64  # most characters of a URL before its first colon
REPAINT_LEVEL = 128  # level of transparency, 0..255, from which the service repaints
_BRACKETS = str.maketrans("", "", "[]")  # removes the brackets of IPv6 addresses
_SAFE = str.maketrans("-_", "+/", " \t\r\n")  # URL-safe base64 to plain, without white space


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Reads images; without a `fetcher`, images by URL are refused."""

    store: Store
    fetcher: Fetcher | None = None

    @classmethod
    def from_config(cls, config: GatewayConfig, store: Store) -> ImageReader:
        """Return a reader with the configured limits; the store's public host may always be fetched from."""
        names = [*config.fetch_hosts, *([urlsplit(config.store_public).netloc] if config.store_public else [])]
        hosts = frozenset(host.lower().translate(_BRACKETS) for host in names)
        fetcher = Fetcher(max_bytes=config.fetch_bytes, timeout=FETCH_TIMEOUT, hosts=hosts)
        return cls(store, fetcher if config.fetch else None)

    async def read(self, source: ImageSource, param: str, base: str) -> bytes:
        """Return the file of an image; `base` is the gateway's own URL.

        Raises InvalidImage for `param` if the file is unreadable, ImageNotFetched if a URL does not lead to an image.
        """
        data = source if isinstance(source, bytes) else await self._file(source, param, base)
        await asyncio.to_thread(check_image, data, param)
        return data

    async def read_all(self, sources: Mapping[str, tuple[str, ImageSource]], base: str) -> dict[str, bytes]:
        """Return the files of a request's images; `sources` has a name for errors and a source by key.

        A few are read at a time. Raises InvalidImage as `read` does, for the first unreadable one in order, and if all
        together are too large.
        """
        slots, total = asyncio.Semaphore(PARALLEL), 0

        async def read_one(param: str, source: ImageSource) -> bytes:
            nonlocal total
            async with slots:
                data = await self.read(source, param, base)
            total += len(data)
            if total > MAX_FILES:
                raise InvalidImage(param, f"must have at most {MAX_FILES} bytes together with the other images")
            return data

        tasks = [asyncio.create_task(read_one(*named)) for named in sources.values()]
        try:
            return dict(zip(sources, [await task for task in tasks], strict=True))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _file(self, text: str, param: str, base: str) -> bytes:
        text = text.strip()
        if text[:5].lower() == "data:":
            return await asyncio.to_thread(decode_data_url, text, param)
        if ":" not in text[:MAX_SCHEME]:  # base64 has no colon; every URL has one there
            return await asyncio.to_thread(decode_base64, text, param)
        result_base = f"{base}/files/"
        if text.startswith(result_base):
            return await self._read_result(text.removeprefix(result_base), param)
        return await self._fetch(text, param)

    async def _read_result(self, rest: str, param: str) -> bytes:
        access, _, name = rest.partition("/")
        try:
            data = (await self.store.open(name, access)).data
        except NoSuchFile as error:
            raise ImageNotFetched(param, "is a link to a result that does not exist or has expired") from error
        hold_bytes(len(data))
        return data

    async def _fetch(self, url: str, param: str) -> bytes:
        if self.fetcher is None:
            raise ImageNotFetched(param, "must be base64 or a 'data:' URL; this server does not fetch images by URL")
        try:
            return await self.fetcher.fetch(url)
        except FetchError as error:
            raise ImageNotFetched(param, f"must be the URL of an image: {error}") from error


def check_image(data: bytes, param: str) -> None:
    """Raise InvalidImage for `param` unless the service can read the file."""
    try:
        image_header.check(data)
    except BadImage as error:
        raise InvalidImage(param, str(error)) from error


def transparency_mask(data: bytes, param: str) -> bytes:
    """Return a PNG mask that repaints an image's transparent parts; empty if it has none.

    Decodes the image: call it in a thread. Raises InvalidImage for `param`.
    """
    try:
        alpha = image_file.decode(data).alpha if image_header.check(data).alpha else None
    except BadImage as error:
        raise InvalidImage(param, str(error)) from error
    mask = alpha and ImageChops.invert(alpha)
    if mask is None or not mask.point(lambda level: level >= REPAINT_LEVEL).getbbox():
        return b""
    file = BytesIO()
    mask.save(file, "PNG", compress_level=1)
    return file.getvalue()


def decode_data_url(url: str, param: str) -> bytes:
    """Return the bytes of `data:image/png;base64,…`. Raises InvalidImage."""
    head, comma, text = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidImage(param, "must be a 'data:' URL with base64, for example 'data:image/png;base64,…'")
    return decode_base64(text, param)


def decode_base64(text: str, param: str) -> bytes:
    """Return the bytes of base64, with or without padding. Raises InvalidImage."""
    with suppress(ValueError):  # the usual spelling needs no copy of the text, which may be large
        return binascii.a2b_base64(text, strict_mode=True)
    plain = text.translate(_SAFE).rstrip("=")
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:
        raise InvalidImage(param, "must be base64, a 'data:' URL, or a URL") from error
