"""Models, result files and health probes over HTTP, with a real gRPC server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.gateway.fakes import PATH, PNG, SMALLEST_PNG, FakeService, Refusal, Service, config, running_gateway
from tests.support.gateway.openai_errors import check_error
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio


class TestModels:
    async def test_list_has_the_default_model_first(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The list has OpenAI's format, the default model first."""
        answer = (await gateway.get("/v1/models")).json()
        assert answer["object"] == "list"
        assert [one["id"] for one in answer["data"]] == fake.models
        assert {(one["object"], one["owned_by"], one["created"]) for one in answer["data"]} == {
            ("model", "tintype", 1_700_000_000)
        }

    @pytest.mark.parametrize("path", ["org/large", "org%2Flarge"])
    async def test_model_names_may_contain_slashes(self, gateway: httpx.AsyncClient, path: str) -> None:
        """A model's name may contain slashes, encoded or not."""
        assert (await gateway.get(f"/v1/models/{path}")).json()["id"] == "org/large"

    async def test_unknown_model_is_404(self, gateway: httpx.AsyncClient) -> None:
        """An unknown model gives 404 with OpenAI's code."""
        answer = await gateway.get("/v1/models/nope")
        assert "nope" in check_error(answer, 404, "invalid_request_error", "model_not_found", "model")

    @pytest.mark.parametrize("name", ["dall-e-3", "gpt-image-1", "DALL-E 3", "FLUX.1 [schnell]"])
    async def test_openais_names_mean_the_default(
        self, gateway: httpx.AsyncClient, fake: FakeService, name: str
    ) -> None:
        """The default names of OpenAI's clients mean the default model, which a header names."""
        answer = await gateway.post(PATH, json={"prompt": "x", "model": name})
        assert fake.requests[0].model == ""
        assert answer.headers["x-tintype-model"] == "tiny"
        assert ("url" in answer.json()["data"][0]) == (not name.startswith("gpt"))

    async def test_aliases_are_replaced(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """Aliases are replaced; `*` names the default model."""
        fake.models = ["tiny", "org/large", "own"]
        async with running_gateway(config(service, tmp_path, aliases={"big": "org/large", "*": "own"})) as client:
            await client.post(PATH, json={"prompt": "x", "model": "big"})
            await client.post(PATH, json={"prompt": "x"})
        assert [request.model for request in fake.requests] == ["org/large", "own"]

    async def test_aliases_are_listed(self, service: Service, tmp_path: Path) -> None:
        """If configured, aliases are in the list, and each can be requested."""
        aliases = {"big": "org/large", "gone": "nowhere"}
        service.fake.models.append("nowhere")
        async with running_gateway(config(service, tmp_path, aliases=aliases, list_aliases=True)) as client:
            await client.get("/readyz")
            service.fake.models.remove("nowhere")
            meant = {one["id"]: one.get("alias_of") for one in (await client.get("/v1/models")).json()["data"]}
            listed = list(meant)
            assert listed[:2] == service.fake.models
            assert {"big", "dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5"} <= set(listed)
            assert "gone" not in listed
            assert (meant["big"], meant["dall-e-3"], meant["org/large"]) == ("org/large", "tiny", None)
            one = (await client.get("/v1/models/big")).json()
        assert (one["id"], one["object"]) == ("big", "model")

    async def test_models_are_loaded_and_unloaded(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A model is loaded and unloaded by its name or an alias; the answer is the model, with state and memory."""
        fake.loading["org/large"] = 0.25
        loading = (await gateway.post("/v1/models/load", json={"model": "org/large"})).json()
        assert (loading["state"], loading["load_fraction"], loading["memory_bytes"]) == ("loading", 0.25, 3 * 2**30)
        fake.loading.clear()
        assert (await gateway.get("/v1/models/org/large")).json()["state"] == "loaded"
        unloaded = (await gateway.post("/openai/v1/models/unload", json={"model": "org/large"})).json()
        assert (unloaded["id"], unloaded["state"]) == ("org/large", "unloaded")
        assert fake.admin_calls == ["load org/large", "unload org/large"]

    async def test_models_that_are_not_loaded(
        self, gateway: httpx.AsyncClient, service: Service, fake: FakeService, tmp_path: Path
    ) -> None:
        """An unknown name is 404, a missing one 400; a key without admin rights is 403 and reaches no service."""
        answer = await gateway.post("/v1/models/load", json={"model": "nope"})
        assert "nope" in check_error(answer, 404, "invalid_request_error", "model_not_found", "model")
        for body in ({}, {"model": ""}, {"model": 3}):
            answer = await gateway.post("/v1/models/unload", json=body)
            assert "must be the name of a model" in check_error(
                answer, 400, "invalid_request_error", "invalid_value", "model"
            )
        key, before = create(tmp_path / "keys", "alice"), list(fake.admin_calls)
        async with running_gateway(config(service, tmp_path, keys=tmp_path / "keys")) as client:
            headers = {"authorization": f"Bearer {key}"}
            answer = await client.post("/v1/models/load", json={"model": "tiny"}, headers=headers)
        assert answer.status_code == 403
        assert "--admin" in answer.json()["error"]["message"]
        assert fake.admin_calls == before

    @pytest.mark.parametrize("action", ["generations", "edits", "variations"])
    async def test_azure_deployment_is_the_model(
        self, gateway: httpx.AsyncClient, fake: FakeService, action: str
    ) -> None:
        """In Azure's path the deployment is the model, unless the body names one; the API version is ignored."""
        path = f"/openai/deployments/org-large/images/{action}?api-version=2025-04-01-preview"
        body = {"prompt": "x", "image": SMALLEST_PNG}
        for more in ({}, {"model": None}, {"model": "tiny"}):
            answer = await gateway.post(path, json=body | more, headers={"api-key": "any"})
            assert answer.status_code == 200, answer.text
        assert [request.model for request in fake.requests] == ["org-large", "org-large", "tiny"]
        answer = await gateway.post(path, json={"image": SMALLEST_PNG, "n": 11, "prompt": "x"})
        check_error(answer, 400, "invalid_request_error", "invalid_value", "n")

    async def test_unknown_model_is_replaced(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """Without strict_models, an unknown name gets the default model, and a header names it."""
        behave = fake.behave
        missing = Refusal(grpc.StatusCode.NOT_FOUND, "no", "MODEL_NOT_FOUND", {"model": "nope"})
        fake.behave = lambda request, context: (missing if request.model else behave)(request, context)
        async with running_gateway(config(service, tmp_path, strict_models=False)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "model": "nope"})
        assert answer.status_code == 200
        assert answer.headers["x-tintype-model"] == "tiny"

    @pytest.mark.parametrize(
        "name", ["gpt-image-2.5-sunburst", "gpt-image-2.6-flare-2026-11-01", "dall-e-4", "chatgpt-image-2031"]
    )
    async def test_future_openai_names_mean_the_default(
        self, gateway: httpx.AsyncClient, fake: FakeService, name: str
    ) -> None:
        """Names of future OpenAI models mean the default model, in each API."""
        behave = fake.behave
        missing = Refusal(grpc.StatusCode.NOT_FOUND, "no", "MODEL_NOT_FOUND", {"model": name})
        fake.behave = lambda request, context: (missing if request.model not in ("", "tiny") else behave)(
            request, context
        )
        for path in (PATH, "/v1/images/edits", "/apipie/v1/images/generations", "/api/ai/images/generate"):
            answer = await gateway.post(path, json={"prompt": "x", "model": name, "image": SMALLEST_PNG})
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-tintype-model"] == "tiny"
        answer = await gateway.get(f"/v1/models/{name}")
        assert (answer.status_code, answer.json()["id"]) == (200, name)
        answer = await gateway.post("/sdapi/v1/options", json={"sd_model_checkpoint": f"{name}.safetensors [abcdef]"})
        assert answer.status_code == 200, answer.text

    async def test_served_model_takes_precedence_over_names(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """A served model with such a name is found by it."""
        fake.models = ["tiny", "gpt-image-mine"]
        answer = await gateway.post(PATH, json={"prompt": "x", "model": "gpt-image-mine"})
        assert (answer.status_code, fake.requests[-1].model) == (200, "gpt-image-mine")
        assert (await gateway.get("/v1/models/gpt-image-mine")).json()["id"] == "gpt-image-mine"

    @pytest.mark.parametrize("path", ["/apipie/v1/models", "/openai/v1/models", "/aqueduct/v1/models/org/large"])
    async def test_models_below_a_vendor(self, gateway: httpx.AsyncClient, path: str) -> None:
        """A client whose base URL is a vendor's prefix finds the models there."""
        assert "org/large" in (await gateway.get(path)).text


class TestFiles:
    async def result_link(self, gateway: httpx.AsyncClient) -> str:
        return str((await gateway.post(PATH, json={"prompt": "x"})).json()["data"][0]["url"])

    async def test_files_support_head_and_etag(self, gateway: httpx.AsyncClient) -> None:
        """HEAD returns the headers without the file; an unchanged file gives 304."""
        result_link = await self.result_link(gateway)
        head = await gateway.head(result_link)
        assert head.status_code == 200
        assert head.content == b""
        assert int(head.headers["content-length"]) == len(PNG) + 1
        same = await gateway.get(result_link, headers={"if-none-match": head.headers["etag"]})
        assert same.status_code == 304
        assert same.content == b""

    async def test_files_ignore_authorization(self, gateway: httpx.AsyncClient) -> None:
        """Requests for results may contain a key."""
        result_link = await self.result_link(gateway)
        assert (await gateway.get(result_link, headers={"authorization": "Bearer x"})).status_code == 200

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
    async def test_other_names_are_404(self, gateway: httpx.AsyncClient, path: str) -> None:
        """A name that is not a result's gives 404."""
        answer = await gateway.get(path.replace("ACCESS", f"9999999999-{'0' * 32}"))
        check_error(answer, 404, "invalid_request_error", None, None)

    async def test_unsigned_name_is_404(self, gateway: httpx.AsyncClient) -> None:
        """A name without a signature gives 404."""
        name = (await self.result_link(gateway)).rpartition("/")[2]
        for path in (f"/files/{name}", f"/files/-/{name}"):
            check_error(await gateway.get(path), 404, "invalid_request_error", None, None)

    async def test_expired_file_is_deleted(self, service: Service, tmp_path: Path) -> None:
        """After its expiry a link fails, and the file is deleted without a request."""
        async with running_gateway(config(service, tmp_path, url_ttl=0.5)) as client:
            result_link = await self.result_link(client)
            assert list((tmp_path / "files").iterdir())
            async with asyncio.timeout(10):
                while list((tmp_path / "files").iterdir()):  # noqa: ASYNC110 - a folder has no event
                    await asyncio.sleep(0.1)
            assert (await client.get(result_link)).status_code == 404


class TestProbes:
    async def test_ready_only_with_the_service(self, gateway: httpx.AsyncClient, service: Service) -> None:
        """The gateway is alive without the service, and ready only with it."""
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

    async def test_root_lists_the_endpoints(self, gateway: httpx.AsyncClient) -> None:
        """The root lists the endpoints, and supports HEAD."""
        images = (await gateway.get("/")).json()["endpoints"]["images"]
        assert images[PATH] == "openai"
        assert images["/v1/action/generate_image"] == "agent.ai"
        assert (await gateway.head("/")).status_code == 200

    @pytest.mark.parametrize(
        "path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/v1/models/tiny"]
    )
    async def test_head_on_all_readable_paths(self, gateway: httpx.AsyncClient, path: str) -> None:
        """HEAD works on all readable paths, without a body."""
        head, whole = await gateway.head(path), await gateway.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert int(head.headers["content-length"]) > 0
