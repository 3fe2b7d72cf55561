"""Sizes and addresses as text."""

from __future__ import annotations

import re

import pytest

from tintype.cli.settings.values import format_size, parse_address, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1048576", 2**20), ("6GiB", 6 * 2**30), ("6 gib", 6 * 2**30), ("500MB", 500_000_000), ("1.5k", 1500)],
)
def test_parses_sizes(text: str, size: int) -> None:
    """A size has a decimal or binary unit, or none."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "6 apples", "6i", "1e3", "9" * 400, "9" * 400 + "GiB"])
def test_rejects_invalid_sizes(text: str) -> None:
    """Other texts raise ValueError."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_size(text)


def test_formats_sizes_in_the_largest_unit() -> None:
    """A size is shown in the largest unit that fits."""
    assert [format_size(n) for n in (0, 512, 2**20, 6 * 2**30)] == ["0 B", "512 B", "1 MiB", "6 GiB"]


@pytest.mark.parametrize("text", ["127.0.0.1:50051", "[::1]:8080", "gpu-box:0", "0.0.0.0:65535"])
def test_parses_addresses(text: str) -> None:
    """An address is HOST:PORT."""
    assert parse_address(text) == text


@pytest.mark.parametrize("text", ["50051", ":50051", "a:b", "a:65536", "::1:80", "http://a:80", ""])
def test_rejects_invalid_addresses(text: str) -> None:
    """Other texts raise ValueError."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_address(text)
