"""Certificates of a server as files (PEM): check them, and notice when they are renewed."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, TypeAlias

from .threads import CallTimeout, Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

WATCH_INTERVAL = 2.0  # seconds between two looks at the files
READ_TIMEOUT = 5.0  # seconds
Stamps: TypeAlias = tuple[tuple[int, int, int] | None, ...]


def pair_problem(cert: Path, key: Path) -> str:
    """Return why a certificate and a key are not a pair; empty if they are. Raises OSError."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as error:
        return f"are not a matching pair: {error.reason or error}"
    return ""


def stamps(paths: Sequence[Path]) -> Stamps:
    """Return values that change with each change of the files; None for a file that is missing."""
    return tuple(map(_stamp, paths))


class FileWatch:
    """Calls `load`, on a thread, when one of the files at `paths` has changed.

    `load` raises an error if it can't use the files; it is logged, and `load` is called again after the next change.
    `loaded` is called after each success. Changes count from when the watch is made, so make it before the files are
    read.
    """

    def __init__(self, paths: Sequence[Path | None], load: Callable[[], None]) -> None:
        self._paths = [path for path in paths if path]
        self._load = load
        self.loaded: Callable[[], object] = lambda: None
        self._stamps = stamps(self._paths)
        self._thread = Threads("tintype-certificates", 1, READ_TIMEOUT)

    def check(self) -> None:
        """Call `load` if a file has changed since the last call."""
        now = stamps(self._paths)
        if now == self._stamps:
            return
        self._stamps = now
        names = ", ".join(map(str, self._paths))
        try:
            self._load()
        except Exception as error:  # noqa: BLE001 - a server outlives any fault of a file
            log.warning("keeping the previous certificates of %s: %s", names, " ".join(str(error).split()))
        else:
            log.info("certificates were renewed: %s", names)
            self.loaded()

    async def run(self) -> None:
        """Check the files regularly, until cancelled."""
        while self._paths:
            await asyncio.sleep(WATCH_INTERVAL)
            try:
                await self._thread.call(self.check)
            except CallTimeout:
                log.debug("the disk of the certificates does not answer")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
