"""Public and special-purpose addresses."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network

import pytest

from tintype.gateway.uploads.addresses import is_public

PUBLIC = "93.184.216.34"
# All rows of IANA's two registries of special-purpose addresses, and multicast.
REGISTRY = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
255.255.255.255/32 224.0.0.0/4
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128
2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2620:4f:8000::/48
3fff::/20 5f00::/16 fc00::/7 fe80::/10 ff00::/8
"""
# What lies next to a row, and is public.
NEIGHBOURS = """
1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0
172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
198.51.99.255 203.0.114.0 223.255.255.255 2001:200:: 2001:db7:: 2001:db9:: 2620:4f:7fff:: 2620:4f:8001:: 3ffe:: 2000::
"""


@pytest.mark.parametrize("row", REGISTRY.split())
def test_special_purpose_addresses_are_not_public(row: str) -> None:
    """No row of the registries is public, from its first to its last address."""
    network = ip_network(row)
    assert [is_public(str(end)) for end in (network[0], network[-1])] == [False, False]


@pytest.mark.parametrize("row", [row for row in REGISTRY.split() if isinstance(ip_network(row), IPv4Network)])
@pytest.mark.parametrize("shape", ["::ffff:{:x}:{:x}", "2002:{:x}:{:x}::1", "64:ff9b::{:x}:{:x}", "2001::{:x}:{:x}"])
def test_embedded_special_purpose_addresses_are_not_public(row: str, shape: str) -> None:
    """An IPv6 address can't circumvent these rows."""
    for end in (ip_network(row)[0], ip_network(row)[-1]):
        assert not is_public(shape.format(int(end) >> 16, int(end) & 0xFFFF))


@pytest.mark.parametrize("address", NEIGHBOURS.split())
def test_neighbouring_addresses_are_public(address: str) -> None:
    """Addresses next to the rows are public."""
    assert is_public(address)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:4700::1111", True),
        (f"::ffff:{PUBLIC}", True),
        ("64:ff9b::5db8:d822", True),
        ("2002:5db8:d822::1", True),
        ("64:ff9b:1::5db8:d822", False),
        ("2001::5db8:d822", False),
        (f"::{PUBLIC}", False),
        ("fec0::1", False),
        ("4000::1", False),
        ("2606:4700::1111%1", False),
        ("name.example", False),
        ("127.1", False),
        ("0x7f000001", False),
        ("", False),
    ],
)
def test_is_public(address: str, public: bool) -> None:  # noqa: FBT001
    """Only public addresses pass, also if one contains another."""
    assert is_public(address) is public
