"""Which addresses are of the public internet."""

from __future__ import annotations

import pytest

from tintype.gateway.addresses import is_public

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:4700::1111", True),
        (f"::ffff:{PUBLIC}", True),
        ("64:ff9b::5db8:d822", True),
        ("2002:5db8:d822::1", True),
        ("64:ff9b:1::5db8:d822", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
        ("2001::5db8:d822", False),
        ("2001:db8::1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("198.18.0.1", False),
        ("172.16.0.1", False),
        ("ff02::1", False),
        ("::", False),
        ("2606:4700::1111%1", False),
        ("name.example", False),
    ],
)
def test_is_public(address: str, public: bool) -> None:  # noqa: FBT001
    """Only addresses of the public internet, also where one holds another."""
    assert is_public(address) is public
