"""The addresses of `--grpc`."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tintype.gateway.errors import StartError
from tintype.gateway.upstream.targets import Target, look_up, parse_targets


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("127.0.0.1:1", [Target("127.0.0.1:1")]),
        ("10.0.0.1:1, gpu-box:2,[::1]:3", [Target("10.0.0.1:1"), Target("gpu-box:2"), Target("[::1]:3")]),
        ("10.0.0.1:1,10.0.0.1:1", [Target("10.0.0.1:1")]),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", [Target("10.0.0.1:1"), Target("10.0.0.2:1")]),
        ("ipv6:[fe80::1%eth0]:1", [Target("[fe80::1%eth0]:1")]),
        ("my-ipv4:1", [Target("my-ipv4:1")]),
        ("dns:///images.example:50051", [Target("images.example:50051", "images.example", 50051)]),
        ("dns:images:1,10.0.0.1:1", [Target("images:1", "images", 1), Target("10.0.0.1:1")]),
        ("unix:/run/x.sock", [Target("unix:/run/x.sock")]),
        ("unix:///run/x.sock", [Target("unix:///run/x.sock")]),
    ],
)
def test_forms(text: str, targets: list[Target]) -> None:
    """One address, several, names whose addresses are looked up, and sockets."""
    assert list(parse_targets(text)) == targets


@pytest.mark.parametrize(
    "text",
    ["", "gpu-box", "a:1,", "a:0", "a:65536", "::1:50051", "http://a:1", "dns://8.8.8.8/a:1", "dns:///a", "a b:1"],
)
def test_other_forms_are_refused(text: str) -> None:
    """Other text is refused with a line that names the flag and the text."""
    with pytest.raises(StartError, match=r"^--grpc must .*got"):
        parse_targets(text)


@pytest.mark.anyio
async def test_ipv4_addresses_precede_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with both kinds of addresses is one replica; one with IPv6 alone is found, too."""
    places = [(socket.AF_INET6, "::2"), (socket.AF_INET, "10.0.0.2"), (socket.AF_INET, "10.0.0.1")]

    def answer(*_: Any, **__: Any) -> Any:
        return [(family, socket.SOCK_STREAM, 6, "", (address, 9)) for family, address in places]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert await look_up("images", 9) == ["10.0.0.1:9", "10.0.0.2:9"]
    del places[1:]
    assert await look_up("images", 9) == ["[::2]:9"]
