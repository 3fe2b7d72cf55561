"""Errors of requests for images, in the format of the web UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.bodies import BASE, encode_base64, png
from tests.support.gateway.fakes import FakeService, Refusal, Service, config, running_gateway
from tintype.gateway.sdapi.request_types import ImageToImage, TextToImage
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

    import httpx


pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake")]

TEXT, IMAGE = f"{BASE}/txt2img", f"{BASE}/img2img"


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "field", "says"),
        [
            ({"prompt": "x", "width": 5000}, "width", "must be an integer from 0 to 4096, not 5000"),
            ({"prompt": "x", "steps": "many"}, "steps", "must be an integer from 0 to 150, not 'many'"),
            ({"steps": 2**40}, "steps", "must be an integer from 0 to 150, not 1099511627776"),
            ({"seed": 2**63}, "seed", "not 9223372036854775808"),
            ({"enable_hr": True, "hr_scale": 1e30}, "hr_scale", "must be a number from 0 to 256, not 1e30"),
            ({"enable_hr": True, "width": 1024, "hr_scale": 5}, "hr_scale", "at most 4096 pixels, not 5120x320"),
            ({"enable_hr": True, "width": 64, "height": 128, "hr_resize_x": 4000}, "hr_resize_x", "not 4000x8000"),
            ({"enable_hr": True, "hr_second_pass_steps": -(2**40)}, "hr_second_pass_steps", "from 0 to 150"),
            ({"prompt": "x", "batch_size": 50, "n_iter": 50}, "n_iter", "must be at most 100, not 2500"),
            ({"prompt": "x", "init_images": ["aGk=", None]}, "init_images[1]", "must be a string, not null"),
        ],
    )
    async def test_invalid_field_is_422_with_its_place(
        self, gateway: httpx.AsyncClient, fake: FakeService, body: dict[str, Any], field: str, says: str
    ) -> None:
        """An invalid field is FastAPI's 422, with its place and what would be right, before any image is made."""
        answer = await gateway.post(IMAGE if "init_images" in body else TEXT, json=body)
        assert answer.status_code == 422
        (detail,) = answer.json()["detail"]
        assert detail["loc"] == ["body", field]
        assert says in detail["msg"]
        assert detail["type"]
        assert not fake.requests

    @pytest.mark.parametrize(("kind", "path"), [(TextToImage, TEXT), (ImageToImage, IMAGE)])
    async def test_no_number_is_an_internal_error(self, gateway: httpx.AsyncClient, kind: Any, path: str) -> None:
        """No number in any field, however large, is an internal error."""
        usual = {"enable_hr": True, "init_images": [encode_base64(png())], "width": 16, "height": 16}
        for field in kind.__struct_fields__:
            answer = await gateway.post(path, json=usual | {field: 1e39})
            assert answer.status_code in (200, 422), f"{field}: {answer.text}"

    async def test_body_that_is_not_json_is_422(self, gateway: httpx.AsyncClient) -> None:
        """A body that is not JSON is FastAPI's 422 as well."""
        answer = await gateway.post(TEXT, content=b"{", headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body"]

    async def test_service_errors_name_the_clients_key(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """An invalid field that the service reports has the client's own key; other errors have their status."""
        fake.behave = Refusal(
            grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=[("guidance_scale", "must be 0 to 50")]
        )
        answer = await gateway.post(TEXT, json={"prompt": "x", "cfg_scale": 99})
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "cfg_scale"])
        fake.behave = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "QUEUE_FULL", delay=3)
        answer = await gateway.post(TEXT, json={"prompt": "x"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
        assert answer.json() == {"error": "ServiceError", "detail": "full", "body": "", "errors": "full"}

    @pytest.mark.parametrize("body", [{"script_name": "x/y plot"}, {"alwayson_scripts": {"ADetailer": {"args": []}}}])
    async def test_scripts_are_errors(
        self, gateway: httpx.AsyncClient, fake: FakeService, body: dict[str, Any]
    ) -> None:
        """A script or extension is an error: without it, the image would be a different one."""
        answer = await gateway.post(TEXT, json={"prompt": "x"} | body)
        assert answer.status_code == 422
        assert "not found" in answer.json()["detail"]
        assert not fake.requests

    @pytest.mark.parametrize(
        ("body", "limits", "says"),
        [
            ({"n_iter": 4}, {"max_images": 3}, "at most 3, not 4"),
            ({"batch_size": 2, "n_iter": 2}, {"max_images": 3}, "at most 3, not 4"),
            ({"n_iter": 4}, {"image_limit": 3}, "at most 3, not 4"),
            ({"n_iter": 2, "enable_hr": True}, {"image_limit": 3}, "at most 1, not 2"),
            ({"batch_size": 10, "n_iter": 11}, {"max_images": 0}, "at most 100, not 110"),
        ],
    )
    async def test_limits_apply_to_all_images_of_a_request(
        self, service: Service, fake: FakeService, tmp_path: Path, body: Any, limits: Any, says: str
    ) -> None:
        """Limits of one request apply to all its images together, and are checked before the first is made."""
        async with running_gateway(config(service, tmp_path, **limits)) as client:
            answer = await client.post(TEXT, json=body)
        assert answer.status_code == 422
        assert says in answer.json()["detail"][0]["msg"]
        assert not fake.requests

    async def test_image_rate_counts_each_pass(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """Images that exceed the limit are not begun; each image counts, with two passes twice."""
        async with running_gateway(config(service, tmp_path, image_limit=4)) as client:
            first = await client.post(TEXT, json={"enable_hr": True})
            assert first.headers["x-ratelimit-remaining-images"] == "2"
            before = len(fake.requests)
            second = await client.post(TEXT, json={"n_iter": 3})
            assert (second.status_code, len(fake.requests)) == (429, before)
            assert int(second.headers["retry-after"]) > 10
            assert (await client.post(TEXT, json={"n_iter": 2})).status_code == 200

    async def test_every_path_requires_a_key(self, service: Service, tmp_path: Path) -> None:
        """If keys are required, each path requires one, asks for Basic, and accepts it as a password; limits apply."""
        key = create(tmp_path / "keys", "me")
        async with running_gateway(config(service, tmp_path, keys=tmp_path / "keys", rate_limit=1)) as client:
            for method, path in (("GET", "options"), ("POST", "txt2img"), ("POST", "interrupt"), ("GET", "loras")):
                answer = await client.request(method, f"{BASE}/{path}", json={"prompt": "x"})
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Basic")
                assert answer.json()["detail"] == "Incorrect username or password"
            assert (await client.get(f"{BASE}/options", auth=("any", "wrong"))).status_code == 401
            assert (await client.get(f"{BASE}/options", auth=("any", key))).status_code == 200
            made = [await client.post(TEXT, json={"prompt": "x"}, auth=("any", key)) for _ in range(2)]
        assert [answer.status_code for answer in made] == [200, 429]
        assert made[0].headers["x-ratelimit-limit-requests"] == "1"
        assert set(made[1].json()) == {"error", "detail", "body", "errors"}
