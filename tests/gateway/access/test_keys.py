"""API keys over HTTP."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import openai
import pytest

from tests.support.gateway.fakes import PATH, PNG, FakeService, Service, config, running_gateway
from tests.support.gateway.openai_errors import check_error
from tintype.gateway.access.keys import ClientKeys
from tintype.gateway.access.rejections import NoKey, WrongKey
from tintype.gateway.jobs.errors import KeyRemoved
from tintype.v1.keyfile import KeysError, create, revoke

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def basic(password: str) -> str:
    return "Basic " + b64encode(f"user:{password}".encode()).decode()


def name(keys: ClientKeys, **headers: str) -> str | None:
    """Return the name of the key in these headers."""
    key = keys.authenticate({key.replace("_", "-"): value for key, value in headers.items()})
    return key.name if key else None


class TestJobs:
    def test_a_job_has_the_key_of_its_name(self, file: Path) -> None:
        """It has the rights of its key; once the key is removed, or keys are required, it fails."""
        keys = ClientKeys(file, optional=True)
        assert keys.of_job("") is None
        create(file, "me", priority=3)
        found = keys.of_job("me")
        assert found
        assert found.priority == 3
        with pytest.raises(NoKey):
            keys.of_job("")  # submitted before keys were required
        create(file, "you")
        revoke(file, "me")
        with pytest.raises(KeyRemoved):
            keys.of_job("me")


class TestFile:
    def test_key_changes_apply_without_a_restart(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Keys change without a restart; a file that breaks or vanishes has no effect and is logged once."""
        first = create(file, "me")
        keys = ClientKeys(file)
        second = create(file, "you")
        assert name(keys, api_key=second) == "you"
        file.write_text("garbage")
        assert name(keys, api_key=first) == name(keys, api_key=first) == "me"
        assert len([line for line in caplog.messages if "keeping the previous keys" in line]) == 1
        file.unlink()
        assert name(keys, api_key=first) == "me"
        create(file, "you")
        with pytest.raises(WrongKey):
            keys.authenticate({"api-key": first})

    def test_revoked_keys_are_rejected(self, file: Path) -> None:
        """A revoked key is rejected; after the last key is revoked, every request is rejected."""
        key = create(file, "me")
        keys = ClientKeys(file, optional=True)
        revoke(file, "me")
        with pytest.raises(WrongKey):
            keys.authenticate({"api-key": key})

    def test_the_first_key_makes_keys_required(self, file: Path) -> None:
        """An optional key file may be missing; once it has a key, a key is required."""
        keys = ClientKeys(file, optional=True)
        assert keys.authenticate({}) is None
        key = create(file, "me")
        with pytest.raises(NoKey):
            keys.authenticate({})
        assert name(keys, api_key=key) == "me"

    def test_a_configured_key_file_must_exist(self, file: Path) -> None:
        """A configured key file must exist."""
        remedy = r"it does not exist; create it with `tintype keys create NAME --keys .*keys`"
        with pytest.raises(KeysError, match=remedy):
            ClientKeys(file)

    def test_the_configured_key_is_always_valid(self, file: Path) -> None:
        """The key from the settings is valid with and without a file, and a key is then always required."""
        keys = ClientKeys(file, optional=True, api_key="sesame")
        with pytest.raises(NoKey):
            keys.authenticate({})
        other = create(file, "me")
        assert [name(keys, api_key=key) for key in ("sesame", other)] == ["api_key", "me"]


class TestRequests:
    def test_every_usual_header_is_accepted(self, file: Path) -> None:
        """A key is accepted in every header that clients use."""
        key = create(file, "me")
        credentials = [f"Bearer {key}", f"bearer  {key} ", basic(key)]
        assert {name(ClientKeys(file), authorization=credential) for credential in credentials} == {"me"}
        assert name(ClientKeys(file), authorization="Bearer ", api_key=key) == "me"

    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic ", "Basic !!", basic(""), "Digest x"])
    def test_headers_without_a_key_raise_no_key(self, file: Path, header: str) -> None:
        """Headers without a key raise NoKey."""
        create(file, "me")
        with pytest.raises(NoKey) as caught:
            ClientKeys(file).authenticate({"authorization": header})
        assert not isinstance(caught.value, WrongKey)

    @pytest.mark.parametrize("header", ["Bearer x", "Bearer \udcff", basic("x")])
    def test_unknown_keys_raise_wrong_key(self, file: Path, header: str) -> None:
        """An unknown key raises WrongKey."""
        create(file, "me")
        with pytest.raises(WrongKey):
            ClientKeys(file).authenticate({"authorization": header})

    @pytest.mark.parametrize("header", ["Bearer ", "Basic ", "Basic dW5kZWZpbmVk", "", "Bearer tt-x"])
    def test_without_keys_every_request_is_accepted(self, file: Path, header: str) -> None:
        """Without a file every request is accepted, whatever credentials it sends."""
        assert ClientKeys(file, optional=True).authenticate({"authorization": header}) is None


class TestOverHttp:
    async def test_missing_and_wrong_keys_in_each_dialect(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path
    ) -> None:
        """A missing or wrong key is answered in each vendor's format, and no image is generated."""
        create(file, "me")
        wrong = {"authorization": "Bearer wrong"}
        async with running_gateway(config(service, tmp_path, keys=file)) as client:
            answer = await client.post(PATH, json={"prompt": "x"})
            check_error(answer, 401, "invalid_request_error", None, None)
            assert answer.headers["www-authenticate"] == "Bearer"
            answer = await client.post(PATH, json={"prompt": "x"}, headers=wrong)
            check_error(answer, 401, "invalid_request_error", "invalid_api_key", None)
            answer = await client.post("/v1/action/generate_image", json={"prompt": "x"}, headers=wrong)
            assert (answer.status_code, answer.json()["status"]) == (403, 403)
            answer = await client.post("/api/ai/images/generate", json={"prompt": "x"}, headers=wrong)
            assert (answer.status_code, answer.json()["status_message"]) == (401, "unauthenticated")
            answer = await client.post("/aqueduct/images/generations", json={"prompt": "x"}, headers=wrong)
            assert (answer.status_code, answer.json()["error"]["message"]) == (401, "Authentication Required")
            for path in ("/v1/models", "/v1/models/tiny"):
                assert (await client.get(path)).status_code == 401
            for path in ("/", "/livez", "/readyz", "/openapi.json"):
                assert (await client.get(path)).status_code == 200
            assert (await client.options(PATH)).status_code == 204
        assert not fake.requests

    async def test_the_sdk_works_with_a_key(
        self, service: Service, fake: FakeService, file: Path, tmp_path: Path
    ) -> None:
        """With its key the SDK works, links need no key, and the engine gets the key's name for fairness."""
        key = create(file, "me")
        async with running_gateway(config(service, tmp_path, keys=file, rate_limit=9)) as client:
            async with openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key=key, max_retries=0) as sdk:
                answer = await sdk.images.generate(prompt="x")
                assert [model.id async for model in sdk.models.list()] == ["tiny", "org/large"]
            assert answer.data is not None
            assert (await client.get(str(answer.data[0].url))).content == PNG + b"\0"
        assert fake.requests[0].caller == "me"
