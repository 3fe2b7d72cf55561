"""A page in headless Chromium, controlled by the DevTools protocol over a pair of pipes, without a driver.

Source: https://chromedevtools.github.io/devtools-protocol/; with `--remote-debugging-pipe` Chromium reads commands from
file descriptor 3 and writes responses and events to 4, each as JSON that ends in a zero byte.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.gateway.page import CONTROL, Page
from tests.support.tools import chromium

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["CONTROL", "Page", "open_browser"]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--remote-debugging-pipe",
)
# Moves the pipes to the file descriptors that Chromium uses.
LAUNCHER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
MAX_MESSAGE = 2**26  # bytes of one message


@asynccontextmanager
async def open_browser(profile: Path) -> AsyncIterator[Page]:
    """Start Chromium with the empty folder `profile` as its profile; yield a page. Skip the test without it."""
    program = str(chromium())
    browser_input, own_output = _pipe()
    own_input, browser_output = _pipe()
    command = (sys.executable, "-c", LAUNCHER, str(browser_input), str(browser_output), program, *FLAGS)
    process = await asyncio.create_subprocess_exec(
        *command,
        f"--user-data-dir={profile}",
        pass_fds=(browser_input, browser_output),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(browser_input)
    os.close(browser_output)
    reader = asyncio.StreamReader(limit=MAX_MESSAGE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(own_input, "rb")
    )
    page = Page(reader, own_output)
    listening = asyncio.create_task(page.listen())
    try:
        await page.attach()
        yield page
    finally:
        os.close(own_output)  # Chromium ends when this pipe closes
        await process.wait()
        await listening
        transport.close()


def _pipe() -> tuple[int, int]:
    """Return a pipe whose descriptors are not 3 and 4, which are assigned later."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
