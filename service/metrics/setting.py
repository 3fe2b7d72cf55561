"""The setting `metrics`: an address, or in a device's process a word."""

from __future__ import annotations

FORWARDED = "forwarded"  # the front fetches the metrics and exports them
EXPECTED = "HOST:PORT, for example 127.0.0.1:9464"


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"--metrics must be {EXPECTED}; got {address!r}")
    return host.strip("[]"), int(port)
