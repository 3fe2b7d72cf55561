"""Addresses of the public internet, which clients' URLs may use.

The lists copy IANA's registries of special-purpose addresses (October 2025), because the meaning of `is_global` in
`ipaddress` differs between releases of Python. Every row is refused, including those that the registry calls globally
reachable: they are anycast services and tunnels, which serve no images.

An IPv6 address can contain an IPv4 address (mapped, 6to4, NAT64). Then the inner address is checked, because that host
answers.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# https://www.iana.org/assignments/iana-ipv4-special-registry, and multicast (RFC 5771)
SPECIAL_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by the customers of a carrier
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local, and the metadata of clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocols: DS-Lite, PCP, TURN, NAT64 discovery
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
# https://www.iana.org/assignments/iana-ipv6-special-registry: the rows within PUBLIC_IPV6; others lie outside of it.
SPECIAL_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocols: Teredo, benchmarks, AMT, AS112, ORCHID, drones
            "2001:db8::/32",  # documentation
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
PUBLIC_IPV6 = IPv6Network("2000::/3")  # the only range allocated for the public internet (RFC 4291, section 2.4)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; the IPv4 address is in the last 32 bits


def is_public(address: str) -> bool:
    """Return whether an address, as a resolver returns it, is public; an address with a zone is not."""
    if "%" in address:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_ipv4(parsed)
    embedded = _embedded_ipv4(parsed)
    return _is_public_ipv4(embedded) if embedded else _is_public_ipv6(parsed)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return not any(address in network for network in SPECIAL_IPV4)


def _is_public_ipv6(address: IPv6Address) -> bool:
    return address in PUBLIC_IPV6 and not any(address in network for network in SPECIAL_IPV6)


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address contained in an IPv6 address, if any."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
