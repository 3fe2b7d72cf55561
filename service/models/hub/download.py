"""Downloading files of a commit: resumed, in parallel ranges if they are large, checked by size and hash.

A large file arrives in ranges of SEGMENT bytes, several at a time, which are written in order. So a part on disk is
always a prefix, and an interruption loses at most WINDOW ranges. A smaller file, or any file of a server that ignores
ranges, arrives in one stream.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import DamagedFile, HubError
from .part_file import PartFile
from .transport import RETRIED, Busy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    import httpx

    from .cache import CachedRepository
    from .listing import ListedFile
    from .transport import Transport

SEGMENT = 8 << 20  # bytes
WINDOW = 4  # ranges of one file at a time
CONNECTIONS = 8  # at a time, for all files
WRITTEN_AT_ONCE = 1 << 20  # bytes
XET_ONLY = 50 * 10**9  # bytes; the hub may send larger files by xet's protocol alone
_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")


class RangesIgnored(Exception):  # not an error of the user
    """The server answered a request for a range with the whole file."""


@dataclass(slots=True)
class Transfer:
    """How far a download is.

    `sizes` are the bytes on disk by path; `waiting` is a file that another process is downloading, empty for none.
    """

    total: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    waiting: str = ""

    @property
    def done(self) -> int:
        """Bytes on disk."""
        return sum(self.sizes.values())


class Downloader:
    """Downloads files of one commit into the cache, and reports to a Transfer."""

    def __init__(self, transport: Transport, repository: CachedRepository, commit: str, transfer: Transfer) -> None:
        self._transport, self._repository, self._commit, self._transfer = transport, repository, commit, transfer
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._ranges_work = True

    async def fetch(self, path: str, file: ListedFile) -> None:
        """Make a file part of the snapshot. Raises HubError; what has arrived stays for the next attempt."""
        repository = self._repository

        def waiting() -> None:
            self._transfer.sizes[path], self._transfer.waiting = repository.bytes_here(file), path

        async with repository.lock(file, waiting):
            self._transfer.waiting = ""
            if not repository.is_complete(file):
                with PartFile(repository.part(file), file) as part, _advice(file):
                    await part.resume()
                    await self._complete(path, part)
                    await part.finish(repository.blob(file))
            self._transfer.sizes[path] = file.size
            repository.link(self._commit, path, file)

    async def _complete(self, path: str, part: PartFile) -> None:
        """Receive what is missing, and once more from the start if the hash is wrong. Raises HubError."""
        for _ in range(2 + bool(part.size)):  # an earlier part may be damaged as well
            await self._receive(path, part)
            digest = part.digest
            if digest == part.listed.digest:
                return
            part.restart()
        part.discard()
        kind = "SHA-256" if part.listed.sha256 else "git SHA-1"
        raise DamagedFile(f"{self._what(path)}: its {kind} is {digest}, but the hub lists {part.listed.digest}")

    async def _receive(self, path: str, part: PartFile) -> None:
        """Receive what is missing. Raises HubError."""
        try:
            if self._ranges_work and part.listed.size - part.size > SEGMENT:
                await self._receive_ranges(path, part)
        except RangesIgnored:
            self._ranges_work = False
        await self._receive_stream(path, part)

    async def _receive_ranges(self, path: str, part: PartFile) -> None:
        """Receive the rest in ranges, several at a time, and write them in order."""
        pending: deque[asyncio.Task[bytearray]] = deque()
        size = part.listed.size
        try:
            for start in range(part.size, size, SEGMENT):
                pending.append(asyncio.create_task(self._range(path, start, min(start + SEGMENT, size), size)))
                if len(pending) == WINDOW:
                    await self._append(path, part, await pending.popleft())
            while pending:
                await self._append(path, part, await pending.popleft())
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _range(self, path: str, start: int, end: int, size: int) -> bytearray:
        """Return the bytes from `start` to before `end` of a file of `size` bytes. Raises HubError, RangesIgnored."""
        data, retries = bytearray(), self._transport.retries(self._what(path))
        while len(data) < end - start:
            at = start + len(data)
            try:
                async with self._connections, self._get(path, f"{at}-{end - 1}") as response:
                    if response.status_code != 206:
                        raise RangesIgnored
                    self._check_range(path, response, at, size)
                    await self._collect(path, response, data, end - start)
            except RETRIED as error:
                if start + len(data) > at:
                    retries.reset()
                await retries.wait(error)
        return data

    async def _collect(self, path: str, response: httpx.Response, data: bytearray, size: int) -> None:
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > size:
                raise DamagedFile(f"{self._what(path)}: the hub sent a longer range than {size:,} bytes")
        if len(data) < size:
            raise Busy("the connection ended early")

    async def _receive_stream(self, path: str, part: PartFile) -> None:
        """Receive the rest in one response, or in as many as it takes."""
        retries = self._transport.retries(self._what(path))
        while part.size < part.listed.size:
            at = part.size
            try:
                async with self._connections, self._get(path, f"{at}-" if at else "") as response:
                    if at and response.status_code != 206:
                        part.restart()
                    elif at:
                        self._check_range(path, response, at, part.listed.size)
                    await self._write(path, response, part)
            except RETRIED as error:
                if part.size > at:
                    retries.reset()
                await retries.wait(error)

    async def _write(self, path: str, response: httpx.Response, part: PartFile) -> None:
        """Append the body of a response; what has arrived is kept even if the connection breaks."""
        data = bytearray()
        try:
            async for chunk in response.aiter_bytes():  # with a size, httpx would lose the last bytes of a broken one
                data += chunk
                if part.size + len(data) > part.listed.size:
                    data = bytearray()
                    part.discard()
                    raise DamagedFile(
                        f"{self._what(path)}: more bytes than the {part.listed.size:,} that the hub lists"
                    )
                if len(data) >= WRITTEN_AT_ONCE:
                    full, data = data, bytearray()
                    await self._append(path, part, full)
        finally:
            part.append_now(data)
            self._transfer.sizes[path] = part.size
        if part.size < part.listed.size:
            raise Busy("the connection ended early")

    async def _append(self, path: str, part: PartFile, data: bytearray) -> None:
        await part.append(data)
        self._transfer.sizes[path] = part.size

    def _check_range(self, path: str, response: httpx.Response, at: int, size: int) -> None:
        """Raise DamagedFile unless a partial response begins at `at` and is of a file of `size` bytes."""
        match = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if not match or int(match[1]) != at or match[2] not in {"*", str(size)}:
            got = response.headers.get("content-range", "")[:100]
            raise DamagedFile(f"{self._what(path)}: range must begin at {at} of {size} bytes; got {got!r}")

    def _get(self, path: str, span: str) -> AbstractAsyncContextManager[httpx.Response]:
        url = self._transport.settings.content(self._repository.repository, self._commit, path)
        return self._transport.get(url, self._what(path), span=span)

    def _what(self, path: str) -> str:
        return f"{self._repository.repository}/{path}"


@contextmanager
def _advice(file: ListedFile) -> Iterator[None]:
    """Add to the error of a huge file how it can be downloaded."""
    try:
        yield
    except HubError as error:
        if file.size <= XET_ONLY:
            raise
        advice = "the hub may send files above 50 GB by xet's protocol alone; `hf download` fills the same cache"
        raise HubError(f"{error}; {advice}") from error
