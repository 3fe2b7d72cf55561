"""A service that checks finished images, with the built-in model, over a real channel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.models.safety_checkers import RED, write_classifier
from tests.support.service.rpc_errors import status_of
from tintype.service.config import ServiceConfig
from tintype.service.errors import ImageRefused, ModelBroken
from tintype.service.models import ModelState, Repository
from tintype.service.models.loading_options import LoadingOptions, SafetyOptions
from tintype.service.rpc.listen import ServeError
from tintype.service.server import running
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

REQUEST = pb.StreamImagesRequest(
    generation=pb.GenerateImagesRequest(prompt="a red circle", seed=1, steps=2, count=2),
    previews=pb.Previews(every=1),
)


def serve(**settings: Any) -> list[str] | grpc.aio.AioRpcError:
    """Return the kinds of the responses to REQUEST, or its error."""

    async def scenario() -> list[str] | grpc.aio.AioRpcError:
        config = ServiceConfig(grpc="127.0.0.1:0", providers=("cpu",), threads=1, **settings)
        async with running(config) as address, grpc.aio.insecure_channel(address) as channel:
            stub: Any = pb_grpc.ImageServiceStub(channel)
            try:
                return [str(each.WhichOneof("event")) async for each in stub.StreamImages(REQUEST)]
            except grpc.aio.AioRpcError as error:
                return error

    return asyncio.run(scenario())


def test_refused_images_are_not_sent(tmp_path: Path) -> None:
    """A refused image ends the request with a reason for programs; neither it nor a preview of it is sent."""
    folder = write_classifier(tmp_path)
    error = serve(safety_checker=folder, safety_threshold=1e-9)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    info = status_of(error)[1]["ErrorInfo"]
    assert (info.reason, info.domain) == ("MODERATION_BLOCKED", "tintype")
    assert "another seed or prompt" in (error.details() or "")


def test_accepted_images_are_sent_without_previews(tmp_path: Path) -> None:
    """Images that the checker accepts are sent; previews are not, as they are not checked."""
    kinds = serve(safety_checker=write_classifier(tmp_path), safety_threshold=1.0)
    assert isinstance(kinds, list)
    assert kinds.count("image") == 2
    assert "preview" not in kinds
    kinds = serve()
    assert isinstance(kinds, list)
    assert kinds.count("preview") == 2


def test_a_broken_graph_is_found_at_the_start(tmp_path: Path) -> None:
    """A checker that can't be loaded keeps the service from starting, with one line that names it."""
    (write_classifier(tmp_path / "nsfw") / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(ServeError, match=r"its safety checker: nsfw/model\.onnx can't be loaded") as caught:
        serve(safety_checker=tmp_path / "nsfw")
    assert "\n" not in str(caught.value)


def test_a_replaced_checker_is_used_after_the_settings_are_read_again(tmp_path: Path) -> None:
    """Models are loaded anew with it, although their own files are unchanged; one that is broken fails them."""
    options = SafetyOptions(write_classifier(tmp_path / "nsfw"))
    with Repository(providers=("cpu",), threads=1, loading=LoadingOptions(safety=options)) as repository:
        repository.wait()
        before = repository.spec()
        with pytest.raises(ImageRefused):
            repository.safety.check(before, RED)
        repository.updates.replace([])
        assert repository.spec() == before
        write_classifier(tmp_path / "nsfw", ("nsfw", "normal", "other"))
        repository.updates.replace([])
        repository.wait()
        repository.safety.check(repository.spec(), RED)
        (tmp_path / "nsfw" / "model.onnx").write_bytes(b"garbage")
        repository.updates.replace([])
        with pytest.raises(ModelBroken, match=r"its safety checker: nsfw/model\.onnx can't be loaded"):
            repository.wait()
        assert repository.status().state is ModelState.FAILED


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"safety_checks": True}, "model '.*' can't be served: safety_checker/model.onnx is missing"),
        ({"safety_checks": True, "safety_threshold": 0.0}, "--safety-threshold must be above 0 and at most 1; got 0"),
    ],
)
def test_the_service_does_not_start_unchecked(settings: dict[str, Any], problem: str) -> None:
    """If images are to be checked, a model without a checker keeps the service from starting."""
    with pytest.raises(ServeError, match=problem):
        serve(**settings)
