"""Clients written in JavaScript: OpenAI's SDK, and Vercel's AI SDK with both of its providers.

`make test` installs them where there is npm; without them these tests are skipped.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.fakes import FakeService, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.support.gateway.summary import ImageSummary

    Open = Callable[[bytes], ImageSummary]

Code = grpc.StatusCode
FOLDER = Path(__file__).with_name("node")
NODE = shutil.which("node")
PATIENCE = 200  # seconds for one script

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(NODE is None, reason="needs node"),
    pytest.mark.skipif(not (FOLDER / "node_modules/stamp").exists(), reason="needs npm, and `make test`"),
    pytest.mark.slow,
]


@pytest.fixture(scope="session")
def picture(lake: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("node") / "lake.png"
    path.write_bytes(lake)
    return path


@pytest.fixture(scope="session")
def hole(mask: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("node") / "mask.png"
    path.write_bytes(mask)
    return path


async def run(script: str, url: str, scenario: str, *files: Path) -> Any:
    """Run one scenario of a script against the gateway at `url`, and return what it got."""
    process = await asyncio.create_subprocess_exec(
        str(NODE), script, url, scenario, *map(str, files), cwd=FOLDER, stdout=asyncio.subprocess.PIPE
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return json.loads(told)


def file(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


class TestOpenAI:
    async def test_links(self, real: str) -> None:
        """Two pictures by link, each with its seed."""
        answer = await run("openai.mjs", real, "links")
        assert [set(one) for one in answer["data"]] == [{"url", "seed"}] * 2
        assert [one["seed"] for one in answer["data"]] == [7, 8]

    async def test_base64(self, real: str, opened: Open) -> None:
        """A gpt-image model answers base64, in the type that was asked for."""
        answer = await run("openai.mjs", real, "base64")
        assert [opened(file(one["b64_json"])) for one in answer["data"]] == [("WEBP", (64, 64), "RGB")]
        assert (answer["output_format"], answer["quality"]) == ("webp", "low")
        assert answer["usage"]["total_tokens"] > 0

    async def test_stream(self, real: str, opened: Open) -> None:
        """Its parser of events gives two previews and the picture."""
        events = await run("openai.mjs", real, "stream")
        assert [event["type"] for event in events] == [
            "image_generation.partial_image",
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        assert {opened(file(event["b64_json"])) for event in events} == {("PNG", (64, 64), "RGB")}

    @pytest.mark.parametrize("scenario", ["edit", "variation"])
    async def test_edit(self, real: str, opened: Open, picture: Path, scenario: str) -> None:
        """A file that is streamed up comes back as a picture of its size."""
        answer = await run("openai.mjs", real, scenario, picture)
        assert [opened(file(one["b64_json"])) for one in answer["data"]] == [("PNG", (128, 64), "RGB")]

    async def test_edit_stream(self, real: str, picture: Path) -> None:
        """Edits stream, too."""
        events = await run("openai.mjs", real, "editStream", picture)
        assert events[-1]["type"] == "image_edit.completed"

    async def test_every_call(self, real: str, opened: Open, picture: Path, hole: Path) -> None:
        """Each call with every parameter, in each way in which the SDK gives its answer, streamed or not."""
        told = await run("openai.mjs", real, "calls", picture, hole)
        assert "error" not in told, told
        for name in ("generate", "edit", "createVariation"):
            assert (told[name]["status"], told[name]["same"]) == (200, True)
            (one,) = told[name]["answer"]["data"]
            assert one["url"].endswith(".png")
        for name, kind in (("generate streamed", "image_generation"), ("edit streamed", "image_edit")):
            assert [event["type"] for event in told[name]] == [f"{kind}.partial_image", f"{kind}.completed"]
            assert opened(file(told[name][-1]["b64_json"]))[0] == "PNG"

    async def test_models(self, real: str) -> None:
        """Models are listed, and found by a name of OpenAI's."""
        answer = await run("openai.mjs", real, "models")
        assert [one["object"] for one in answer["listed"]] == ["model"]
        assert answer["one"]["id"] == "gpt-image-1"

    async def test_unknown_model(self, real: str, picture: Path) -> None:
        """Several files are `image[]`; the model that is not there is the error's parameter."""
        told = await run("openai.mjs", real, "edits", picture)
        assert (told["error"], told["status"], told["code"], told["param"]) == (
            "NotFoundError",
            404,
            "model_not_found",
            "model",
        )
        assert told["requestID"]

    @pytest.mark.parametrize(
        ("refusal", "error", "status", "code", "calls"),
        [
            (Refusal(Code.INTERNAL, "x", "GENERATION_FAILED"), "InternalServerError", 500, None, 1),
            (Refusal(Code.DEADLINE_EXCEEDED, "x", "DEADLINE_EXCEEDED"), "InternalServerError", 504, "timeout", 1),
            (Refusal(Code.RESOURCE_EXHAUSTED, "x", "OUT_OF_MEMORY"), "RateLimitError", 429, "out_of_memory", 1),
            (
                Refusal(Code.RESOURCE_EXHAUSTED, "x", "QUEUE_FULL", delay=0.01),
                "RateLimitError",
                429,
                "rate_limit_exceeded",
                3,
            ),
            (Refusal(Code.PERMISSION_DENIED), "PermissionDeniedError", 403, None, 1),
        ],
        ids=lambda value: value.code.name if isinstance(value, Refusal) else None,
    )
    async def test_errors(
        self,
        gateway: httpx.AsyncClient,
        fake: FakeService,
        refusal: Refusal,
        error: str,
        status: int,
        code: str | None,
        calls: int,
    ) -> None:
        """Errors are its own classes, and it has a picture made once, unless trying again helps."""
        fake.behave = refusal
        told = await run("openai.mjs", str(gateway.base_url), "links")
        assert (told["error"], told["status"], told["code"]) == (error, status, code)
        assert len(fake.requests) == calls


class TestVercel:
    @pytest.mark.parametrize(("scenario", "count"), [("compatible", 2), ("openai", 1), ("dalle", 1)])
    async def test_image(self, real: str, opened: Open, scenario: str, count: int) -> None:
        """Both providers pass their strict schemas of the answer, whatever the model is called."""
        answer = await run("vercel.mjs", real, scenario)
        assert [opened(file(one)) for one in answer["images"]] == [("PNG", (64, 64), "RGB")] * count

    async def test_edit(self, real: str, opened: Open, picture: Path) -> None:
        """Without a response_format an edit answers base64."""
        answer = await run("vercel.mjs", real, "edit", picture)
        assert [opened(file(one)) for one in answer["images"]] == [("PNG", (128, 64), "RGB")]

    async def test_error(self, real: str) -> None:
        """An error passes its schema, too: the message is ours."""
        told = await run("vercel.mjs", real, "unknown")
        assert (told["error"], told["status"]) == ("AI_APICallError", 404)
        assert "nope" in told["message"]
