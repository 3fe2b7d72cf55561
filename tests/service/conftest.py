"""Fixtures of a service over a real gRPC channel, whose engine plays a script (tests/support/service/script.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.service.script import Player, Shelf, running_script
from tintype.service import server as servers
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def running() -> Any:
    """Return the context manager that serves on a free port."""
    return running_script


@pytest.fixture
def player() -> type[Player]:
    return Player


@pytest.fixture
def shelf() -> type[Shelf]:
    return Shelf


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> tuple[Shelf, Player]:
    """Put shelf and player where the server makes its repository and its device."""
    models, device = Shelf(), Player()
    monkeypatch.setattr(servers, "Repository", lambda *_, **__: models)
    monkeypatch.setattr(servers, "DeviceThread", lambda _: device)
    return models, device


@pytest.fixture
def ask() -> Callable[..., pb.StreamImagesRequest]:
    """Return what makes a request for one picture from its fields."""

    def make(**fields: Any) -> pb.StreamImagesRequest:
        return pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(**{"prompt": "a lake", **fields}))

    return make
