"""One browser for all tests of the pages, and the playground in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.chromium import Page, open_browser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx


@pytest.fixture(scope="package")
async def browser(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:  # noqa: ARG001
    """Return a page of a browser whose profile was empty."""
    async with open_browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
async def page(browser: Page, gateway: httpx.AsyncClient) -> AsyncIterator[Page]:
    """Return the playground, ready, with nothing of earlier tests; no error may be logged until the end."""
    origin = str(gateway.base_url)
    await browser.open("about:blank")  # what a page still stores when it is left
    await browser.send("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
    browser.errors.clear()
    await browser.set_window(1280, 900)
    await browser.open(origin)
    await browser.wait_until("document.querySelector('#model').options.length === 2")
    yield browser
    assert browser.errors == []
