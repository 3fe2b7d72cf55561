"""Clients written in JavaScript: OpenAI's SDK, and Vercel's AI SDK with both of its providers.

`make test` installs them if npm is available; without them these tests are skipped.
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
def image_path(lake: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("node") / "lake.png"
    path.write_bytes(lake)
    return path


@pytest.fixture(scope="session")
def mask_path(mask: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("node") / "mask.png"
    path.write_bytes(mask)
    return path


async def run_scenario(script: str, url: str, scenario: str, *files: Path) -> Any:
    """Run one scenario of a script against the gateway at `url`, and return its result."""
    process = await asyncio.create_subprocess_exec(
        str(NODE), script, url, scenario, *map(str, files), cwd=FOLDER, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return json.loads(output)


def file(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


class TestOpenAI:
    async def test_links(self, gateway_url: str) -> None:
        """Two images by link, each with its seed."""
        answer = await run_scenario("openai.mjs", gateway_url, "links")
        assert [set(one) for one in answer["data"]] == [{"url", "seed"}] * 2
        assert [one["seed"] for one in answer["data"]] == [7, 8]

    async def test_base64(self, gateway_url: str, open_image: Open) -> None:
        """A gpt-image model returns base64, in the requested file type."""
        answer = await run_scenario("openai.mjs", gateway_url, "base64")
        assert [open_image(file(one["b64_json"])) for one in answer["data"]] == [("WEBP", (64, 64), "RGB")]
        assert (answer["output_format"], answer["quality"]) == ("webp", "low")
        assert answer["usage"]["total_tokens"] > 0

    async def test_stream(self, gateway_url: str, open_image: Open) -> None:
        """Its parser of events returns two previews and the image."""
        events = await run_scenario("openai.mjs", gateway_url, "stream")
        assert [event["type"] for event in events] == [
            "image_generation.partial_image",
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        assert {open_image(file(event["b64_json"])) for event in events} == {("PNG", (64, 64), "RGB")}

    @pytest.mark.parametrize("scenario", ["edit", "variation"])
    async def test_edit(self, gateway_url: str, open_image: Open, image_path: Path, scenario: str) -> None:
        """A streamed upload comes back as an image of its size."""
        answer = await run_scenario("openai.mjs", gateway_url, scenario, image_path)
        assert [open_image(file(one["b64_json"])) for one in answer["data"]] == [("PNG", (128, 64), "RGB")]

    async def test_edit_stream(self, gateway_url: str, image_path: Path) -> None:
        """Edits can be streamed."""
        events = await run_scenario("openai.mjs", gateway_url, "editStream", image_path)
        assert events[-1]["type"] == "image_edit.completed"

    async def test_every_call(self, gateway_url: str, open_image: Open, image_path: Path, mask_path: Path) -> None:
        """Each call with every parameter, and each way in which the SDK returns its response, streamed or not."""
        result = await run_scenario("openai.mjs", gateway_url, "calls", image_path, mask_path)
        assert "error" not in result, result
        for name in ("generate", "edit", "createVariation"):
            assert (result[name]["status"], result[name]["same"]) == (200, True)
            (one,) = result[name]["answer"]["data"]
            assert one["url"].endswith(".png")
        for name, kind in (("generate streamed", "image_generation"), ("edit streamed", "image_edit")):
            assert [event["type"] for event in result[name]] == [f"{kind}.partial_image", f"{kind}.completed"]
            assert open_image(file(result[name][-1]["b64_json"]))[0] == "PNG"

    async def test_models(self, gateway_url: str) -> None:
        """Models are listed, and found by one of OpenAI's names."""
        answer = await run_scenario("openai.mjs", gateway_url, "models")
        assert [one["object"] for one in answer["listed"]] == ["model"]
        assert answer["one"]["id"] == "gpt-image-1"

    async def test_unknown_model(self, gateway_url: str, image_path: Path) -> None:
        """Several files are `image[]`; an unknown model is the error's parameter."""
        result = await run_scenario("openai.mjs", gateway_url, "edits", image_path)
        assert (result["error"], result["status"], result["code"], result["param"]) == (
            "NotFoundError",
            404,
            "model_not_found",
            "model",
        )
        assert result["requestID"]

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
            (Refusal(Code.PERMISSION_DENIED, reason="ADMIN_ONLY"), "PermissionDeniedError", 403, None, 1),
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
        """Errors are its own classes, and it has an image made once, unless a retry helps."""
        fake.behave = refusal
        result = await run_scenario("openai.mjs", str(gateway.base_url), "links")
        assert (result["error"], result["status"], result["code"]) == (error, status, code)
        assert len(fake.requests) == calls


class TestVercel:
    @pytest.mark.parametrize(("scenario", "count"), [("compatible", 2), ("openai", 1), ("dalle", 1)])
    async def test_image(self, gateway_url: str, open_image: Open, scenario: str, count: int) -> None:
        """Both providers accept the response by their strict schemas, whatever the model's name."""
        answer = await run_scenario("vercel.mjs", gateway_url, scenario)
        assert [open_image(file(one)) for one in answer["images"]] == [("PNG", (64, 64), "RGB")] * count

    async def test_edit(self, gateway_url: str, open_image: Open, image_path: Path) -> None:
        """Without a response_format an edit returns base64."""
        answer = await run_scenario("vercel.mjs", gateway_url, "edit", image_path)
        assert [open_image(file(one)) for one in answer["images"]] == [("PNG", (128, 64), "RGB")]

    async def test_error(self, gateway_url: str) -> None:
        """An error matches its schema, too: the message is tintype's."""
        result = await run_scenario("vercel.mjs", gateway_url, "unknown")
        assert (result["error"], result["status"]) == ("AI_APICallError", 404)
        assert "nope" in result["message"]
