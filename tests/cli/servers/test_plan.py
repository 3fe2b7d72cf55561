"""Ports of `tintype up`."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack

import pytest

from tintype.cli.errors import UserError
from tintype.cli.servers.plan import claim_port
from tintype.gateway.server import listen


def test_a_free_port_replaces_port_0() -> None:
    """The address of a claim has the port that a server will listen on."""
    address = claim_port("127.0.0.1:0", "--rest")
    with listen(address) as server:
        assert address == f"127.0.0.1:{server.getsockname()[1]}"


def test_a_port_that_is_listened_on_is_refused_by_its_flag() -> None:
    """The error names the address and the flag that changes it."""
    with listen("127.0.0.1:0") as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"cannot listen on {address}: .*choose another address with --rest"):
            claim_port(address, "--rest")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be bound twice")
def test_a_claimed_port_is_for_our_server_only() -> None:
    """Between the claim and the start of the server, no connection and no other program gets the port."""
    with ExitStack() as ports:
        address = claim_port("127.0.0.1:0", "--grpc", ports)
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
        with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
            other.bind(place)
        with listen(address):
            pass
        with listen(address):  # a server that is started again
            pass
    with socket.socket() as other:
        other.bind(place)
