"""Who may ask."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING

import openai
import pytest

from tintype.gateway.errors import NoKey, StartError, WrongKey
from tintype.gateway.keys import Keys, create

from .fakes import PNG, FakeService, Service, running_gateway
from .test_app import PATH, check_error, config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def basic(password: str) -> str:
    return "Basic " + b64encode(f"user:{password}".encode()).decode()


class TestFile:
    def test_create(self, file: Path) -> None:
        """A key is told once; the file, which only its owner can read, has what does not betray it."""
        key = create(file, "me")
        assert len(key) > 40
        assert key not in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        assert Keys(file).caller({"authorization": f"Bearer {key}"}) == "me"

    def test_several(self, file: Path) -> None:
        """Each key has its name, and a name one key."""
        keys = {name: create(file, name) for name in ("me", "you")}
        assert {Keys(file).caller({"api-key": key}) for key in keys.values()} == {"me", "you"}
        with pytest.raises(StartError, match="has a key of that name: me"):
            create(file, "me")

    @pytest.mark.parametrize("name", ["", "a b", "a\nb", "x" * 65, "ü"])
    def test_bad_name(self, file: Path, name: str) -> None:
        """A name that would break the file is none."""
        with pytest.raises(StartError, match="the name of a key must be"):
            create(file, name)
        assert not file.exists()

    def test_unreadable(self, file: Path) -> None:
        """A file that is not there, or is something else, is told at the start."""
        with pytest.raises(StartError, match="can't be read: No such file"):
            Keys(file)
        file.write_text("# ours\n\nme tt-secret\n")
        with pytest.raises(StartError, match="line 3 must be a name and a SHA-256") as caught:
            Keys(file)
        assert "tt-secret" not in str(caught.value)

    def test_changes(self, file: Path) -> None:
        """Keys come and go without a restart; a file that breaks or vanishes changes nothing."""
        first = create(file, "me")
        keys = Keys(file)
        second = create(file, "you")
        os.utime(file, (1, 1))
        assert keys.caller({"api-key": second}) == "you"
        file.write_text("garbage")
        assert keys.caller({"api-key": first}) == "me"
        file.unlink()
        assert keys.caller({"api-key": first}) == "me"
        create(file, "you")
        os.utime(file, (2, 2))
        with pytest.raises(WrongKey):
            keys.caller({"api-key": first})


class TestRequests:
    def test_ways(self, file: Path) -> None:
        """A key comes as clients send it."""
        key = create(file, "me")
        ways = [f"Bearer {key}", f"bearer  {key} ", basic(key)]
        assert {Keys(file).caller({"authorization": way}) for way in ways} == {"me"}
        assert Keys(file).caller({"authorization": "Bearer ", "api-key": key}) == "me"

    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic ", "Basic !!", basic(""), "Digest x"])
    def test_none(self, file: Path, header: str) -> None:
        """What has no key in it is told that one is needed."""
        create(file, "me")
        with pytest.raises(NoKey) as caught:
            Keys(file).caller({"authorization": header})
        assert not isinstance(caught.value, WrongKey)

    @pytest.mark.parametrize("header", ["Bearer x", "Bearer \udcff", basic("x")])
    def test_wrong(self, file: Path, header: str) -> None:
        """A key that is not ours opens nothing."""
        create(file, "me")
        with pytest.raises(WrongKey):
            Keys(file).caller({"authorization": header})

    def test_not_needed(self) -> None:
        """Without a file anything is let in, whatever it sends."""
        assert Keys(None).caller({"authorization": "Basic dW5kZWZpbmVk"}) == ""


class TestOverHttp:
    async def test_dialects(self, service: Service, fake: FakeService, file: Path, tmp_path: Path) -> None:
        """Every vendor says in its own way that there is no key, or a wrong one, and nothing is made."""
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

    async def test_with_a_key(self, service: Service, fake: FakeService, file: Path, tmp_path: Path) -> None:
        """With its key the SDK works, links need none, and the engine knows whom to be fair to."""
        key = create(file, "me")
        async with running_gateway(config(service, tmp_path, keys=file, rate_limit=9)) as client:
            async with openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key=key, max_retries=0) as sdk:
                answer = await sdk.images.generate(prompt="x")
                assert [model.id async for model in sdk.models.list()] == ["tiny", "org/large"]
            assert answer.data is not None
            assert (await client.get(str(answer.data[0].url))).content == PNG + b"\0"
        assert fake.requests[0].caller == "me"

    async def test_limit_of_each(self, service: Service, file: Path, tmp_path: Path) -> None:
        """One key does not use up what another may."""
        keys = [create(file, name) for name in ("me", "you")]
        async with running_gateway(config(service, tmp_path, keys=file, rate_limit=1)) as client:
            for key in keys:
                headers = {"authorization": f"Bearer {key}"}
                assert (await client.post(PATH, json={"prompt": "x"}, headers=headers)).status_code == 200
                assert (await client.post(PATH, json={"prompt": "x"}, headers=headers)).status_code == 429
