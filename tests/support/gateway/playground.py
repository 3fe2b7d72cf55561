"""What tests of the playground share: files to choose, a service that waits for the test, expressions of the page."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.support.gateway.chromium import CONTROL, Page
from tests.support.gateway.fakes import FakeService, image
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

# No request waits or runs.
IDLE = "!document.querySelector('#queue [data-state=waiting], #queue [data-state=running]')"
OPEN = "document.querySelectorAll('#form details').forEach((group) => (group.open = true))"
BLUE, GREEN = (0, 0, 255), (0, 128, 0)
VISIBLE = "document.querySelector({!r}).checkVisibility()"
TEXT = "document.querySelector({!r}).textContent"
DROP = """{{
    const data = new DataTransfer();
    const bytes = Uint8Array.from(atob("{}"), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], "lake.png", {{ type: "image/png" }}));
    document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer: data, bubbles: true, cancelable: true }}));
}}"""
CHOOSE = """{{
    const data = new DataTransfer();
    for (const base64 of {}) {{
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        data.items.add(new File([bytes], "lake.png", {{ type: "image/png" }}));
    }}
    const input = document.querySelector({!r});
    input.files = data.files;
    input.dispatchEvent(new Event("change", {{ bubbles: true }}));
}}"""


def png(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> bytes:
    """Return a PNG file of one colour."""
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


class ControlledService:
    """A service that continues when the test lets it."""

    def __init__(self) -> None:
        self.started, self.finished = asyncio.Event(), asyncio.Event()

    @classmethod
    def ready(cls) -> ControlledService:
        """Return one that does not wait."""
        service = cls()
        service.started.set()
        service.finished.set()
        return service

    async def __call__(self, request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        """Send the place in the queue; then step 3 of 6 and a blue preview; then a green image."""
        yield pb.StreamImagesResponse(queued=pb.Queued(position=2))
        await self.started.wait()
        yield pb.StreamImagesResponse(progress=pb.Progress(index=0, step=3, steps=6))
        yield pb.StreamImagesResponse(preview=pb.Preview(data=png(BLUE), mime_type="image/png", width=64, height=64))
        await self.finished.wait()
        yield image(data=png(GREEN), seed=request.seed)
        yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))


async def open_with(page: Page, gateway: httpx.AsyncClient, fake: FakeService, model: str) -> None:
    """Load the page with one model, and open all groups of the form."""
    fake.models = [model]
    await page.open(str(gateway.base_url))
    await page.wait_until(f"document.querySelector('#model').value === {model!r}")
    await page.run(OPEN)
    await page.type("#prompt", "a lake")


async def choose(page: Page, where: str, *files: bytes) -> None:
    """Choose files in a field."""
    await page.run(CHOOSE.format(json.dumps([base64.b64encode(file).decode() for file in files]), where))


async def drop(page: Page, file: bytes) -> None:
    """Drop a file on the page."""
    await page.run(DROP.format(base64.b64encode(file).decode()))


async def press_button(page: Page, label: str) -> None:
    """Focus a button by its accessible name, and press it by the keyboard."""
    await page.run(f"document.querySelector('button[aria-label={json.dumps(label)}]').focus()")
    await page.press("Enter")


async def generate(page: Page, fake: FakeService) -> pb.GenerateImagesRequest:
    """Generate, and return what the service got."""
    before = len(fake.requests)
    await page.press("Enter", CONTROL)
    await page.wait_until(IDLE)
    assert len(fake.requests) == before + 1, await page.run(TEXT.format("#stage"))
    return fake.requests[-1]
