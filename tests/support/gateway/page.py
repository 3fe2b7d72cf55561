"""A page of Chromium as a person uses it: mouse, touch, keys, files, colour scheme, downloads, screenshots.

Source: https://chromedevtools.github.io/devtools-protocol/; each command, response and event is JSON that ends in a
zero byte.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONDITION_TIMEOUT = 90.0  # seconds to wait for a condition: machines may be busy
ALT, CONTROL, SHIFT = 1, 2, 8  # modifiers, in the protocol's bits
# Virtual key codes of keys that type no character.
KEY_CODES = {
    "Backspace": 8,
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "PageUp": 33,
    "PageDown": 34,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Delete": 46,
}
CENTRE = """(() => {{
    const element = document.querySelector({});
    element.scrollIntoView({{ block: "center", inline: "center", behavior: "instant" }});
    const {{ x, y, width, height }} = element.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
}})()"""
Point = tuple[float, float]


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
        for domain in ("Page", "Runtime", "Log", "DOM"):
            await self.send(f"{domain}.enable")

    async def send(self, method: str, **params: Any) -> Any:
        """Send one command and return its result."""
        number = next(self._numbers)
        self._pending[number] = response = asyncio.get_running_loop().create_future()
        session = {} if method.startswith("Browser.") else self._session
        os.write(
            self._writer, json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0"
        )
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
            if message.get("id") in self._pending and not self._pending[message["id"]].done():
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
        """Press and release a key: a name of KEY_CODES, or the character that it types."""
        code = KEY_CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
        typed = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        text = {"text": typed} if typed and not modifiers & ~SHIFT else {}  # without it nothing is typed or pressed
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        await self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **named, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    async def centre(self, where: str) -> Point:
        """Return the centre of an element in pixels of the window, into which it is scrolled."""
        x, y = await self.run(CENTRE.format(json.dumps(where)))
        return x, y

    async def click(self, where: str, modifiers: int = 0) -> None:
        """Click on the centre of an element with the mouse."""
        await self.drag([await self.centre(where)], modifiers)

    async def drag(self, points: Sequence[Point], modifiers: int = 0, *, steps: int = 4) -> None:
        """Press the mouse's button at the first point, move it over the others, and release it at the last.

        The points are in pixels of the window; each way between two of them has `steps` events.
        """
        held = {"button": "left", "clickCount": 1, "modifiers": modifiers}
        await self._mouse("mouseMoved", points[0], modifiers=modifiers)
        await self._mouse("mousePressed", points[0], **held)
        for point in _path(points, steps):
            await self._mouse("mouseMoved", point, buttons=1, **held)
        await self._mouse("mouseReleased", points[-1], **held)

    async def wheel(self, where: str, down: float, modifiers: int = 0) -> None:
        """Turn the mouse's wheel over the centre of an element, by so many pixels."""
        await self._mouse("mouseWheel", await self.centre(where), deltaX=0, deltaY=down, modifiers=modifiers)

    async def _mouse(self, kind: str, at: Point, **fields: Any) -> None:
        await self.send("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], **fields)

    async def touch(self, *fingers: Sequence[Point], steps: int = 4) -> None:
        """Put each finger on its first point, move all over their other points, and lift them."""
        paths = [[finger[0], *_path(finger, steps)] for finger in fingers]
        for index, places in enumerate(zip(*paths, strict=True)):
            touches = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
            kind = "touchMove" if index else "touchStart"
            await self.send("Input.dispatchTouchEvent", type=kind, touchPoints=touches)
        await self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def choose_files(self, where: str, *files: Path) -> None:
        """Select files in a file field, as its dialog does."""
        found = await self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(where)})")
        await self.send("DOM.setFileInputFiles", files=list(map(str, files)), objectId=found["result"]["objectId"])

    async def set_downloads(self, folder: Path) -> None:
        """Keep what the page downloads in a folder, without a question."""
        await self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    async def set_window(
        self, width: int, height: int, *, dark: bool = False, phone: bool = False, still: bool = False
    ) -> None:
        """Set the window's size in pixels, its colour scheme, touch on a phone, and whether motion is reduced."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        await self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        listed = [{"name": name, "value": value} for name, value in features.items()]
        await self.send("Emulation.setEmulatedMedia", features=listed)

    async def overflow(self) -> float:
        """Return by how many pixels the page is wider than the window."""
        width = await self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return float(width)

    async def screenshot(self, *, whole: bool = False) -> bytes:
        """Return the window, or the whole page, as a PNG file."""
        clip = {}
        if whole:
            size = (await self.send("Page.getLayoutMetrics"))["cssContentSize"]
            clip = {"clip": {**size, "scale": 1}, "captureBeyondViewport": True}
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png", **clip))["data"])


def _path(points: Sequence[Point], steps: int) -> list[Point]:
    """Return the points between and at the ends of each way, without the first."""
    return [
        (ax + (bx - ax) * step / steps, ay + (by - ay) * step / steps)
        for (ax, ay), (bx, by) in itertools.pairwise(points)
        for step in range(1, steps + 1)
    ]


def _page_errors(message: dict[str, Any]) -> list[str]:
    """Return the errors that an event reports: exceptions, and violations of the content policy."""
    if message.get("method") == "Runtime.exceptionThrown":
        return [json.dumps(message["params"]["exceptionDetails"])]
    entry = message.get("params", {}).get("entry", {})
    is_error = message.get("method") == "Log.entryAdded" and entry["level"] == "error" and entry["source"] != "network"
    return [entry["text"]] if is_error else []
