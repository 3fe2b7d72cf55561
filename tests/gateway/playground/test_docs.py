"""The documentation in a real browser: search, links to routes, and a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.playground import TEXT, VISIBLE

if TYPE_CHECKING:
    import httpx

    from tests.support.gateway.page import Page

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow]

RENDERED = "!document.querySelector('#article').hasAttribute('aria-busy')"
SHOWN = "[...document.querySelectorAll('section.operation')].filter((one) => one.checkVisibility()).length"


async def test_search_finds_routes_and_fields(page: Page, gateway: httpx.AsyncClient) -> None:
    """The key / begins a search; routes that have the words stay, their fields are marked, Escape shows all again."""
    await page.open(f"{gateway.base_url}/docs")
    await page.wait_until(RENDERED)
    routes = await page.run(SHOWN)
    await page.press("/")
    assert await page.run("document.activeElement.id") == "search"
    await page.send("Input.insertText", text="openai clip_skip generations")
    await page.wait_until(f"{SHOWN} === 1")
    assert await page.run(TEXT.format("#found")) == "1 route"
    shown = "[...document.querySelectorAll('section.operation:not([hidden]) tr.found code')]"
    assert await page.run(f"[...new Set({shown}.map((one) => one.textContent))].join()") == "clip_skip"
    assert await page.run(VISIBLE.format("section.operation:not([hidden]) tr.found"))
    await page.send("Input.insertText", text=" nothing")
    await page.wait_until(f"{TEXT.format('#found')} === 'Nothing has all of these words.'")
    await page.press("Escape")
    await page.wait_until(f"{SHOWN} === {routes}")


async def test_route_has_a_link(page: Page, gateway: httpx.AsyncClient) -> None:
    """Each route has a link to it, also on a phone, where the contents are closed and nothing is too wide."""
    await page.set_window(390, 844, phone=True)
    await page.open(f"{gateway.base_url}/docs#post-v1-images-edits")
    await page.wait_until(RENDERED)
    top = "document.getElementById('post-v1-images-edits').getBoundingClientRect().top"
    await page.wait_until(f"{top} >= 0 && {top} < innerHeight / 2")
    assert not await page.run("document.querySelector('#index').open")
    assert await page.overflow() == 0
    ids = await page.run("[...document.querySelectorAll('.paths li')].map(({ id }) => id)")
    assert len(ids) == len(set(ids))
