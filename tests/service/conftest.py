"""Fixtures of a service over a real gRPC channel, with fakes for repository and device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.service.fakes import FakeDevice, FakeRepository, serve_fakes
from tintype.service import assembly
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def running() -> Any:
    """Return the context manager that serves fakes on a free port."""
    return serve_fakes


@pytest.fixture
def fake_device() -> type[FakeDevice]:
    return FakeDevice


@pytest.fixture
def fake_repository() -> type[FakeRepository]:
    return FakeRepository


@pytest.fixture
def installed_fakes(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeRepository, FakeDevice]:
    """Replace the repository and the device that the server creates."""
    models, device = FakeRepository(), FakeDevice()
    monkeypatch.setattr(assembly, "Repository", lambda *_, **__: models)
    monkeypatch.setattr(assembly, "DeviceThread", lambda *_, **__: device)
    return models, device


@pytest.fixture
def make_request() -> Callable[..., pb.StreamImagesRequest]:
    """Return a function that makes a request for one image from its fields."""

    def make(**fields: Any) -> pb.StreamImagesRequest:
        return pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(**{"prompt": "a lake", **fields}))

    return make
