"""Settings survive the way to a child."""

from __future__ import annotations

from pathlib import Path

from tintype.cli.servers.child import dump, load
from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig


def test_settings_arrive_as_they_were() -> None:
    """What `dump` writes, `load` reads, whatever the types of its fields."""
    service = ServiceConfig(models=(Path("/a b"), Path("c,d")), memory=2**40, grace=1.5, tls_key=Path("k"))
    gateway = GatewayConfig(data=Path("/d"), aliases={"a=b,c": "d\n"}, strict_models=False, timeout=1)
    assert load("service", dump(service)) == service
    assert load("gateway", dump(gateway)) == gateway
    assert dump(service).count(b"\n") == 1
