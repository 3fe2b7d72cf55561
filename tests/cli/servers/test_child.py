"""A configuration reaches the child process unchanged."""

from __future__ import annotations

from pathlib import Path

from tintype.cli.servers.child import dump_config, load_config
from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig


def test_configuration_round_trip() -> None:
    """`load` returns what `dump` was given, for every type of field."""
    service = ServiceConfig(models=(Path("/a b"), Path("c,d")), memory=2**40, grace=1.5, tls_key=Path("k"))
    gateway = GatewayConfig(data=Path("/d"), aliases={"a=b,c": "d\n"}, strict_models=False, timeout=1)
    assert load_config(ServiceConfig, dump_config(service)) == service
    assert load_config(GatewayConfig, dump_config(gateway)) == gateway
    assert dump_config(service).count(b"\n") == 1
