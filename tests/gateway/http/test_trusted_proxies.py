"""Forwarded headers are accepted from configured proxies only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.fakes import PATH, Service, config, running_gateway
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pics.example"}
PUBLIC = "https://pics.example/files/"


async def link_for(service: Service, data: Path, headers: dict[str, str], **settings: Any) -> str:
    """Return the link of an image requested with these headers."""
    async with running_gateway(config(service, data, **settings)) as client:
        answer = await client.post(PATH, json={"prompt": "x", "response_format": "url"}, headers=headers)
    return str(answer.json()["data"][0]["url"])


@pytest.mark.parametrize("settings", [{}, {"proxies": ("10.0.0.1", "127.0.0.0/8")}, {"proxies": ("127.0.0.1",)}])
async def test_configured_proxies_are_trusted(service: Service, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Links begin with the host forwarded by a configured proxy; by default, by one on this machine."""
    assert (await link_for(service, tmp_path, FORWARDED, **settings)).startswith(PUBLIC)


@pytest.mark.parametrize("proxies", [("none",), ("10.0.0.0/8", "::1")])
async def test_other_senders_are_not_trusted(service: Service, tmp_path: Path, proxies: tuple[str, ...]) -> None:
    """Headers from other addresses are ignored."""
    assert (await link_for(service, tmp_path, FORWARDED, proxies=proxies)).startswith("http://127.0.0.1:")


async def test_the_public_url_takes_precedence(service: Service, tmp_path: Path) -> None:
    """A configured public URL takes precedence over forwarded headers."""
    url = await link_for(service, tmp_path, FORWARDED, public_url="https://other.example/x")
    assert url.startswith("https://other.example/x/files/")


@pytest.mark.parametrize(
    ("forwarded_host", "base"),
    [
        ("evil.example, pics.example", "http://pics.example/files/"),
        ("pics.example:8443", "http://pics.example:8443/files/"),
        ("[2001:db8::1]:81", "http://[2001:db8::1]:81/files/"),
        ("pics.example/x?y#", "http://127.0.0.1:"),
        ("a@pics.example", "http://127.0.0.1:"),
        ("", "http://127.0.0.1:"),
    ],
)
async def test_the_nearest_proxys_host_counts(service: Service, tmp_path: Path, forwarded_host: str, base: str) -> None:
    """The nearest proxy's value counts; an invalid host is ignored."""
    assert (await link_for(service, tmp_path, {"X-Forwarded-Host": forwarded_host})).startswith(base)


def test_an_invalid_proxy_setting_is_refused(tmp_path: Path) -> None:
    """An invalid address is refused at start."""
    with pytest.raises(StartError, match=r"proxies must be addresses or networks .*; got 'proxy\.example'"):
        GatewayConfig(data=tmp_path, proxies=("proxy.example",))
