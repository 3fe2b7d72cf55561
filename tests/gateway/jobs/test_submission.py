"""Submission of jobs over HTTP: every path, its answer and its result, rates, keys and repetition."""

from __future__ import annotations

import asyncio
import io
import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image

from tests.support.gateway.fakes import PATH, FakeService, Refusal, Service, config, make_images, running_gateway
from tests.support.gateway.jobs import ASYNC, Gate, ended, requests_of, submit, with_status
from tests.support.gateway.openai_errors import check_error
from tintype.gateway.errors import StartError
from tintype.v1.keyfile import create, revoke

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    import openai

pytestmark = pytest.mark.anyio
# The headers of a response that are its own: everything else is of the moment.
KEPT = ("content-type", "x-tintype-ignored", "x-tintype-model", "x-tintype-native-size", "x-should-retry")


def image_file() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    return file.getvalue()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def metric(client: httpx.AsyncClient, line: str) -> None:
    """Wait until the metrics have a line."""
    async with asyncio.timeout(60):
        while line not in (await client.get("/metrics")).text:  # noqa: ASYNC110 - the gateway can't call us
            await asyncio.sleep(0.05)


REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/images/generations": {"json": {"prompt": "x", "n": 2, "model": "dall-e-3", "seed": 7, "strange": 1}},
    "/openai/v1/images/generations": {"json": {"prompt": "x", "response_format": "b64_json", "seed": 7}},
    "/openai/deployments/tiny/images/generations": {"json": {"prompt": "x", "response_format": "b64_json", "seed": 1}},
    "/v1/images/edits": {"data": {"prompt": "x", "seed": "7"}, "files": {"image": ("a.png", image_file())}},
    "/v1/images/variations": {"data": {"n": "1"}, "files": {"image": ("a.png", image_file())}},
    "/apipie/v1/images/generations": {"json": {"prompt": "x", "response_format": "b64_json"}},
    "/aqueduct/v1/images/generations": {"json": {"prompt": "x", "response_format": "b64_json"}},
    "/v1/action/generate_image": {"json": {"prompt": "x"}},
    "/api/ai/images/generate": {"json": {"prompt": "x", "seed": 7, "response_format": "b64_json"}},
    "/api/ai/images/edit": {
        "json": {"prompt": "x", "image": "https://nowhere.invalid/a.png", "response_format": "b64_json"}
    },
    "/sdapi/v1/txt2img": {"json": {"prompt": "x", "seed": 7, "batch_size": 2}},
    "/sdapi/v1/img2img": {"json": {"prompt": "x", "seed": 7, "init_images": ["bm8gaW1hZ2U="]}},
}


def stable(answer: httpx.Response) -> Any:
    """Return the body of a response without what differs each time: times, links and the web UI's timestamps."""
    text = answer.text
    for part in answer.text.split('"'):
        if "/files/" in part or part.startswith('{\\"prompt'):
            text = text.replace(part, "-")
    return re.sub(r'("created": ?|job_timestamp\\": ?\\")\d+', r"\1-", text)


@pytest.mark.parametrize("path", REQUESTS)
async def test_result_is_the_response_of_the_request(gateway: httpx.AsyncClient, fake: FakeService, path: str) -> None:
    """Status, body and headers of the result are those of the same request that waits, in each vendor's format."""
    direct = await gateway.post(path, **REQUESTS[path])
    answer = await gateway.post(path, headers=ASYNC, **REQUESTS[path])
    assert answer.status_code == 202, answer.text
    assert answer.headers["preference-applied"] == "respond-async"
    job = await ended(gateway, answer.json()["id"])
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["path"] == path
    result = await gateway.get(f"/v1/jobs/{job['id']}/result")
    assert (result.status_code, stable(result)) == (direct.status_code, stable(direct))
    assert {name: result.headers.get(name) for name in KEPT} == {name: direct.headers.get(name) for name in KEPT}
    assert job["status"] == ("succeeded" if result.is_success else "failed")
    if direct.is_success:
        first, second = fake.requests
        first.ClearField("seed")
        second.ClearField("seed")
        assert first == second


async def test_links_of_a_job_name_the_host_of_its_request(gateway: httpx.AsyncClient) -> None:
    """Links lead to the address that the client used, and to the image."""
    answer = await gateway.post(PATH, json={"prompt": "x"}, headers=ASYNC)
    job = await ended(gateway, answer.json()["id"])
    url = job["result"]["data"][0]["url"]
    assert url.startswith(f"{gateway.base_url}/files/".replace("//files", "/files"))
    assert (await gateway.get(url)).status_code == 200


async def test_a_job_continues_the_trace_of_its_submission(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The call of the service has the client's trace, and the request's id."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    job = await submit(gateway, traceparent=f"00-{trace}-00f067aa0ba902b7-01", x_request_id="req-7")
    await ended(gateway, job["id"])
    assert fake.metadata[-1]["traceparent"].split("-")[1] == trace
    assert fake.metadata[-1]["x-request-id"] == "req-7"


async def test_v1_jobs_takes_a_request_for_images(gateway: httpx.AsyncClient) -> None:
    """Clients that can't set headers post the same body to `/v1/jobs`, or below their vendor's base URL."""
    for base, path in (("", PATH), ("/aqueduct", "/aqueduct/v1/images/generations")):
        answer = await gateway.post(f"{base}/v1/jobs", json={"prompt": "x"})
        assert (answer.status_code, answer.json()["object"], answer.json()["path"]) == (202, "job", path)
        assert "preference-applied" not in answer.headers
        assert (await gateway.get(f"{base}/v1/jobs/{answer.json()['id']}?wait=30")).json()["status"] == "succeeded"


async def test_a_submission_may_wait(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """With `wait` it is answered with the result if that is there in time, otherwise with the job."""
    answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"prefer": "respond-async, wait=30"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "respond-async, wait=30")
    assert "data" in answer.json()
    fake.behave = gate = Gate()
    answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"prefer": "respond-async, wait=1"})
    assert (answer.status_code, answer.json()["object"]) == (202, "job")
    gate.open.set()
    await ended(gateway, answer.json()["id"])


async def test_invalid_requests_are_answered_at_once(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """What can be checked without the service is an error of the submission, in the path's format."""
    answer = await gateway.post(PATH, json={"prompt": "x", "n": 99}, headers=ASYNC)
    check_error(answer, 400, "invalid_request_error", "invalid_value", "n")
    answer = await gateway.post("/v1/jobs", json={"prompt": "x", "stream": True})
    check_error(answer, 400, "invalid_request_error", "unsupported_parameter", "stream")
    answer = await gateway.post("/sdapi/v1/img2img", json={"prompt": "x"}, headers=ASYNC)
    assert (answer.status_code, answer.json()["detail"]) == (404, "Init image not found")
    assert not fake.requests


async def test_a_stream_ignores_the_preference(gateway: httpx.AsyncClient) -> None:
    """A stream passes proxies by itself, so the preference is not applied."""
    answer = await gateway.post(PATH, json={"prompt": "x", "stream": True}, headers=ASYNC)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "preference-applied" not in answer.headers


async def test_errors_of_the_service_are_in_the_job(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The job has the error with its reason, and the result is the error response."""
    fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=[("steps", "is 0")])
    job = await ended(gateway, (await submit(gateway))["id"])
    assert job["status"] == "failed"
    assert job["error"] == {
        "status": 400,
        "reason": "INVALID_FIELD",
        "message": "Invalid 'steps': is 0.",
        "param": "steps",
    }
    result = await gateway.get(f"/v1/jobs/{job['id']}/result")
    check_error(result, 400, "invalid_request_error", "invalid_value", "steps")


async def test_without_jobs_the_preference_is_ignored(service: Service, tmp_path: Path) -> None:
    """A gateway with `--jobs 0` makes the images at once, and has no file for jobs."""
    async with running_gateway(config(service, tmp_path, jobs=0)) as client:
        answer = await client.post(PATH, json={"prompt": "x"}, headers=ASYNC)
        assert (answer.status_code, "preference-applied" in answer.headers) == (200, False)
        for answer in (await client.get("/v1/jobs"), await client.post("/v1/jobs", json={"prompt": "x"})):
            assert answer.status_code == 404
            assert "--jobs 0" in answer.text
    assert not (tmp_path / "jobs.db").exists()


class TestIdempotency:
    async def test_a_repeated_submission_gets_the_same_job(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The key makes one job, whether it waits, runs or has ended; another body under it is an error."""
        fake.behave = gate = Gate()
        first = await submit(gateway, idempotency_key="k1")
        again = await gateway.post(PATH, json={"prompt": "a lake"}, headers=ASYNC | {"idempotency-key": "k1"})
        assert (again.status_code, again.json()["id"]) == (202, first["id"])
        assert again.headers["idempotent-replayed"] == "true"
        for headers in (ASYNC, {}):
            other = await gateway.post(PATH, json={"prompt": "x"}, headers=headers | {"idempotency-key": "k1"})
            check_error(other, 422, "invalid_request_error", "idempotency_key_reused", None)
        gate.open.set()
        await ended(gateway, first["id"])
        assert (await submit(gateway, idempotency_key="k1"))["id"] == first["id"]
        assert len(fake.requests) == 1

    async def test_a_request_that_waits_gets_the_result_of_the_job(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """The same request without the preference waits for the job, and makes nothing itself."""
        fake.behave = gate = Gate()
        job = await submit(gateway, idempotency_key="k2")
        headers = {"idempotency-key": "k2"}
        waiting = asyncio.create_task(gateway.post(PATH, json={"prompt": "a lake"}, headers=headers))
        await requests_of(fake, 1)
        gate.open.set()
        answer = await waiting
        assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
        assert answer.text == (await gateway.get(f"/v1/jobs/{job['id']}/result")).text
        assert len(fake.requests) == 1

    async def test_a_job_joins_the_request_that_waits(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A client that was cut off repeats its request as a job, and gets the images that are being made."""
        fake.behave = gate = Gate()
        headers = {"idempotency-key": "k3"}
        cut = asyncio.create_task(gateway.post(PATH, json={"prompt": "a lake"}, headers=headers))
        await requests_of(fake, 1)
        cut.cancel()
        await asyncio.wait([cut])
        job = await submit(gateway, idempotency_key="k3")
        gate.open.set()
        assert (await ended(gateway, job["id"]))["status"] == "succeeded"
        assert len(fake.requests) == 1

    async def test_two_submissions_at_once_make_one_job(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """They get the same id."""
        jobs = await asyncio.gather(*(submit(gateway, idempotency_key="k4") for _ in range(5)))
        assert len({job["id"] for job in jobs}) == 1
        await ended(gateway, jobs[0]["id"])
        assert len(fake.requests) == 1


class TestKeys:
    async def test_rates_and_permissions_apply_once(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """Requests and images count when a job is submitted, not again when it runs."""
        key = create(tmp_path / "keys", "me", requests=2, images=3, models=("tiny",))
        async with running_gateway(config(service, tmp_path)) as client:
            body = {"prompt": "x", "n": 2}
            answer = await client.post(PATH, json=body, headers=ASYNC | bearer(key))
            assert answer.status_code == 202
            assert answer.headers["x-ratelimit-remaining-images"] == "1"
            job = await ended(client, answer.json()["id"], bearer(key))
            assert job["status"] == "succeeded"
            answer = await client.post(PATH, json=body, headers=ASYNC | bearer(key))
            assert (answer.status_code, "images per minute" in answer.text) == (429, True)
            answer = await client.post(PATH, json=body | {"model": "org/large"}, headers=ASYNC | bearer(key))
            assert (answer.status_code, "requests per minute" in answer.text) == (429, True)
        assert [request.model for request in fake.requests] == ["tiny"]

    async def test_permissions_are_checked_at_submission(self, service: Service, tmp_path: Path) -> None:
        """A model that the key does not allow is an error of the submission."""
        key = create(tmp_path / "keys", "me", models=("tiny",))
        async with running_gateway(config(service, tmp_path)) as client:
            body = {"prompt": "x", "model": "org/large"}
            answer = await client.post(PATH, json=body, headers=ASYNC | bearer(key))
            check_error(answer, 403, "invalid_request_error", "permission_denied", "model")

    async def test_images_that_were_not_made_are_given_back(
        self, service: Service, fake: FakeService, tmp_path: Path
    ) -> None:
        """A failed job does not use up the images of its key."""
        key = create(tmp_path / "keys", "me", images=1)
        fake.behave = Refusal(grpc.StatusCode.INTERNAL, reason="GENERATION_FAILED")
        async with running_gateway(config(service, tmp_path)) as client:
            for _ in range(2):
                answer = await client.post(PATH, json={"prompt": "x"}, headers=ASYNC | bearer(key))
                assert answer.status_code == 202
                assert (await ended(client, answer.json()["id"], bearer(key)))["status"] == "failed"

    async def test_images_of_a_job_that_never_ran_are_given_back(
        self, service: Service, fake: FakeService, tmp_path: Path
    ) -> None:
        """A queued job that is cancelled, even twice, gives its images back once."""
        key = create(tmp_path / "keys", "me", images=3)
        fake.behave = Gate()
        async with running_gateway(config(service, tmp_path, jobs_running=1)) as client:
            client.headers.update(bearer(key))
            await client.post(PATH, json={"prompt": "x"}, headers=ASYNC)
            await requests_of(fake, 1)
            for _ in range(2):
                answer = await client.post(PATH, json={"prompt": "x", "n": 2}, headers=ASYNC)
                assert (answer.status_code, answer.headers["x-ratelimit-remaining-images"]) == (202, "0")
                path = answer.headers["location"]
                await asyncio.gather(*(client.delete(path) for _ in range(2)))
            assert 'tintype_gateway_jobs_ended_total{state="cancelled"} 2.0' in (await client.get("/metrics")).text

    async def test_a_removed_key_fails_its_jobs(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """A job whose key is removed before it runs fails with 401; the service is not called."""
        keys = tmp_path / "keys"
        boss, key = create(keys, "boss", admin=True), create(keys, "me")
        fake.behave = gate = Gate()
        async with running_gateway(config(service, tmp_path, jobs_running=1)) as client:
            first = await client.post(PATH, json={"prompt": "x"}, headers=ASYNC | bearer(boss))
            await requests_of(fake, 1)
            second = await client.post(PATH, json={"prompt": "y"}, headers=ASYNC | bearer(key))
            revoke(keys, "me")
            gate.open.set()
            assert (await ended(client, first.json()["id"], bearer(boss)))["status"] == "succeeded"
            job = await ended(client, second.json()["id"], bearer(boss))
            assert (job["status"], job["error"]["reason"]) == ("failed", "WRONG_KEY")
            assert "has been removed" in job["error"]["message"]
        assert len(fake.requests) == 1

    async def test_credentials_are_not_stored(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """The database has the name of the key, not the key."""
        key = create(tmp_path / "keys", "me")
        fake.behave = gate = Gate()
        async with running_gateway(config(service, tmp_path)) as client:
            answer = await client.post(PATH, json={"prompt": "a lake"}, headers=ASYNC | bearer(key))
            stored = (tmp_path / "jobs.db").read_bytes() + (tmp_path / "jobs.db-wal").read_bytes()
            assert (b"a lake" in stored, key.encode() in stored) == (True, False)
            gate.open.set()
            await ended(client, answer.json()["id"], bearer(key))


async def test_full_queue_is_429(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """Beyond `--jobs` open jobs a submission is refused, with the time to try again; images are not counted."""
    fake.behave = gate = Gate()
    async with running_gateway(config(service, tmp_path, jobs=2, jobs_running=1, image_limit=3)) as client:
        jobs = [await submit(client) for _ in range(2)]
        for _ in range(3):
            answer = await client.post(PATH, json={"prompt": "x"}, headers=ASYNC)
            check_error(answer, 429, "requests", "rate_limit_exceeded", None)
            assert answer.headers["retry-after"] == "10"
        await with_status(client, jobs[0]["id"], "running")
        await metric(client, 'tintype_gateway_jobs{state="queued"} 1.0')
        gate.open.set()
        for job in jobs:
            await ended(client, job["id"])
        await metric(client, 'tintype_gateway_jobs_ended_total{state="succeeded"} 2.0')


async def test_openai_sdk(sdk: openai.AsyncOpenAI) -> None:
    """OpenAI's SDK submits a job by a header, and polls it by its own request method."""
    submitted = await sdk.images.with_raw_response.generate(prompt="x", extra_headers=ASYNC)
    assert submitted.status_code == 202
    job = submitted.http_response.json()
    done = await sdk.get(f"/jobs/{job['id']}", cast_to=dict[str, Any], options={"params": {"wait": 30}})
    assert done["result"]["data"][0]["url"].startswith("http")


async def test_a_result_without_space_fails_the_job(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """The job says so, and the next one, with links, has its result."""

    async def behave(request: Any, context: Any) -> Any:
        async for event in make_images(request, context):
            if event.HasField("image"):
                event.image.data += bytes(100_000)
            yield event

    fake.behave = behave
    async with running_gateway(config(service, tmp_path, job_bytes=50_000)) as client:
        job = await ended(client, (await submit(client, {"prompt": "x", "response_format": "b64_json"}))["id"])
        assert (job["status"], job["error"]["status"], job["error"]["reason"]) == ("failed", 507, "STORE_FULL")
        assert (await ended(client, (await submit(client))["id"]))["status"] == "succeeded"


async def test_unusable_database_stops_the_start(service: Service, tmp_path: Path) -> None:
    """The error is one line that names the file, and how to run without jobs."""
    (tmp_path / "jobs.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StartError, match=r"jobs\.db: .* or run without jobs \(--jobs 0\)$"):
        async with running_gateway(config(service, tmp_path)):
            pass
