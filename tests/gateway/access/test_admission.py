"""Access limits of a key over HTTP, on every path that generates images."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import grpc
import openai
import pytest
from PIL import Image

from tests.support.gateway.fakes import PATH, FakeService, Refusal, Service, config, image, running_gateway
from tests.support.gateway.openai_errors import check_error
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

    import httpx


pytestmark = pytest.mark.anyio

EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def image_file() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    return file.getvalue()


class TestModels:
    async def test_a_model_that_the_key_does_not_allow_gives_403(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path
    ) -> None:
        """A model that the key does not allow gives 403 in each vendor's format, and no image is generated."""
        headers = bearer(create(file, "me", models=("tiny",)))
        body = {"prompt": "x", "model": "org/large"}
        message = "This API key is for tiny, not for org/large."
        async with running_gateway(config(service, tmp_path)) as client:
            for path in (PATH, "/apipie/v1/images/generations"):
                answer = await client.post(path, json=body, headers=headers)
                assert check_error(answer, 403, "invalid_request_error", "permission_denied", "model") == message
            answer = await client.post("/v1/action/generate_image", json=body, headers=headers)
            assert (answer.status_code, answer.json()) == (403, {"error": message, "status": 403})
            answer = await client.post("/api/ai/images/generate", json=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["detail"]) == (403, message)
            answer = await client.post("/aqueduct/images/generations", json=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_denied_error")
            answer = await client.post(PATH, json=body | {"stream": True}, headers=headers)
            check_error(answer, 403, "invalid_request_error", "permission_denied", "model")
        assert not fake.requests

    async def test_aliases_are_resolved_before_the_check(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path
    ) -> None:
        """Clients' names are resolved first; names that mean the default give the key's own default."""
        headers = bearer(create(file, "me", models=("org/large",)))
        aliases = {"dall-e-3": "*", "big": "org/large", "small": "tiny"}
        async with running_gateway(config(service, tmp_path, aliases=aliases)) as client:
            for model in (None, "dall-e-3", "big", "org/large"):
                answer = await client.post(PATH, json={"prompt": "x", "model": model}, headers=headers)
                assert answer.status_code == 200
            answer = await client.post(PATH, json={"prompt": "x", "model": "small"}, headers=headers)
            assert "not for tiny" in check_error(answer, 403, "invalid_request_error", "permission_denied", "model")
        assert [request.model for request in fake.requests] == ["org/large"] * 4

    async def test_the_configured_default_applies_if_allowed(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path
    ) -> None:
        """The gateway's default model is the key's default if the key allows it."""
        headers = bearer(create(file, "me", models=("org/large", "tiny")))
        async with running_gateway(config(service, tmp_path, aliases={"*": "tiny"})) as client:
            await client.post(PATH, json={"prompt": "x"}, headers=headers)
        assert [request.model for request in fake.requests] == ["tiny"]

    async def test_missing_models_fall_back_to_the_keys_default(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path
    ) -> None:
        """A missing model of the key is replaced by the key's default if unknown names are not errors."""
        headers = bearer(create(file, "me", models=("tiny", "gone")))
        normal = fake.behave

        async def behave(request: Any, context: Any) -> Any:
            refusal = Refusal(grpc.StatusCode.NOT_FOUND, "no", "MODEL_NOT_FOUND", {"model": "gone"})
            async for event in (refusal if request.model == "gone" else normal)(request, context):
                yield event

        fake.behave = behave
        async with running_gateway(config(service, tmp_path, strict_models=False)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "model": "gone"}, headers=headers)
        assert (answer.status_code, answer.headers["x-tintype-model"]) == (200, "tiny")

    @pytest.mark.parametrize("stream", [False, True])
    async def test_errors_name_only_the_keys_models(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path, *, stream: bool
    ) -> None:
        """The error for a missing model of the key names the key's models and no others."""
        headers = bearer(create(file, "me", models=("gone", "tiny")))
        service_message = "there is no model 'gone'; there are: tiny, org/large"
        fake.behave = Refusal(grpc.StatusCode.NOT_FOUND, service_message, "MODEL_NOT_FOUND", {"model": "gone"})
        async with running_gateway(config(service, tmp_path)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "model": "gone", "stream": stream}, headers=headers)
            model_response = await client.get("/v1/models/gone", headers=headers)
            other_key_response = await client.post(
                PATH, json={"prompt": "x", "model": "gone"}, headers=bearer(create(file, "you"))
            )
        message = check_error(answer, 404, "invalid_request_error", "model_not_found", "model")
        assert message == "there is no model 'gone'; this API key is for gone, tiny"
        assert "org/large" not in model_response.text
        assert "org/large" in other_key_response.text

    async def test_lists_contain_only_the_keys_models(self, service: Service, file: Path, tmp_path: Path) -> None:
        """Lists of models contain only the key's models, its default first."""
        large, all_ = create(file, "me", models=("org/large",)), create(file, "you")
        both = create(file, "us", models=("org/large", "tiny"))
        async with running_gateway(config(service, tmp_path)) as client:
            listed = {}
            for key in (large, all_, both):
                answer = await client.get("/v1/models", headers=bearer(key))
                listed[key] = [model["id"] for model in answer.json()["data"]]
            assert listed == {large: ["org/large"], all_: ["tiny", "org/large"], both: ["org/large", "tiny"]}
            assert (await client.get("/v1/models/org/large", headers=bearer(large))).status_code == 200
            answer = await client.get("/v1/models/tiny", headers=bearer(large))
            check_error(answer, 403, "invalid_request_error", "permission_denied", "model")

    async def test_the_sdk_raises_permission_denied(self, service: Service, file: Path, tmp_path: Path) -> None:
        """OpenAI's SDK raises its own exception classes."""
        key = create(file, "me", models=("tiny",))
        async with (
            running_gateway(config(service, tmp_path)) as client,
            openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key=key, max_retries=0) as sdk,
        ):
            with pytest.raises(openai.PermissionDeniedError) as caught:
                await sdk.images.generate(prompt="x", model="org/large")
        assert caught.value.code == "permission_denied"


class TestRates:
    async def test_each_key_has_its_own_request_rate(self, service: Service, file: Path, tmp_path: Path) -> None:
        """Each key has its own rate, or the gateway's; keys do not share a rate."""
        keys = [create(file, "me", requests=2), create(file, "you"), create(file, "all", requests=0)]
        async with running_gateway(config(service, tmp_path, rate_limit=1)) as client:
            statuses = [
                [(await client.post(PATH, json={"prompt": "x"}, headers=bearer(key))).status_code for _ in range(3)]
                for key in keys
            ]
        assert statuses == [[200, 200, 429], [200, 429, 429], [200, 200, 200]]

    async def test_images_are_counted_on_every_path(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path
    ) -> None:
        """Images are counted by `n` on every path, and the response headers contain what is left."""
        headers = bearer(create(file, "me", images=8))
        async with running_gateway(config(service, tmp_path)) as client:

            async def remaining(path: str, **body: Any) -> str:
                answer = await client.post(path, headers=headers, **body)
                assert answer.status_code == 200, answer.text
                assert answer.headers["x-ratelimit-limit-images"] == "8"
                return answer.headers["x-ratelimit-remaining-images"]

            files = {"image": ("a.png", image_file(), "image/png")}
            assert await remaining(PATH, json={"prompt": "x", "n": 3}) == "5"
            assert await remaining(PATH, json={"prompt": "x", "stream": True}) == "4"
            assert await remaining(EDITS, data={"prompt": "x", "n": "2"}, files=files) == "2"
            assert await remaining(VARIATIONS, files=files) == "1"
            assert await remaining("/v1/action/generate_image", json={"prompt": "x"}) == "0"
            answer = await client.post(PATH, json={"prompt": "x", "n": 2}, headers=headers)
            message = check_error(answer, 429, "requests", "rate_limit_exceeded", None)
            assert message.startswith("The limit is 8 images per minute. Try again in ")
            assert answer.headers["x-ratelimit-remaining-images"] == "0"
            assert 1 <= int(answer.headers["retry-after"]) <= 15
            assert int(answer.headers["retry-after-ms"]) <= 15_000
        assert len(fake.requests) == 5

    async def test_more_images_than_the_rate_is_a_client_error(
        self, service: Service, file: Path, tmp_path: Path
    ) -> None:
        """More images than the rate ever allows is a client error, which SDKs do not retry."""
        headers = bearer(create(file, "me", images=2))
        async with running_gateway(config(service, tmp_path)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "n": 3}, headers=headers)
        message = check_error(answer, 400, "invalid_request_error", "invalid_value", "n")
        assert message == "Invalid 'n': must be at most 2, the limit of images per minute, not 3."

    async def test_failed_images_are_not_counted(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path
    ) -> None:
        """Images that were not generated are not counted; neither is a replayed response."""
        headers = bearer(create(file, "me", images=2))

        async def incomplete(*_: Any) -> Any:
            yield image()

        async with running_gateway(config(service, tmp_path)) as client:
            for behave in (Refusal(grpc.StatusCode.INVALID_ARGUMENT), incomplete):
                fake.behave = behave
                for stream in (False, True):
                    answer = await client.post(PATH, json={"prompt": "x", "n": 2, "stream": stream}, headers=headers)
                    if answer.status_code != 200:
                        assert answer.headers["x-ratelimit-remaining-images"] == "2"
            fake.reset()
            repeated_headers = headers | {"idempotency-key": "a"}
            answers = [await client.post(PATH, json={"prompt": "x"}, headers=repeated_headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert len(fake.requests) == 1

    async def test_without_keys_limits_apply_to_addresses(self, service: Service, tmp_path: Path) -> None:
        """Without keys, the gateway's limits apply to addresses."""
        async with running_gateway(config(service, tmp_path, image_limit=3)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "n": 2})
            assert answer.headers["x-ratelimit-remaining-images"] == "1"
            assert (await client.post(PATH, json={"prompt": "x", "n": 2})).status_code == 429

    async def test_error_responses_have_rate_headers(self, service: Service, file: Path, tmp_path: Path) -> None:
        """Error responses contain the rate limit headers, too."""
        headers = bearer(create(file, "me", requests=9))
        async with running_gateway(config(service, tmp_path)) as client:
            answer = await client.post(PATH, json={}, headers=headers)
        assert (answer.status_code, answer.headers["x-ratelimit-remaining-requests"]) == (400, "8")


async def test_priority_and_caller_are_sent_to_the_engine(
    service: Service, fake: FakeService, file: Path, tmp_path: Path
) -> None:
    """A key's priority is sent to the engine."""
    keys = [create(file, "me", priority=7), create(file, "you", priority=-100), create(file, "us")]
    async with running_gateway(config(service, tmp_path)) as client:
        for key in keys:
            await client.post(PATH, json={"prompt": "x"}, headers=bearer(key))
    assert [request.priority for request in fake.requests] == [7, -100, 0]
    assert [request.caller for request in fake.requests] == ["me", "you", "us"]


async def test_users_share_the_rate_of_their_key(
    service: Service, fake: FakeService, file: Path, tmp_path: Path
) -> None:
    """A key gets no larger share by naming many users; without keys, users have separate shares."""
    body = {"prompt": "x", "user": "someone"}
    async with running_gateway(config(service, tmp_path)) as client:
        await client.post(PATH, json=body)
        await client.post(PATH, json=body, headers=bearer(create(file, "me")))
    assert [request.caller for request in fake.requests] == ["someone", "me"]


async def test_without_keys_the_caller_is_the_address(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Without keys there are no limits, and the engine is fair between addresses."""
    assert (await gateway.post(PATH, json={"prompt": "x", "n": 10})).status_code == 200
    assert (fake.requests[0].priority, fake.requests[0].caller) == (0, "127.0.0.1")
