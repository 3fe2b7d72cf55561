"""A page in headless Chromium, controlled by the DevTools protocol over a pair of pipes, without a driver.

Source: https://chromedevtools.github.io/devtools-protocol/; with `--remote-debugging-pipe` Chromium reads commands from
file descriptor 3 and writes responses and events to 4, each as JSON that ends in a zero byte.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import itertools
import json
import os
import shutil
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
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
CONDITION_TIMEOUT = 30.0  # seconds to wait for a condition
MAX_MESSAGE = 2**26  # bytes of one message
CONTROL = 2  # the modifier, in the protocol's bits


class Page:
    """One page; `errors` lists exceptions and console errors."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self.errors: list[str] = []
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._session: dict[str, str] = {}

    async def attach(self) -> None:
        """Open a page and listen to it."""
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")

    async def send(self, method: str, **params: Any) -> Any:
        """Send one command and return its result."""
        number = next(self._numbers)
        self._pending[number] = response = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params, **self._session}
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        reply = await asyncio.wait_for(response, CONDITION_TIMEOUT)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    async def listen(self) -> None:
        """Receive answers and events until Chromium ends."""
        while True:
            try:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            except asyncio.IncompleteReadError:
                return
            if message.get("id") in self._pending:
                self._pending.pop(message["id"]).set_result(message)
            self.errors += _page_errors(message)

    async def open(self, url: str) -> None:
        """Load a page."""
        await self.send("Page.navigate", url=url)
        await self.wait_until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """Return the value of an expression, awaited."""
        result = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def wait_until(self, script: str) -> None:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(CONDITION_TIMEOUT):
                while not await self.run(f"Boolean({script})"):  # noqa: ASYNC110 - the page can't call us
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(
                f"never true: {script}; the page shows: {await self.run('document.body.innerText')}; {self.errors}"
            ) from None

    async def type(self, where: str, text: str) -> None:
        """Focus a field and type into it."""
        await self.run(f"document.querySelector({json.dumps(where)}).focus()")
        await self.send("Input.insertText", text=text)

    async def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key."""
        code = {"Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" and not modifiers else {}  # without it no button is pressed
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        await self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **named, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    async def set_window(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Set the window's size in pixels, and its colour scheme."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self) -> bytes:
        """Return the window as a PNG file."""
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])


def _page_errors(message: dict[str, Any]) -> list[str]:
    """Return the errors that an event reports: exceptions, and violations of the content policy."""
    if message.get("method") == "Runtime.exceptionThrown":
        return [json.dumps(message["params"]["exceptionDetails"])]
    entry = message.get("params", {}).get("entry", {})
    is_error = message.get("method") == "Log.entryAdded" and entry["level"] == "error" and entry["source"] != "network"
    return [entry["text"]] if is_error else []


@asynccontextmanager
async def open_browser(profile: Path) -> AsyncIterator[Page]:
    """Start Chromium with the empty folder `profile` as its profile; yield a page."""
    browser_input, own_output = _pipe()
    own_input, browser_output = _pipe()
    command = (sys.executable, "-c", LAUNCHER, str(browser_input), str(browser_output), str(CHROMIUM), *FLAGS)
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
