"""Presets through the whole service: steps, guidance and prompts of images with a quality or style."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from PIL import Image

import tintype.service.models
from tintype.service.config import ServiceConfig
from tintype.service.server import start
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.slow

BUILTIN = "builtin"


@asynccontextmanager
async def serving(*models: Path) -> AsyncGenerator[Any]:
    async with (
        start(ServiceConfig(grpc="127.0.0.1:0", threads=1, models=models)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield pb_grpc.ImageServiceStub(channel)


def generation(**fields: Any) -> pb.GenerateImagesRequest:
    return pb.GenerateImagesRequest(**{"prompt": "a lake at sunset", "seed": 3, **fields})


def settings(answer: pb.GenerateImagesResponse) -> str:
    """Return the metadata of the image."""
    return str(Image.open(BytesIO(answer.images[0].data)).info["parameters"])


def pixels(answer: pb.GenerateImagesResponse) -> Any:
    return np.asarray(Image.open(BytesIO(answer.images[0].data)), np.int16)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the built-in model without presets in its manifest, and with guidance, as if not distilled."""
    folder = tmp_path_factory.mktemp("models") / "plain"
    source = next(iter(tintype.service.models.__path__))
    shutil.copytree(f"{source}/{BUILTIN}", folder)
    manifest = json.loads((folder / "tintype.json").read_text())
    del manifest["qualities"], manifest["styles"]
    manifest["defaults"] |= {"steps": 20, "guidance_scale": 3.0}
    (folder / "tintype.json").write_text(json.dumps(manifest | {"name": "plain"}))
    return folder


def test_default_presets(plain: Path) -> None:
    """A model without presets has the default ones; steps, guidance, prompts and metadata follow the preset."""

    async def scenario() -> Any:
        async with serving(plain) as stub:
            about = (await stub.ListModels(pb.ListModelsRequest())).models[0]
            asked: list[dict[str, Any]] = [
                {"quality": "hd", "style": "vivid", "negative_prompt": "fog"},
                {"quality": "hd", "steps": 4},
            ]
            return about, [await stub.GenerateImages(generation(**fields)) for fields in asked]

    about, (preset, own) = asyncio.run(scenario())
    assert list(about.qualities) == ["hd", "high", "low", "max", "medium", "standard", "xhigh"]
    assert list(about.styles) == ["digital art", "drawing", "illustration", "natural", "photo", "vivid"]
    assert preset.usage.steps == round(1.5 * about.defaults.steps)
    assert preset.images[0].revised_prompt == "a lake at sunset, vivid colors, dramatic lighting"
    prompt, negative, metadata = settings(preset).split("\n", 2)
    assert (prompt, negative) == (preset.images[0].revised_prompt, "Negative prompt: fog, dull, washed out")
    assert "CFG scale: 3.4" in metadata
    assert own.usage.steps == 4
    assert own.images[0].revised_prompt == ""


def test_presets_of_the_builtin_model() -> None:
    """`low` takes the usual steps, `hd` more, `vivid` adds guidance; the model has no style `photo`."""

    async def scenario() -> Any:
        async with serving() as stub:
            asked = [{}, {"quality": "low"}, {"quality": "hd"}, {"style": "vivid", "quality": "low"}]
            made = [await stub.GenerateImages(generation(**fields)) for fields in asked]
            with pytest.raises(grpc.RpcError) as caught:
                await stub.GenerateImages(generation(style="photo"))
            return made, caught.value

    (usual, low, hd, vivid), error = asyncio.run(scenario())
    assert [answer.usage.steps for answer in (usual, low, hd)] == [4, 4, 20]
    assert (
        np.abs(pixels(usual) - pixels(low)).max() <= 2
    )  # the batch width is tuned while serving, so rounding may differ
    assert "CFG scale: 1.5" in settings(vivid)
    assert not vivid.images[0].revised_prompt
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'natural', 'vivid'" in error.details()
