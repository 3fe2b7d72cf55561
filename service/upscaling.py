"""Images that are enlarged one at a time, on a thread of their own; the device goes on with its work meanwhile."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from .errors import Cancelled, QueueFull
from .images.upscale import UpscaleJob, enlarge
from .images.upscaler import double
from .stages import as_stage

if TYPE_CHECKING:
    from .images.encode import EncodedImage
    from .images.mark import Mark

MAX_WAITING = 32  # images, with the one that is enlarged
RETRY_AFTER = 5.0  # seconds


class Upscaling:
    """Enlarges images. Belongs to one event loop; `close` it after the last call."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tintype-upscale")
        self._waiting = 0

    async def run(self, job: UpscaleJob, mark: Mark | None = None) -> EncodedImage:
        """Return the enlarged image; a cancelled call stops before the next tile.

        Raises:
            QueueFull: too many images wait.
            InvalidField: the file is damaged.
        """
        if self._waiting >= MAX_WAITING:
            raise QueueFull(f"{self._waiting} images wait to be enlarged", retry_after=RETRY_AFTER)
        stopped = Event()
        work = partial(as_stage, "upscale", partial(_enlarge, job, mark, stopped))
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, copy_context().run, work)
        finally:
            stopped.set()
            self._waiting -= 1

    def close(self) -> None:
        """Stop the thread after its present image."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _enlarge(job: UpscaleJob, mark: Mark | None, stopped: Event) -> EncodedImage:
    def check() -> None:
        if stopped.is_set():
            raise Cancelled("the client disconnected")

    return enlarge(job, lambda levels: double(levels, check), mark)
