"""The images of a request as a person prepares them: a painted mask, an extended image, the hint of a control."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.support.gateway.page import CONTROL, SHIFT
from tests.support.gateway.playground import (
    BLUE,
    GREEN,
    TEXT,
    VISIBLE,
    ControlledService,
    choose,
    generate,
    open_with,
    png,
)

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from numpy.typing import NDArray

    from tests.support.gateway.fakes import FakeService
    from tests.support.gateway.page import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow]

OPEN = "document.querySelector({!r}).open"
MADE = "!document.querySelector('#control-1-image').validity.customError"
# Chromium starts no drag for the mouse of the protocol.
DRAG = """{
    const [first, last] = document.querySelectorAll("#references li");
    const dataTransfer = new DataTransfer();
    const send = (target, name) => target.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true }));
    send(last, "dragstart");
    send(first, "dragover");
    send(first, "drop");
    send(last, "dragend");
}"""
SIDE = 200  # pixels of the square image on which tests paint


def levels(file: bytes) -> NDArray[np.uint8]:
    """Return the levels [h, w] of a grey image."""
    return np.asarray(Image.open(BytesIO(file)).convert("L"))


async def set_range(page: Page, where: str, value: float) -> None:
    """Set a slider as a person does, with its event."""
    await page.run(f"document.querySelector({where!r}).value = {value}")
    await page.run(f"document.querySelector({where!r}).dispatchEvent(new Event('input'))")


async def open_mask(page: Page) -> None:
    """Choose a square image, and open the dialog in which its mask is painted."""
    await page.type("#prompt", "a lake")
    await choose(page, "#initial-image", png(BLUE, (SIDE, SIDE)))
    await page.wait_until(VISIBLE.format("#mask-open"))
    await page.click("#mask-open")
    await page.wait_until(OPEN.format("#mask-dialog"))


async def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return where a pixel of the image is in the window."""
    left, top = await page.centre("#mask-view")
    box = (
        "(({ width, height }) => Math.min(width, height))(document.querySelector('#mask-view').getBoundingClientRect())"
    )
    scale = (await page.run(box) - 24) / SIDE
    return left + (x - SIDE / 2) * scale, top + (y - SIDE / 2) * scale


async def test_painted_mask_is_sent(page: Page, fake: FakeService) -> None:
    """Brush, eraser, rectangle, undo and invert make the mask that is sent, and "Use these settings" restores it."""
    fake.behave = ControlledService.ready()
    await open_mask(page)
    await set_range(page, "#mask-soft", 0)
    await set_range(page, "#mask-size", 20)
    await page.drag([await place(page, 40, 50), await place(page, 160, 50)])
    await page.press("e")
    await page.drag([await place(page, 100, 50), await place(page, 100, 60)])
    await page.press("r")
    await page.drag([await place(page, 40, 120), await place(page, 80, 180)])
    await page.drag([await place(page, 120, 120), await place(page, 180, 180)])
    await page.press("z", CONTROL)  # without the second rectangle
    await page.press("Escape")
    assert await page.run(TEXT.format("#mask-error")) == "Press Escape again to give up what you painted."
    await page.click("#mask-use")
    await page.wait_until(VISIBLE.format("#mask-preview"))
    assert await page.run("document.querySelector('#strength').value") == "1"
    sent = await generate(page, fake)
    mask = levels(sent.mask)
    assert mask.shape == (SIDE, SIDE)
    assert [mask[y, x] for y, x in ((50, 50), (50, 150), (150, 60))] == [255, 255, 255]
    assert [mask[y, x] for y, x in ((50, 100), (80, 100), (150, 150), (10, 10))] == [0, 0, 0, 0]
    assert 0.10 < (mask >= 128).mean() < 0.14
    assert sent.image == png(BLUE, (SIDE, SIDE))
    await page.wait_until(VISIBLE.format("#reuse"))
    await page.click("#initial-image-remove")
    assert (await generate(page, fake)).mask == b""
    await page.click("#images li:last-child button")
    await page.wait_until(f"{TEXT.format('#shown-settings')}.includes('strength')")
    await page.click("#reuse")
    await page.wait_until(VISIBLE.format("#mask-preview"))
    assert (await generate(page, fake)).mask == sent.mask


async def test_mask_without_a_mouse(page: Page, fake: FakeService, tmp_path: Path) -> None:
    """A mask is painted by keys, given by numbers, by a file and by a finger; two fingers zoom and paint nothing."""
    fake.behave = ControlledService.ready()
    await open_mask(page)
    await set_range(page, "#mask-soft", 0)
    await set_range(page, "#mask-size", 20)
    await page.run("document.querySelector('#mask-view').focus()")
    for _ in range(3):
        await page.press("ArrowRight", SHIFT)
    assert await page.run(TEXT.format("#mask-share")) != "Paint the part of the image to change."
    for name, value in (("x", 0), ("y", 150), ("width", 200), ("height", 50)):
        await page.run(f"document.querySelector('#mask-{name}').value = {value}")
    await page.run("document.querySelector('#mask-add').click()")
    await page.set_window(390, 844, phone=True)
    start = await page.centre("#mask-view")
    before = await page.run(TEXT.format("#mask-share"))
    await page.touch([start, (start[0] - 40, start[1])], [(start[0] + 30, start[1]), (start[0] + 90, start[1])])
    assert await page.run(TEXT.format("#mask-share")) == before
    await page.click("#mask-fit")
    await page.touch([(start[0], start[1] - 100), (start[0] + 30, start[1] - 100)])
    assert await page.run(TEXT.format("#mask-share")) != before
    assert await page.overflow() == 0
    await page.click("#mask-use")
    await page.wait_until(VISIBLE.format("#mask-preview"))
    mask = levels((await generate(page, fake)).mask)
    assert [mask[100, 120], mask[175, 5], mask[100, 20]] == [255, 255, 0]
    half = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 255))
    half.paste((0, 0, 0, 0), (0, 0, SIDE // 2, SIDE))  # transparent is repainted
    half.save(tmp_path / "mask.png")
    png_of_another_shape = tmp_path / "other.png"
    png_of_another_shape.write_bytes(png(BLUE, (50, 20)))
    await page.run("document.querySelector('#mask-open').click()")  # the page may still scroll to the result
    await page.wait_until(OPEN.format("#mask-dialog"))
    await page.choose_files("#mask-file", png_of_another_shape)
    await page.wait_until(f"{TEXT.format('#mask-error')}.startsWith('The mask must have the shape of the image')")
    await page.choose_files("#mask-file", tmp_path / "mask.png")
    await page.wait_until(f"{TEXT.format('#mask-share')} === '50 % of the image will be repainted.'")
    await page.click("#mask-use")
    await page.wait_until(f"!{OPEN.format('#mask-dialog')}")
    mask = levels((await generate(page, fake)).mask)
    assert [mask[10, 50], mask[10, 150]] == [255, 0]


async def test_image_is_extended(page: Page, fake: FakeService) -> None:
    """The sides of a finished image are dragged or typed; the larger image is sent with its new part masked."""
    fake.behave = ControlledService.ready()
    await page.type("#prompt", "a lake")
    await generate(page, fake)
    await page.wait_until(VISIBLE.format("#extend"))
    await page.click("#extend")
    await page.wait_until(OPEN.format("#extend-dialog"))
    await page.click("#extend-none")
    await page.click("#extend-use")
    assert (await page.run(TEXT.format("#extend-error"))).startswith("Nothing is added yet")
    box = await page.run(
        "(({ left, right, top, bottom, height }) => [right, top + height / 2, height])"
        "(document.querySelector('#extend-view').getBoundingClientRect())"
    )
    middle = (await page.centre("#extend-view"))[0]
    scale = (box[2] - 24) / 64
    await page.drag([(middle + 32 * scale, box[1]), (middle + 32 * scale + 20, box[1])])
    assert int(await page.run("document.querySelector('#extend-right').value")) % 8 == 0
    await page.run("document.querySelector('#extend-unit').value = '%'")
    for side, percent in (("right", 50), ("top", 30)):
        await page.run(f"document.querySelector('#extend-{side}').value = {percent}")
        await page.run(f"document.querySelector('#extend-{side}').dispatchEvent(new Event('change'))")
    assert (await page.run(TEXT.format("#extend-size"))).startswith("96 \u00d7 88 pixels")
    await page.run("document.querySelector('#extend-fill').value = 'edges'")
    await page.click("#extend-use")
    await page.wait_until(VISIBLE.format("#mask-preview"))
    sent = await generate(page, fake)
    image, mask = Image.open(BytesIO(sent.image)).convert("RGB"), levels(sent.mask)
    assert image.size == (96, 88)
    assert [image.getpixel(at) for at in ((10, 80), (90, 5))] == [(0, 128, 0), (0, 128, 0)]
    assert [mask[10, 50], mask[60, 90], mask[80, 10]] == [255, 255, 0]
    assert 0 < mask[80, 62] < 255, "the overlap is soft"
    assert (sent.width, sent.strength) == (0, 1)


async def test_hint_is_made(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The page makes the edges that a ControlNet follows and shows them; inverted, or as it is, the image is sent."""
    fake.behave = ControlledService.ready()
    await open_with(page, gateway, fake, "guided")
    square = Image.new("L", (96, 64), 20)
    square.paste(230, (32, 16, 64, 48))
    file = BytesIO()
    square.convert("RGB").save(file, "PNG")
    await page.run("document.querySelector('#controls-add').click()")
    await choose(page, "#controls [type=file]", file.getvalue())
    await page.wait_until("document.querySelectorAll('.hint-images img')[1].naturalWidth === 96")
    edges = levels((await generate(page, fake)).controls[0].image)
    assert edges.shape == (64, 96)
    assert set(edges[20:44, 28:36].max(1)) == {255}, "the left side of the square is an edge"
    assert edges[20:44, 38:58].max() == edges[:, :28].max() == 0, "and nothing else near it"
    assert (edges[30] == 255).sum() == 2, "which is one pixel wide"
    await page.click("#control-1-hint-invert")
    await page.wait_until(
        VISIBLE.format("#controls") + " && !document.querySelector('#control-1-image').validity.customError"
    )
    inverted = levels((await generate(page, fake)).controls[0].image)
    assert (inverted == 255 - edges).all()
    await page.click("#control-1-hint-invert")
    await page.run("document.querySelector('#control-1-hint-kind').value = 'none'")
    await page.run("document.querySelector('#control-1-hint-kind').dispatchEvent(new Event('change', {bubbles: true}))")
    await page.wait_until(MADE)
    assert (await generate(page, fake)).controls[0].image == file.getvalue()


async def test_references_are_dragged(page: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A reference image that is dragged onto another one takes its place."""
    fake.behave = ControlledService.ready()
    await open_with(page, gateway, fake, "both")
    await choose(page, "#references-input", png(BLUE), png(GREEN))
    await page.wait_until("document.querySelectorAll('#references li').length === 2")
    await page.run(DRAG)
    assert list((await generate(page, fake)).references) == [png(GREEN), png(BLUE)]


async def test_image_is_enlarged(page: Page, fake: FakeService) -> None:
    """The shown image is enlarged by the server, and the result is shown, kept, and says so."""
    fake.behave = ControlledService.ready()
    await page.type("#prompt", "a lake")
    await generate(page, fake)
    await page.wait_until(VISIBLE.format("#upscale-4"))
    await page.click("#upscale-2")
    await page.wait_until("document.querySelector('#shown-image').naturalWidth === 128")
    assert [(one.factor, one.image) for one in fake.upscaled] == [(2, png(GREEN))]
    await page.wait_until("document.querySelectorAll('#images li').length === 2")
    await page.wait_until(f"{TEXT.format('#status')} === 'Upscaled to 128 \u00d7 128 pixels.'")
    assert "upscaled\u00d72" in (await page.run(TEXT.format("#shown-settings"))).replace(" ", "")
