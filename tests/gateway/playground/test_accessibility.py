"""The pages in their main states, checked by axe: in a window and on a phone, light and dark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.playground import BLUE, GREEN, VISIBLE, ControlledService, choose, open_with, png

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.support.gateway.fakes import FakeService
    from tests.support.gateway.page import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow]

AXE = Path(__file__).parents[1] / "clients" / "node" / "node_modules" / "axe-core" / "axe.min.js"
WINDOW, PHONE = (1280, 900), (390, 844)
OPEN = "document.querySelector({!r}).open"


@pytest.fixture
async def audited(browser: Page) -> AsyncIterator[Page]:
    """Return a page whose policy lets axe in; skip the test without axe, and fail it in CI."""
    if not AXE.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("axe is missing: run `make test`, which needs npm")
    await browser.send("Page.setBypassCSP", enabled=True)
    yield browser
    await browser.send("Page.setBypassCSP", enabled=False)


async def find_violations(page: Page, state: str, *, dark_window: bool = False) -> list[str]:
    """Return what axe finds in the window and, in the other colour scheme, on a phone: the rule and the elements."""
    found: list[str] = []
    if not await page.run("Boolean(globalThis.axe)"):
        await page.run(AXE.read_text("utf-8"))
    for size, dark in ((WINDOW, dark_window), (PHONE, not dark_window)):
        await page.set_window(*size, dark=dark, phone=size == PHONE, still=True)
        found += [f"{state}, {size}, {'dark' if dark else 'light'}: {one}" for one in await page.run(AUDIT)]
        assert await page.overflow() == 0, f"{state} is wider than {size}"
    return found


# Elements that are fading have other colours for a moment.
AUDIT = """(async () => {
    await Promise.all(document.getAnimations().map((one) => one.finished.catch(() => {})));
    const options = { resultTypes: ["violations"], rules: { "target-size": { enabled: true } } };
    const { violations } = await axe.run(document, options);
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) =>
        `${html.slice(0, 160)} (${failureSummary})`).join("; ")}`);
})()"""


async def test_playground(audited: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """At the start, with a queue, with images, with everything in the form open, and in dialogs, axe finds nothing."""
    page = audited
    found: list[str] = []
    await open_with(page, gateway, fake, "guided")
    found += await find_violations(page, "start")
    fake.behave = controlled = ControlledService()
    controlled.started.set()
    await page.run("document.querySelector('#generate').click()")
    await page.wait_until("document.querySelector('.tile')")
    found += await find_violations(page, "generating")
    controlled.finished.set()
    await page.wait_until(VISIBLE.format("#shown-image"))
    await page.run("for (const one of document.querySelectorAll('#form details')) one.open = true")
    await page.run("document.querySelector('#controls-add').click()")
    await choose(page, "#controls [type=file]", png(BLUE))
    await choose(page, "#initial-image", png(GREEN))
    await page.wait_until(VISIBLE.format("#initial-image-preview"))
    found += await find_violations(page, "image and form", dark_window=True)
    for name in await page.run("[...document.querySelectorAll('dialog:not(.canvas-dialog)')].map(({ id }) => id)"):
        await page.run(f"document.getElementById({name!r}).showModal()")
        found += await find_violations(page, name)
        await page.run(f"document.getElementById({name!r}).close()")
    assert found == []


async def test_dialogs(audited: Page, gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """In the dialogs of mask and extension, and in the form of a model with references, axe finds nothing."""
    page = audited
    found: list[str] = []
    await open_with(page, gateway, fake, "both")
    await choose(page, "#initial-image", png(GREEN))
    await choose(page, "#references-input", png(BLUE), png(GREEN))
    await page.wait_until(VISIBLE.format("#mask-open"))
    for button, dialog in (("#mask-open", "#mask-dialog"), ("#extend-open", "#extend-dialog")):
        await page.click(button)
        await page.wait_until(OPEN.format(dialog))
        await page.run(f"for (const one of document.querySelectorAll('{dialog} details')) one.open = true")
        found += await find_violations(page, dialog)
        await page.press("Escape")
        await page.wait_until(f"!{OPEN.format(dialog)}")
    found += await find_violations(page, "references")
    assert found == []


async def test_documentation(audited: Page, gateway: httpx.AsyncClient) -> None:
    """In the documentation, with a search, axe finds nothing."""
    page = audited
    await page.set_window(1280, 900)
    await page.open(f"{gateway.base_url}/docs")
    await page.wait_until("!document.querySelector('#article').hasAttribute('aria-busy')")
    # Groups have the same form; all of them would take a minute.
    await page.run("for (const one of document.querySelectorAll('section.group:nth-of-type(n + 2)')) one.remove()")
    await page.type("#search", "mask")
    assert await find_violations(page, "documentation") == []
