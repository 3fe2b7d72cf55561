"""A content that is arriving: its bytes on disk so far, and their hash."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from .listing import ListedFile

T = TypeVar("T")

READ = 16 << 20  # bytes of an earlier part that are hashed at once


class PartFile:
    """The first `size` bytes of a content, on disk; a context manager.

    The file always holds a prefix of the content, so that a process that is killed loses nothing of it.
    """

    def __init__(self, path: Path, file: ListedFile) -> None:
        self.path, self.listed = path, file
        self.size = 0
        self._hash = file.new_hash()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    async def resume(self) -> None:
        """Take over what an earlier process left."""
        left = os.fstat(self._file.fileno()).st_size
        if left > self.listed.size:
            self.restart()
        while self.size < left <= self.listed.size:
            chunk = await in_thread(partial(self._file.read, READ))
            if not chunk:
                return
            await in_thread(partial(self._hash.update, chunk))
            self.size += len(chunk)

    async def append(self, data: bytes | bytearray) -> None:
        """Write the bytes that follow."""
        await in_thread(partial(self.append_now, data))

    def append_now(self, data: bytes | bytearray) -> None:
        """Write the bytes that follow, without leaving the event loop."""
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            self._hash.update(rest[:written])
            self.size += written
            rest = rest[written:]

    def restart(self) -> None:
        """Drop all bytes."""
        self._file.seek(0)
        self._file.truncate()
        self.size, self._hash = 0, self.listed.new_hash()

    @property
    def digest(self) -> str:
        """The hash of the bytes so far, in hexadecimal."""
        return self._hash.hexdigest()

    async def finish(self, blob: Path) -> None:
        """Rename the complete content to its final name, once it is on the disk."""
        await in_thread(partial(os.fsync, self._file.fileno()))
        self._file.close()  # Windows renames no open file
        self.path.replace(blob)

    def discard(self) -> None:
        """Delete the part."""
        self.restart()
        self._file.close()
        self.path.unlink(missing_ok=True)


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread and wait for its end, also when cancelled: it may use an open file."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
