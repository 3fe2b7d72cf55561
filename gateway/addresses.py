"""Which addresses belong to the public internet, and so may be dialled for a stranger.

An address can hold another one (IPv4 in IPv6: mapped, 6to4, NAT64): then the one inside counts, for it is what answers.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_UNICAST = IPv6Network("2000::/3")  # all that has been given to the public (RFC 4291, section 2.4)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; the IPv4 address is in the last 32 bits


def is_public(address: str) -> bool:
    """Tell whether an address, as a resolver gives it, is one of the public internet; one with a zone is not."""
    if "%" in address:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public4(parsed)
    held = _held(parsed)
    return _is_public4(held) if held else _is_public6(parsed)


def _is_public4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_public6(address: IPv6Address) -> bool:
    """Teredo's addresses lead to hosts behind a translator, which may be ours."""
    return address in _UNICAST and address.is_global and address.teredo is None


def _held(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
