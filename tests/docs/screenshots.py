"""Makes the screenshots of the playground in `docs/images` with the built-in model.

    python -m tests.docs.screenshots [FOLDER]

It runs `tintype up` in an empty folder and uses the page in Chromium as a person does, in about a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.support.gateway.chromium import open_browser
from tests.support.source import ROOT
from tests.support.up import up

if TYPE_CHECKING:
    from tests.support.gateway.page import Page

DESKTOP, TALL, PHONE = (1280, 900), (1280, 1240), (390, 844)
COLOURS = 256  # of a saved file: a page has few, and the file is a third as large
IMAGES = "document.querySelectorAll('#images li').length"
WAITING = "document.querySelector('#queue [data-state=waiting], #queue [data-state=running]')"
PROMPTS = (
    "A city skyline at night with lit windows",
    "A hot air balloon over green hills",
    "A red star on a yellow background",
    "A lighthouse by the sea at night",
    "A forest in autumn by a river",
    "A snowy mountain under a starry sky",
    "A sailing boat on the sea at sunset",
    "A house by a lake in the rain",
    "A serene mountain lake at sunset",
)


class Screens:
    """The page, and the folder in which its screenshots are saved."""

    def __init__(self, page: Page, url: str, folder: Path) -> None:
        self._page, self._url, self._folder = page, url, folder

    async def make(self) -> None:
        """Make all images and screenshots."""
        await self._open(TALL)
        for number, prompt in enumerate(PROMPTS):
            await self._generate(prompt, seed=7 + number)
        await self._save("playground.png")
        await self._page.set_window(*DESKTOP, still=True)
        await self._grid()
        await self._compare()
        await self._open(TALL, dark=True)
        await self._show_newest()
        await self._save("playground-dark.png")
        await self._open(PHONE, phone=True)
        await self._show_newest()
        await self._page.run("document.querySelector('#stage').scrollIntoView()")
        await self._save("playground-phone.png")

    async def _open(self, size: tuple[int, int], *, dark: bool = False, phone: bool = False) -> None:
        await self._page.set_window(*size, dark=dark, phone=phone, still=True)
        await self._page.open(self._url)
        await self._page.wait_until("document.querySelector('#model').options.length > 0")

    async def _generate(self, prompt: str, seed: int) -> None:
        await self._fill("#prompt", prompt)
        await self._fill("#seed", str(seed))
        await self._page.click("#generate")
        await self._page.wait_until(f"!{WAITING}")

    async def _fill(self, where: str, text: str) -> None:
        field = f"document.querySelector({json.dumps(where)})"
        await self._page.run(f"({field}.value = {json.dumps(text)}, {field}.dispatchEvent(new Event('input')))")

    async def _show_newest(self) -> None:
        await self._page.wait_until("document.querySelector('#images li img[src]')")
        await self._page.click("#images li button")
        await self._page.wait_until("document.querySelector('#shown-image').naturalWidth > 0")
        await self._page.run("window.scrollTo(0, 0)")

    async def _compare(self) -> None:
        await self._page.click("#select")
        for number in (1, 2):
            await self._page.click(f"#images li:nth-child({number}) button")
            await self._page.wait_until(
                f"document.querySelector('#selection-text').textContent === '{number} selected'"
            )
        await self._page.click("#selection-compare")
        await self._page.wait_until("document.querySelector('#compare').open")
        await self._save("playground-compare.png")
        await self._page.click("#compare-close")

    async def _grid(self) -> None:
        """Make a grid of steps and guidance."""
        before = await self._page.run(IMAGES)
        await self._page.click("#grid-open")
        await self._page.wait_until("document.querySelector('#grid').open")
        await self._fill("#grid-x-values", "4, 8, 20")
        await self._page.run("document.querySelector('#grid-y').value = 'guidance_scale'")
        await self._page.run("document.querySelector('#grid-y').dispatchEvent(new Event('change'))")
        await self._fill("#grid-y-values", "1.5, 3")
        await self._page.run("document.querySelector('#grid-keep').checked = false")
        await self._page.click("#grid-start")
        await self._page.wait_until(f"{IMAGES} > {before}")
        await self._page.wait_until("document.querySelector('#shown-image').naturalWidth > 600")
        await self._page.run("window.scrollTo(0, 0)")
        await self._save("playground-grid.png")
        await self._page.click("#delete")
        await self._page.wait_until(f"{IMAGES} === {before}")
        await self._page.run("document.querySelector('#toast-close').click()")
        await self._page.wait_until("document.querySelector('#shown-image').naturalWidth < 600")  # the next one

    async def _save(self, name: str) -> None:
        screenshot = Image.open(BytesIO(await self._page.screenshot())).convert("RGB")
        small = screenshot.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
        small.save(self._folder / name, optimize=True)


async def make(folder: Path) -> None:
    """Make the screenshots in `folder`."""
    with tempfile.TemporaryDirectory() as work, up(Path(work), "--no-fetch") as server:
        await asyncio.to_thread(server.read_until, "Ctrl-C stops both.")
        async with open_browser(Path(work) / "chromium") as page:
            await Screens(page, server.url, folder).make()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"))
