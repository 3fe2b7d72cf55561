"""The gateway over HTTP, before a real gRPC service."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2

from tintype.gateway.config import GatewayConfig
from tintype.v1 import image_service_pb2 as pb

from .fakes import PNG, FakeService, Refusal, Service, image, running_gateway, sleep_long

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PATH = "/v1/images/generations"
SMALLEST = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)


def config(service: Service, data: Path, **changes: Any) -> GatewayConfig:
    return GatewayConfig(**({"rest": "127.0.0.1:0", "grpc": service.address, "data": data, "timeout": 20} | changes))


def check_error(answer: httpx.Response, status: int, kind: str, code: str | None, param: str | None) -> str:
    """Check the whole answer against OpenAI's shape, and return its message."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["type"], body["error"]["code"], body["error"]["param"]) == (kind, code, param)
    assert answer.headers["x-request-id"]
    assert int(answer.headers["openai-processing-ms"]) >= 0
    return str(body["error"]["message"])


class TestPictures:
    async def test_base64(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """`b64_json` holds the file's bytes, in the order of their index, each with its seed and no null key."""
        answer = await gateway.post(PATH, json={"prompt": "a lake", "n": 3, "response_format": "b64_json"})
        assert answer.status_code == 200
        assert [base64.b64decode(one["b64_json"], validate=True) for one in answer.json()["data"]] == [
            PNG + bytes([index]) for index in range(3)
        ]
        assert [set(one) for one in answer.json()["data"]] == [{"b64_json", "seed"}] * 3
        assert isinstance(answer.json()["created"], int)
        assert fake.requests[0].prompt == "a lake"

    async def test_links(self, gateway: httpx.AsyncClient) -> None:
        """Without a format the answer has links, that work without any credential and end in the type's extension."""
        answer = await gateway.post(PATH, json={"prompt": "a lake", "n": 2, "output_format": "jpeg"})
        links = [one["url"] for one in answer.json()["data"]]
        assert [set(one) for one in answer.json()["data"]] == [{"url", "seed"}] * 2
        for index, link in enumerate(links):
            assert link.startswith(str(gateway.base_url))
            assert link.endswith(".jpg")
            assert "&" not in link
            async with httpx.AsyncClient(trust_env=False) as stranger:
                file = await stranger.get(link)
            assert file.content == PNG + bytes([index])
            assert file.headers["content-type"] == "image/jpeg"
            assert file.headers["x-content-type-options"] == "nosniff"
            assert file.headers["cache-control"].startswith("private, max-age=3")

    async def test_bare_path(self, gateway: httpx.AsyncClient) -> None:
        """Clients whose base URL has no `/v1` are served, too."""
        assert (await gateway.post("/images/generations", json={"prompt": "x"})).status_code == 200

    async def test_what_the_service_hears(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The service learns the deadline twice, the caller, and the request's id."""
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"x-request-id": "mine-1"})
        assert answer.headers["x-request-id"] == "mine-1"
        assert fake.metadata[0]["x-request-id"] == "mine-1"
        assert fake.requests[0].caller == "127.0.0.1"
        assert fake.requests[0].timeout.seconds == 20
        assert 10 < fake.remaining[0] < 21

    async def test_hostile_host(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A host that can't be in a link is refused before anything is drawn."""
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"host": '"><script>'})
        assert "host" in check_error(answer, 400, "invalid_request_error", None, None)
        assert not fake.requests

    async def test_hostile_request_id(self, gateway: httpx.AsyncClient) -> None:
        """An id that could do harm in a log or a header is replaced."""
        answer = await gateway.get("/livez", headers={"x-request-id": "a b\tc"})
        assert answer.headers["x-request-id"].startswith("req_")

    async def test_ignored_keys(self, gateway: httpx.AsyncClient) -> None:
        """Unknown keys are accepted and named, without a way to write headers; null ones are absent."""
        body = {"prompt": "x", "odd": 1, "a\r\nset-cookie: b": 1, "ü": 2, "none": None}
        answer = await gateway.post(PATH, json=body)
        assert answer.status_code == 200
        assert answer.headers["x-tintype-ignored"] == "odd, a%0D%0Aset-cookie%3A%20b, %C3%BC"
        assert "set-cookie" not in answer.headers
        assert "x-tintype-ignored" not in (await gateway.post(PATH, json={"prompt": "x"})).headers

    async def test_wishes(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A documented quality or style is no error with a model that has none: it is left out, and that is said."""
        behave = fake.behave

        async def without_presets(request: pb.GenerateImagesRequest, context: Any) -> Any:
            field = "quality" if request.quality else "style" if request.style else ""
            refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=[(field, "none")])
            async for event in (refusal if field else behave)(request, context):
                yield event

        fake.behave = without_presets
        body = {"prompt": "x", "quality": "high", "style": "vivid", "odd": 1}
        answer = await gateway.post(PATH, json=body)
        assert answer.status_code == 200
        assert "quality" not in answer.json()
        assert answer.headers["x-tintype-ignored"] == "odd, quality, style"
        assert [(asked.quality, asked.style) for asked in fake.requests] == [("high", "vivid"), ("", "vivid"), ("", "")]

    async def test_wishes_and_faults(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A wish does not hide another fault, and a field that was not sent can't be left out."""
        both = [("quality", "none"), ("steps", "bad")]
        fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=both)
        answer = await gateway.post(PATH, json={"prompt": "x", "quality": "hd"})
        check_error(answer, 400, "invalid_request_error", "invalid_value", "quality")
        fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=both[:1])
        answer = await gateway.post(PATH, json={"prompt": "x"})
        check_error(answer, 400, "invalid_request_error", "invalid_value", "quality")
        assert len(fake.requests) == 2

    async def test_strict_parameters(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """Where the configuration says so, an unknown key is an error, and nothing is made."""
        async with running_gateway(config(service, tmp_path, strict_parameters=True)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "odd": 1})
        assert "odd" in check_error(answer, 400, "invalid_request_error", "unknown_parameter", "odd")
        assert not fake.requests

    async def test_strict_parameters_are_the_unknown_ones(self, service: Service, tmp_path: Path) -> None:
        """A key that is known is no error, though it has no effect: it is named, as ever."""
        async with running_gateway(config(service, tmp_path, strict_parameters=True)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "size": "64x64", "width": 32})
        assert (answer.status_code, answer.headers["x-tintype-ignored"]) == (200, "width")

    async def test_response_format(self, service: Service, tmp_path: Path) -> None:
        """What is answered to those who don't say it is a setting; those who do get what they ask for."""
        async with running_gateway(config(service, tmp_path, response_format="b64_json")) as client:
            for path in (PATH, "/aqueduct/v1/images/generations", "/api/ai/images/generate"):
                answer = (await client.post(path, json={"prompt": "x"})).json()
                assert "b64_json" in answer.get("data", answer.get("images"))[0]
                answer = (await client.post(path, json={"prompt": "x", "response_format": "url"})).json()
                assert "b64_json" not in answer.get("data", answer.get("images"))[0]

    async def test_public_url(self, service: Service, tmp_path: Path) -> None:
        """Links have the configured base."""
        async with running_gateway(config(service, tmp_path, public_url="https://pics.example/x/")) as client:
            answer = await client.post(PATH, json={"prompt": "x"})
        assert answer.json()["data"][0]["url"].startswith("https://pics.example/x/files/")

    async def test_restart_keeps_links(self, service: Service, tmp_path: Path) -> None:
        """A link outlives the gateway that made it."""
        async with running_gateway(config(service, tmp_path)) as client:
            link = urlsplit((await client.post(PATH, json={"prompt": "x"})).json()["data"][0]["url"]).path
        async with running_gateway(config(service, tmp_path)) as client:
            assert (await client.get(link)).content == PNG + b"\0"


class TestModels:
    async def test_list(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The list has OpenAI's shape, the default model first."""
        answer = (await gateway.get("/v1/models")).json()
        assert answer["object"] == "list"
        assert [one["id"] for one in answer["data"]] == fake.models
        assert {(one["object"], one["owned_by"], one["created"]) for one in answer["data"]} == {
            ("model", "tintype", 1_700_000_000)
        }

    @pytest.mark.parametrize("path", ["org/large", "org%2Flarge"])
    async def test_one(self, gateway: httpx.AsyncClient, path: str) -> None:
        """A model's name may contain slashes, encoded or not."""
        assert (await gateway.get(f"/v1/models/{path}")).json()["id"] == "org/large"

    async def test_none(self, gateway: httpx.AsyncClient) -> None:
        """An unknown model is 404 with OpenAI's code."""
        answer = await gateway.get("/v1/models/nope")
        assert "nope" in check_error(answer, 404, "invalid_request_error", "model_not_found", "model")

    @pytest.mark.parametrize(("made", "told"), [((128, 96), "128x96"), ((64, 64), None), ((0, 0), None)])
    async def test_native_size(
        self, gateway: httpx.AsyncClient, fake: FakeService, made: tuple[int, int], told: str | None
    ) -> None:
        """A picture that the model made in another size says so in a header."""

        async def resampled(*_: Any) -> AsyncGenerator[pb.StreamImagesResponse]:
            yield image(0, native_width=made[0], native_height=made[1])
            yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny", usage=pb.Usage(images=1)))

        fake.behave = resampled
        answer = await gateway.post(PATH, json={"prompt": "x"})
        assert answer.headers.get("x-tintype-native-size") == told

    @pytest.mark.parametrize("name", ["dall-e-3", "gpt-image-1", "DALL-E 3", "FLUX.1 [schnell]"])
    async def test_vendor_names(self, gateway: httpx.AsyncClient, fake: FakeService, name: str) -> None:
        """The names that OpenAI's clients send by themselves mean the default model, and the answer says which."""
        answer = await gateway.post(PATH, json={"prompt": "x", "model": name})
        assert fake.requests[0].model == ""
        assert answer.headers["x-tintype-model"] == "tiny"
        assert ("url" in answer.json()["data"][0]) == (not name.startswith("gpt"))

    async def test_aliases(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """The table's names are replaced; `*` names the default model."""
        async with running_gateway(config(service, tmp_path, aliases={"big": "org/large", "*": "own"})) as client:
            await client.post(PATH, json={"prompt": "x", "model": "big"})
            await client.post(PATH, json={"prompt": "x"})
        assert [request.model for request in fake.requests] == ["org/large", "own"]

    async def test_aliases_are_listed(self, service: Service, tmp_path: Path) -> None:
        """Where the configuration says so, clients' names stand in the list, too, and each can be asked for."""
        aliases = {"big": "org/large", "gone": "nowhere"}
        async with running_gateway(config(service, tmp_path, aliases=aliases, list_aliases=True)) as client:
            listed = [one["id"] for one in (await client.get("/v1/models")).json()["data"]]
            assert listed[:2] == service.fake.models
            assert {"big", "dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5"} <= set(listed)
            assert "gone" not in listed
            one = (await client.get("/v1/models/big")).json()
        assert (one["id"], one["object"]) == ("big", "model")

    @pytest.mark.parametrize("action", ["generations", "edits", "variations"])
    async def test_azure(self, gateway: httpx.AsyncClient, fake: FakeService, action: str) -> None:
        """Below Azure's path a deployment is a model, unless the body names one; its version is passed over."""
        path = f"/openai/deployments/org-large/images/{action}?api-version=2025-04-01-preview"
        body = {"prompt": "x", "image": SMALLEST}
        for more in ({}, {"model": None}, {"model": "tiny"}):
            answer = await gateway.post(path, json=body | more, headers={"api-key": "any"})
            assert answer.status_code == 200, answer.text
        assert [request.model for request in fake.requests] == ["org-large", "org-large", "tiny"]
        answer = await gateway.post(path, json={"image": SMALLEST, "n": 11, "prompt": "x"})
        check_error(answer, 400, "invalid_request_error", "invalid_value", "n")

    async def test_unknown_model_is_replaced(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """With strict_models off an unknown name gets the default model, and a header says so."""
        behave = fake.behave
        missing = Refusal(grpc.StatusCode.NOT_FOUND, "no", "MODEL_NOT_FOUND", {"model": "nope"})
        fake.behave = lambda request, context: (missing if request.model else behave)(request, context)
        async with running_gateway(config(service, tmp_path, strict_models=False)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "model": "nope"})
        assert answer.status_code == 200
        assert answer.headers["x-tintype-model"] == "tiny"


class TestFiles:
    async def link(self, gateway: httpx.AsyncClient) -> str:
        return str((await gateway.post(PATH, json={"prompt": "x"})).json()["data"][0]["url"])

    async def test_head_and_etag(self, gateway: httpx.AsyncClient) -> None:
        """HEAD tells without the bytes; who has them already gets 304."""
        link = await self.link(gateway)
        head = await gateway.head(link)
        assert head.status_code == 200
        assert head.content == b""
        assert int(head.headers["content-length"]) == len(PNG) + 1
        same = await gateway.get(link, headers={"if-none-match": head.headers["etag"]})
        assert same.status_code == 304
        assert same.content == b""

    async def test_foreign_authorization(self, gateway: httpx.AsyncClient) -> None:
        """Clients that send their key along are served all the same."""
        link = await self.link(gateway)
        assert (await gateway.get(link, headers={"authorization": "Bearer x"})).status_code == 200

    @pytest.mark.parametrize(
        "path",
        [
            "/files/ACCESS/../links.key",
            "/files/ACCESS/..%2flinks.key",
            "/files/ACCESS/%2e%2e%2flinks.key",
            "/files/ACCESS/links.key",
            "/files/ACCESS/.%00.png",
            "/files/ACCESS/" + "0" * 32 + ".png",
            "/files/ACCESS/",
            "/files/ACCESS",
            "/files/",
            "/files//etc/passwd",
        ],
    )
    async def test_nothing_else_is_opened(self, gateway: httpx.AsyncClient, path: str) -> None:
        """Whatever is no name of a kept file is not there."""
        answer = await gateway.get(path.replace("ACCESS", f"9999999999-{'0' * 32}"))
        check_error(answer, 404, "invalid_request_error", None, None)

    async def test_no_signature(self, gateway: httpx.AsyncClient) -> None:
        """A name alone opens nothing."""
        name = (await self.link(gateway)).rpartition("/")[2]
        for path in (f"/files/{name}", f"/files/-/{name}"):
            check_error(await gateway.get(path), 404, "invalid_request_error", None, None)

    async def test_expiry(self, service: Service, tmp_path: Path) -> None:
        """After its time a link is dead, and the file is gone from the disk without anybody asking."""
        async with running_gateway(config(service, tmp_path, url_ttl=0.5)) as client:
            link = await self.link(client)
            assert list((tmp_path / "files").iterdir())
            async with asyncio.timeout(10):
                while list((tmp_path / "files").iterdir()):  # noqa: ASYNC110 - a folder has no event
                    await asyncio.sleep(0.1)
            assert (await client.get(link)).status_code == 404


class TestTheRest:
    async def test_not_found(self, gateway: httpx.AsyncClient) -> None:
        """A path that is not served is answered in OpenAI's shape."""
        assert "/v2/x" in check_error(await gateway.get("/v2/x"), 404, "invalid_request_error", None, None)

    async def test_method(self, gateway: httpx.AsyncClient) -> None:
        """A wrong method is told the right ones."""
        answer = await gateway.get(PATH)
        assert "POST" in answer.headers["allow"]
        check_error(answer, 405, "invalid_request_error", None, None)

    async def test_bare_options(self, gateway: httpx.AsyncClient) -> None:
        """OPTIONS without anything else succeeds: some clients probe with it."""
        for path in (PATH, "/v1/models", "/v1/action/generate_image", "/"):
            assert (await gateway.options(path)).status_code == 204

    async def test_security_headers(self, gateway: httpx.AsyncClient) -> None:
        """No answer is taken for a page or a script; a result may be shown by any page, and runs nothing."""
        for path in ("/", "/v1/models", "/nothing"):
            headers = (await gateway.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert headers["referrer-policy"] == "no-referrer"
        link = (await gateway.post(PATH, json={"prompt": "x"})).json()["data"][0]["url"]
        headers = (await gateway.get(link)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].endswith("sandbox")
        assert headers["cross-origin-resource-policy"] == "cross-origin"
        assert len(headers.get_list("content-security-policy")) == 1

    @pytest.mark.parametrize("path", ["//v1//images/generations", "/v1/images/generations/", "/v1/images/generations?"])
    async def test_sloppy_paths(self, gateway: httpx.AsyncClient, path: str) -> None:
        """Slashes too many, and a bare question mark, change nothing, and nothing is redirected."""
        url = f"{gateway.base_url}".rstrip("/") + path
        assert (await gateway.post(url, json={"prompt": "x"})).status_code == 200

    @pytest.mark.parametrize("path", ["/apipie/v1/models", "/openai/v1/models", "/aqueduct/v1/models/org/large"])
    async def test_models_below_a_vendor(self, gateway: httpx.AsyncClient, path: str) -> None:
        """A client whose base URL is a vendor's prefix finds the models there."""
        assert "org/large" in (await gateway.get(path)).text

    async def test_too_large(self, gateway: httpx.AsyncClient) -> None:
        """A body over the limit is refused, whether it says its length or not."""
        body = b'{"prompt": "' + b"x" * 200_000 + b'"}'

        async def chunks() -> Any:
            for start in range(0, len(body), 50_000):
                yield body[start : start + 50_000]

        json = {"content-type": "application/json"}
        for content in (body, chunks()):
            answer = await gateway.post(PATH, content=content, headers=json)
            assert "100000" in check_error(answer, 413, "invalid_request_error", None, None)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"nonsense",
            b"[]",
            b'"x"',
            b"null",
            b"\xff",
            b'{"prompt": "\xff"}',
            b"[" * 50_000,
            b'{"a": 1e999}',
            rb'{"prompt": "\ud800"}',
        ],
    )
    async def test_not_json(self, gateway: httpx.AsyncClient, body: bytes) -> None:
        """What is no JSON object is a bad request, never a fault of ours, and said without Python's own words."""
        answer = await gateway.post(PATH, content=body, headers={"content-type": "application/json"})
        assert "recursion" not in check_error(answer, 400, "invalid_request_error", None, None)

    async def test_host(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A host that can't be is the client's mistake, and known before a picture is made for a link to it."""
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"host": "x:99999"})
        assert "'host'" in check_error(answer, 400, "invalid_request_error", None, None)
        assert not fake.requests

    async def test_content_type(self, gateway: httpx.AsyncClient) -> None:
        """Another content type is refused, none at all is taken for JSON."""
        answer = await gateway.post(PATH, data={"prompt": "x"})
        assert "application/json" in check_error(answer, 415, "invalid_request_error", None, None)
        assert (await gateway.post(PATH, content=b'{"prompt": "x"}')).status_code == 200

    async def test_probes(self, gateway: httpx.AsyncClient, service: Service) -> None:
        """The gateway lives without the service, and is ready only with it."""
        name = "tintype.v1.ImageService"
        assert (await gateway.get("/readyz")).json() == {"status": "ready"}
        await service.health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            assert (await gateway.get("/readyz")).status_code == 503
            assert (await gateway.get("/livez")).status_code == 200
        finally:
            await service.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        async with asyncio.timeout(10):
            while (await gateway.get("/readyz")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def test_landing(self, gateway: httpx.AsyncClient) -> None:
        """The root names what is served, and HEAD works there."""
        images = (await gateway.get("/")).json()["endpoints"]["images"]
        assert images[PATH] == "openai"
        assert images["/v1/action/generate_image"] == "agent.ai"
        assert (await gateway.head("/")).status_code == 200

    @pytest.mark.parametrize(
        "path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/v1/models/tiny"]
    )
    async def test_head(self, gateway: httpx.AsyncClient, path: str) -> None:
        """Monitors that ask for the head of what can be read get it, without the rest."""
        head, whole = await gateway.head(path), await gateway.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert int(head.headers["content-length"]) > 0

    async def test_description(self, gateway: httpx.AsyncClient) -> None:
        """The description's references all lead somewhere, and the prompt is the one required field."""
        answer = await gateway.get("/openapi.json")
        description = answer.json()
        schemas = description["components"]["schemas"]
        references = {part.split('"')[0] for part in answer.text.split("#/components/schemas/")[1:]}
        assert references <= set(schemas)
        assert schemas["ImagesRequest"]["required"] == ["prompt"]
        assert description["paths"][PATH]["post"]["responses"]["200"]

    async def test_log(self, gateway: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
        """A request leaves one line, without its prompt and without a link's signature."""
        caplog.set_level(logging.INFO)
        answer = await gateway.post(PATH, json={"prompt": "a secret lake"})
        link = answer.json()["data"][0]["url"]
        await gateway.get(link)
        lines = [record.getMessage() for record in caplog.records if record.name == "tintype.gateway.access"]
        file = f"/files/-/{link.rpartition('/')[2]}"
        assert f"method=POST path={PATH} status=200" in lines[0]
        assert f"method=GET path={file} status=200" in lines[1]
        assert lines[0].startswith(f"id={answer.headers['x-request-id']} ")
        assert "secret" not in caplog.text
        assert link.split("/")[-2] not in "".join(lines)


class TestLeaving:
    async def test_client_gone(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """When the client hangs up, the service hears of it at once."""
        fake.behave = sleep_long
        with pytest.raises(httpx.ReadTimeout):
            await gateway.post(PATH, json={"prompt": "x"}, timeout=0.5)
        await asyncio.wait_for(fake.cancelled.wait(), 30)

    async def test_others_do_not_notice(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Another request on its way is not touched."""
        go = asyncio.Event()
        normal = fake.behave

        async def waits(request: pb.GenerateImagesRequest, context: Any) -> Any:
            await go.wait()
            async for event in normal(request, context):
                yield event

        fake.behave = waits
        other = asyncio.create_task(gateway.post(PATH, json={"prompt": "other"}))
        with pytest.raises(httpx.ReadTimeout):
            await gateway.post(PATH, json={"prompt": "x"}, timeout=0.3)
        await asyncio.wait_for(fake.cancelled.wait(), 30)
        go.set()
        assert (await other).status_code == 200
