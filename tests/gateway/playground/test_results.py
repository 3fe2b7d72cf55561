"""The results in a real browser: queue, history, downloads, comparison, grids, models, outages."""

from __future__ import annotations

import asyncio
import json
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.gateway.chromium import CONTROL, Page
from tests.support.gateway.fakes import FakeService, Service, config, image, running_gateway, running_service
from tests.support.gateway.playground import IDLE, TEXT, VISIBLE, ControlledService, png, press_button
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow]

COUNT = "document.querySelectorAll('#images li').length"
PLACE = "document.querySelector({!r}).getBoundingClientRect().top < innerHeight ? 'in the window' : 'elsewhere'"
# Puts {} images into the history, in one transaction.
FILL = """(async () => {{
    const canvas = new OffscreenCanvas(8, 8);
    canvas.getContext("2d").fillRect(0, 0, 8, 8);
    const blob = await canvas.convertToBlob();
    const opening = indexedDB.open("tintype-images");
    await new Promise((resolve) => (opening.onsuccess = resolve));
    const transaction = opening.result.transaction(["images", "thumbs", "files"], "readwrite");
    const [images, thumbs, files] = ["images", "thumbs", "files"].map((name) => transaction.objectStore(name));
    for (let number = 0; number < {}; number++) {{
        const request = {{ prompt: number % 10 ? `a lake ${{number}}` : `a hill ${{number}}`, seed: number }};
        const id = String(number).padStart(9, "0");
        images.put({{ id, type: blob.type, request, created: number, width: 8, height: 8, favourite: false }});
        thumbs.put(blob, id);
        files.put({{ blob, request }}, id);
    }}
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    opening.result.close();
}})()"""


class PaintingService:
    """A service whose images have one colour for each number of steps; prompts with "wait" wait for the test."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        yield pb.StreamImagesResponse(queued=pb.Queued(position=0))
        if "wait" in request.prompt:
            await self.go_on.wait()
        colour = (10 * request.steps, 100, round(10 * request.guidance_scale))
        for index in range(request.count or 1):
            yield image(index, data=png(colour), seed=request.seed + index)
        yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))


async def fill(page: Page, **fields: Any) -> None:
    """Fill fields of the form, as typing does."""
    for name, value in fields.items():
        field = f"document.querySelector('#{name}')"
        await page.run(f"({field}.value = {json.dumps(value)}, {field}.dispatchEvent(new Event('input')))")


async def make(page: Page, prompt: str, **fields: Any) -> None:
    """Queue a request."""
    await fill(page, prompt=prompt, **fields)
    await page.press("Enter", CONTROL)


async def downloaded(folder: Path, pattern: str) -> bytes:
    """Return the file that Chromium saves under such a name; it renames the file when it is complete."""

    async def look() -> bytes:
        while True:
            for path in await asyncio.to_thread(lambda: list(folder.glob(pattern))):
                return await asyncio.to_thread(path.read_bytes)
            await asyncio.sleep(0.05)

    return await asyncio.wait_for(look(), 20)


async def test_requests_queue_and_cancel_alone(page: Page, fake: FakeService) -> None:
    """Two requests run and a third waits; one is cancelled, the others finish, and a reload has their images."""
    fake.behave = painting = PaintingService()
    for prompt in ("wait one", "wait two", "wait three"):
        await make(page, prompt, seed=len(prompt))
    await page.wait_until("document.querySelectorAll('#queue [data-state=running]').length === 2")
    assert await page.run("document.querySelectorAll('#queue [data-state=waiting]').length") == 1
    assert await page.run(TEXT.format("#queue-title")) == "Queue: 3"
    await page.click("#queue li:nth-child(2) .cancel")
    await asyncio.wait_for(fake.cancelled.wait(), 10)
    await page.wait_until("document.querySelectorAll('#queue li').length === 2")
    await page.wait_until("document.querySelectorAll('#queue [data-state=running]').length === 2")
    painting.go_on.set()
    await page.wait_until(f"{COUNT} === 2 && {IDLE}")
    assert not await page.run(VISIBLE.format("#queue-section"))
    assert sorted(one.prompt for one in fake.requests) == ["wait one", "wait three", "wait two"]
    await page.send("Page.reload")
    await page.wait_until(f"document.readyState === 'complete' && {COUNT} === 2")
    await page.click("#images li:last-child button")
    # Both were finished at once, so either may be the older one.
    await page.wait_until(f"['wait one', 'wait three'].includes({TEXT.format('#shown-prompt')})")
    await page.wait_until("document.querySelector('#shown-image').naturalWidth === 64")


async def test_failed_request_is_tried_again(page: Page, fake: FakeService) -> None:
    """An error stays at its request, which can be tried again or dismissed; Escape cancels the newest request only."""
    fake.behave = painting = PaintingService()
    await make(page, "wait one")
    await asyncio.wait_for(fake.started.wait(), 10)
    await fill(page, prompt="a broken image")
    fake.behave = _broken
    await page.press("Enter", CONTROL)
    await page.wait_until("document.querySelector('#queue [data-state=failed]')")
    fake.behave = painting
    await page.click("#queue [data-state=failed] button[title^='Try again']")
    await page.wait_until(f"{COUNT} === 1")
    await make(page, "wait two")
    await page.wait_until("document.querySelectorAll('#queue [data-state=running]').length === 2")
    await page.press("Escape")
    await page.wait_until("document.querySelectorAll('#queue li').length === 1")
    assert "wait one" in await page.run(TEXT.format("#queue"))
    await page.press("Escape")
    await page.wait_until(IDLE)


async def _broken(_: pb.GenerateImagesRequest, __: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    yield image(data=b"no image")


async def test_history_is_searched_and_deleted(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A thousand images are listed page by page, found by their prompt, deleted with an undo, and deleted for good."""
    fake.behave = PaintingService()
    await page.run(FILL.format(1000))
    await page.open(str(gateway.base_url))
    await page.wait_until(f"{TEXT.format('#gallery-count')} === '1000'")
    assert 60 <= await page.run(COUNT) < 1000
    await fill(page, **{"gallery-search": "HILL 99"})
    await page.wait_until(f"{TEXT.format('#gallery-count')} === '1 of 1000'")
    await page.click("#images button")
    await page.wait_until(f"{TEXT.format('#shown-prompt')} === 'a hill 990'")
    await page.press("s")
    await page.wait_until("document.querySelector('#images .favourite')")
    await fill(page, **{"gallery-search": ""})
    await page.press("ArrowRight")
    await page.wait_until(f"{TEXT.format('#shown-prompt')} === 'a lake 989'")
    await page.press("Delete")
    await page.wait_until(f"{TEXT.format('#gallery-count')} === '999'")
    await page.wait_until(VISIBLE.format("#toast-act"))
    await page.click("#toast-act")
    await page.wait_until(f"{TEXT.format('#gallery-count')} === '1000'")
    await page.click("#images-delete")
    asked = await page.run(TEXT.format("#delete-text"))
    assert asked == "1000 images will be deleted from this browser, 1 of them favourites."
    await page.click("#delete-confirm")
    await page.wait_until(f"!{VISIBLE.format('#gallery')}")
    await page.wait_until(f"{TEXT.format('#toast-text')} === '1000 images are deleted.'")
    await page.open(str(gateway.base_url))
    await page.wait_until("document.querySelector('#model').options.length === 2")
    assert await page.run(COUNT) == 0


async def test_all_images_are_downloaded(page: Page, fake: FakeService, tmp_path: Path) -> None:
    """Download all gives one archive with each image under its seed and prompt, and the settings of all as JSON."""
    fake.behave = PaintingService()
    await page.set_downloads(tmp_path)
    await make(page, "a lake, by 'é'", seed=41, steps=3, n=2)
    await page.wait_until(f"{COUNT} === 2")
    await page.click("#images-download")
    with zipfile.ZipFile(BytesIO(await downloaded(tmp_path, "tintype-2-images.zip"))) as archive:
        assert archive.testzip() is None
        settings = json.loads(archive.read("settings.json"))
        assert {one["file"] for one in settings} == set(archive.namelist()) - {"settings.json"}
        assert [one["request"]["seed"] for one in settings] == [42, 41]
        assert settings[0]["file"].endswith("-seed42-a-lake-by-é.png")
        assert archive.read(settings[0]["file"]) == png((30, 100, 0))


async def test_two_images_are_compared(page: Page, fake: FakeService) -> None:
    """Two images are compared by the keyboard: a slider divides them, and only what differs is marked."""
    fake.behave = PaintingService()
    for steps in (5, 9):
        await make(page, "a lake", steps=steps, seed=1)
        await page.wait_until(IDLE)
    await page.wait_until(f"{COUNT} === 2")
    await page.run("document.activeElement.blur()")
    await page.press("c")
    await page.wait_until("document.querySelectorAll('#images [aria-pressed=true]').length === 1")
    await page.run("document.querySelector('#images button[aria-pressed=false]').focus()")
    await page.press("Enter")
    await page.wait_until("document.querySelector('#compare').open")
    differing = "[...document.querySelectorAll('#compare .differs')].map((row) => row.innerText.split(/\\s+/)).join()"
    assert await page.run(differing) == "steps,(differs),5,9"
    await page.run("document.querySelector('#compare-split').focus()")
    await page.press("Home")
    assert await page.run("document.querySelector('#compare-frame').style.getPropertyValue('--split')") == "0%"
    await page.press("Escape")
    await page.wait_until("!document.querySelector('#compare').open")


async def test_grid_of_two_settings(page: Page, fake: FakeService, tmp_path: Path) -> None:
    """A grid makes each pair of values with the same seed, is kept as one image, and wrong values are named."""
    fake.behave = PaintingService()
    await page.set_downloads(tmp_path)
    await fill(page, prompt="a lake", seed=3)
    await page.click("#grid-open")
    await page.wait_until("document.querySelector('#grid').open")
    for side, name, values in (("x", "steps", "4, many"), ("y", "guidance_scale", "2-6 (+4)")):
        await page.run(f"document.querySelector('#grid-{side}').value = '{name}'")
        await page.run(f"document.querySelector('#grid-{side}').dispatchEvent(new Event('change'))")
        await fill(page, **{f"grid-{side}-values": values})
    assert await page.run(TEXT.format("#grid-problem")) == "Steps: “many” is not a whole number."
    await fill(page, **{"grid-x-values": "4..100"})
    assert "97 values are too many" in await page.run(TEXT.format("#grid-problem"))
    await fill(page, **{"grid-x-values": "4..5"})
    count = await page.run(TEXT.format("#grid-count"))
    assert count.replace("×", "x") == "2 x 2 = 4 images"  # noqa: RUF001
    await page.click("#grid-start")
    await page.wait_until(f"{IDLE} && {COUNT} === 5")
    assert {(one.steps, one.guidance_scale, one.seed) for one in fake.requests} == {
        (4, 2, 3), (4, 6, 3), (5, 2, 3), (5, 6, 3),
    }  # fmt: skip
    await page.click("#download")
    sheet = Image.open(BytesIO(await downloaded(tmp_path, "*-grid-a-lake.png"))).convert("RGB")
    colours = {colour for count, colour in sheet.getcolors(2**24) or () if count > 1000}
    assert {(40, 100, 20), (50, 100, 20), (40, 100, 60), (50, 100, 60), (255, 255, 255)} == colours


async def test_grid_is_cancelled_as_a_whole(page: Page, fake: FakeService) -> None:
    """One cancel ends all images of a grid."""
    fake.behave = PaintingService()
    await fill(page, prompt="wait for it")
    await page.click("#grid-open")
    await fill(page, **{"grid-x-values": "1-6"})
    await page.click("#grid-start")
    await page.wait_until("document.querySelector('#queue .cancel')")
    await asyncio.wait_for(fake.started.wait(), 10)
    await page.click("#queue .cancel")
    await page.wait_until(f"{TEXT.format('#status')} === 'Cancelled.'")
    assert await page.run("document.querySelectorAll('#queue li').length") == 0
    assert len(fake.requests) <= 2


async def test_reduced_motion_is_honoured(page: Page, fake: FakeService) -> None:
    """Where the user prefers reduced motion, nothing is animated while an image is made, and the page jumps."""
    await page.set_window(390, 844, phone=True, still=True)
    fake.behave = controlled = ControlledService()
    await make(page, "a lake")
    await page.wait_until("document.querySelector('.tile') && document.querySelector('progress:indeterminate')")
    assert await page.run("document.getAnimations().length") == 0
    assert await page.run(PLACE.format("#stage")) == "in the window"
    controlled.started.set()
    controlled.finished.set()
    await page.wait_until(VISIBLE.format("#compare-with"))
    await page.run("scrollTo({ top: 0, behavior: 'instant' })")
    assert await page.run(PLACE.format("#gallery")) == "elsewhere"
    await page.run("document.querySelector('#compare-with').click()")
    assert await page.run(PLACE.format("#gallery")) == "in the window"
    await page.press("Escape")


async def test_models_are_loaded_and_unloaded(page: Page, fake: FakeService) -> None:
    """The list of models shows state, progress and memory while it is open, and loads and unloads."""
    await page.click("#models-open")
    await page.wait_until("document.querySelectorAll('#models-list li').length === 2")
    assert await page.run(TEXT.format("#models-total")) == "0 of 2 in memory"
    await press_button(page, "Load org/large")
    await page.wait_until(f"{TEXT.format('#models-total')} === '1 of 2 in memory, 3.0 GiB of weights'")
    fake.loading["tiny"] = 0.5
    await page.wait_until(f"{TEXT.format('#models-list')}.includes('loading: 50 %')")
    fake.loading.clear()
    await press_button(page, "Unload org/large")
    await page.wait_until(f"{TEXT.format('#models-total')} === '0 of 2 in memory'")
    assert fake.admin_calls == ["load org/large", "unload org/large"]
    await page.press("Escape")


async def test_key_without_rights_is_explained(browser: Page, service: Service, tmp_path: Path) -> None:
    """A wrong key has a message, and one that may not load models says what would be right; aliases are no models."""
    key = create(tmp_path / "keys", "alice")
    async with running_gateway(config(service, tmp_path, keys=tmp_path / "keys", list_aliases=True)) as client:
        await browser.open(str(client.base_url))
        await browser.wait_until(f"{TEXT.format('#banner')}.includes('requires an API key')")
        for typed, ends in (
            ("wrong", "includes('key is wrong')"),
            (key, "trim() && !document.querySelector('#banner').checkVisibility()"),
        ):
            await browser.run(f"document.querySelector('#key').value = {typed!r}")
            await browser.run("document.querySelector('#key').dispatchEvent(new Event('change'))")
            await browser.wait_until(f"{TEXT.format('#banner')}.{ends}")
        await browser.click("#models-open")
        await browser.wait_until("document.querySelector('#models-list button')")
        assert await browser.run(TEXT.format("#models-total")) == "0 of 2 in memory"
        await browser.click("#models-list button")
        await browser.wait_until(f"{TEXT.format('#models-error')}.includes('--admin')")


async def test_requests_wait_for_the_service(page: Page, tmp_path: Path) -> None:
    """While the service is down a banner says so and requests wait; when it is back they are made without a click."""
    async with running_service() as first:
        port = int(first.address.rpartition(":")[2])
        async with running_gateway(config(first, tmp_path)) as client:
            await page.open(str(client.base_url))
            await page.wait_until("document.querySelector('#model').options.length === 2")
            await first.server.stop(None)
            await make(page, "a lake")
            await page.wait_until(VISIBLE.format("#banner"))
            await page.wait_until("document.querySelector('#queue .step').textContent === 'Waits for the server'")
            async with running_service(port) as second:
                second.fake.behave = ControlledService.ready()
                await page.wait_until(f"!{VISIBLE.format('#banner')}")
                await page.wait_until(f"{COUNT} === 1")
                assert [one.prompt for one in second.fake.requests] == ["a lake"]
