"""The routes of jobs over HTTP: polling, lists, cancellation, events, and whose jobs a caller sees."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.fakes import PATH, FakeService, Service, config, make_images, running_gateway, sleep_long
from tests.support.gateway.jobs import ASYNC, Gate, ended, requests_of, submit, with_status
from tests.support.gateway.openai_errors import check_error
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class TestPolling:
    async def test_a_job_shows_its_progress(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A job is queued, runs with the progress of its steps, and has its result at the end."""
        fake.behave = gate = Gate()
        job = await submit(gateway)
        assert (job["status"], job["progress"], job["position"]) == ("queued", 0, 0)
        job = await with_status(gateway, job["id"], "running")
        assert job["progress"] == 0.5
        assert "retry-after" in (await gateway.get(f"/v1/jobs/{job['id']}")).headers
        result = await gateway.get(f"/v1/jobs/{job['id']}/result")
        assert (result.status_code, result.json()["id"]) == (202, job["id"])
        gate.open.set()
        job = await ended(gateway, job["id"])
        assert (job["status"], job["progress"]) == ("succeeded", 1)
        assert job["result"] == (await gateway.get(f"/v1/jobs/{job['id']}/result")).json()
        assert job["created_at"] <= job["started_at"] <= job["finished_at"] < job["expires_at"]

    async def test_waiting_ends_with_the_job(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A request that waits is answered when the job ends; the answer says that the preference was applied."""
        fake.behave = gate = Gate()
        job = await submit(gateway)
        headers = {"prefer": "wait=50"}
        waiting = asyncio.create_task(gateway.get(f"/v1/jobs/{job['id']}/result", headers=headers))
        await requests_of(fake, 1)
        gate.open.set()
        answer = await waiting
        assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=50")
        assert answer.json()["data"]

    async def test_a_large_result_is_fetched(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The job leaves out a result of more than 256 KiB; its own path sends it whole."""

        async def behave(request: Any, context: Any) -> Any:
            async for event in make_images(request, context):
                if event.HasField("image"):
                    event.image.data += bytes(400_000)
                yield event

        fake.behave = behave
        job = await submit(gateway, {"prompt": "x", "response_format": "b64_json"})
        job = await ended(gateway, job["id"])
        assert (job["status"], "result" in job) == ("succeeded", False)
        result = await gateway.get(f"/v1/jobs/{job['id']}/result")
        assert int(result.headers["content-length"]) == len(result.content) > 500_000
        assert result.json()["data"][0]["b64_json"]

    async def test_unknown_jobs_are_404(self, gateway: httpx.AsyncClient) -> None:
        """Every path of a job that does not exist gives 404 in the usual format."""
        for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/result"), ("GET", "/events")):
            answer = await gateway.request(method, f"/v1/jobs/job_unknown{rest}")
            assert "no such job" in check_error(answer, 404, "invalid_request_error", None, None)

    async def test_invalid_waits_are_400(self, gateway: httpx.AsyncClient) -> None:
        """A `wait` in the query that is not a number of seconds is an error; a preference may be ignored."""
        job = await ended(gateway, (await submit(gateway))["id"])
        for rest in ("", "/result"):
            for wait in ("abc", "-1", "NaN"):
                answer = await gateway.get(f"/v1/jobs/{job['id']}{rest}", params={"wait": wait})
                message = check_error(answer, 400, "invalid_request_error", "invalid_value", "wait")
                assert f"must be a whole number of seconds, 0 or more, not {wait!r}" in message
            answer = await gateway.get(f"/v1/jobs/{job['id']}{rest}", headers={"prefer": "wait=abc"})
            assert (answer.status_code, "preference-applied" in answer.headers) == (200, False)

    async def test_head_is_answered_like_get(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Each path that GET reads answers HEAD without a body; events do so before the job ends."""
        fake.behave = Gate()
        job = await submit(gateway)
        for path, status in (("", 200), (f"/{job['id']}", 200), (f"/{job['id']}/result", 202)):
            got, head = await gateway.get(f"/v1/jobs{path}"), await gateway.head(f"/v1/jobs{path}")
            assert (got.status_code, head.status_code, head.content) == (status, status, b"")
            assert head.headers["content-type"] == got.headers["content-type"]
        head = await gateway.head(f"/v1/jobs/{job['id']}/events")
        assert (head.status_code, head.headers["content-type"], head.content) == (
            200,
            "text/event-stream; charset=utf-8",
            b"",
        )

    async def test_a_job_shows_the_seed_of_its_request(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A seed that the request names is the job's; the web UI's -1 means a random one, which the service gets."""
        for path, seed in (
            (PATH, 7),
            (PATH, None),
            (PATH, 2**63 - 1),
            ("/sdapi/v1/txt2img", 9),
            ("/sdapi/v1/txt2img", -1),
        ):
            job = await ended(gateway, (await submit(gateway, {"prompt": "x", "seed": seed}, path))["id"])
            assert job["seed"] == fake.requests[-1].seed
            assert job["seed"] == seed or seed in (None, -1)

    async def test_events_end_with_the_job(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Each change is an event with the whole job; the last one has the result."""
        fake.behave = gate = Gate()
        job = await submit(gateway)
        await with_status(gateway, job["id"], "running")
        gate.open.set()
        answer = await gateway.get(f"/v1/jobs/{job['id']}/events")
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        assert events[-1]["status"] == "succeeded"
        assert events[-1]["result"]["data"]

    async def test_a_queued_job_that_expires_fails(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """Its events, result and error say so, its images are given back, and the metrics count it."""
        key = create(tmp_path / "keys", "me", images=3)
        fake.behave = Gate()
        async with running_gateway(config(service, tmp_path, jobs_running=1, job_ttl=2.0)) as client:
            client.headers.update(bearer(key))
            await submit(client)
            await requests_of(fake, 1)
            job = await submit(client, {"prompt": "x", "n": 2})
            answer = await client.get(f"/v1/jobs/{job['id']}/events")
            *_, last = answer.text.strip().split("\n\n")
            name, _, data = last.partition("\ndata: ")
            ended_job = json.loads(data)
            assert (name, ended_job["status"], "started_at" in ended_job) == ("event: job", "failed", False)
            assert (ended_job["error"]["status"], ended_job["error"]["reason"]) == (504, "JOB_EXPIRED")
            result = await client.get(f"/v1/jobs/{job['id']}/result")
            assert "expired before it started" in check_error(result, 504, "server_error", "timeout", None)
            again = await client.post(PATH, json={"prompt": "x", "n": 2}, headers=ASYNC)
            assert again.status_code == 202
            assert 'tintype_gateway_jobs_ended_total{state="failed"} 1.0' in (await client.get("/metrics")).text


class TestCancelling:
    @pytest.mark.parametrize("method", ["DELETE", "POST"])
    async def test_a_running_job_is_cancelled(self, gateway: httpx.AsyncClient, fake: FakeService, method: str) -> None:
        """The service's call ends, and so does the job; cancelling again answers the same."""
        fake.behave = sleep_long
        job = await submit(gateway)
        await requests_of(fake, 1)
        path = f"/v1/jobs/{job['id']}" + ("/cancel" if method == "POST" else "")
        for _ in range(2):
            answer = await gateway.request(method, path)
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        await asyncio.wait_for(fake.cancelled.wait(), 30)
        answer = await gateway.get(f"/v1/jobs/{job['id']}/result")
        assert "was cancelled" in check_error(answer, 409, "invalid_request_error", None, None)

    async def test_a_queued_job_never_runs(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """The next one takes its place."""
        fake.behave = gate = Gate()
        async with running_gateway(config(service, tmp_path, jobs_running=1)) as client:
            jobs = [await submit(client, {"prompt": text}) for text in "abc"]
            await requests_of(fake, 1)
            assert (await client.get(f"/v1/jobs/{jobs[2]['id']}")).json()["position"] == 1
            assert (await client.delete(f"/v1/jobs/{jobs[1]['id']}")).json()["status"] == "cancelled"
            assert (await client.get(f"/v1/jobs/{jobs[2]['id']}")).json()["position"] == 0
            gate.open.set()
            assert (await ended(client, jobs[2]["id"]))["status"] == "succeeded"
        assert [request.prompt for request in fake.requests] == ["a", "c"]

    async def test_a_finished_job_stays(self, gateway: httpx.AsyncClient) -> None:
        """Its result is still there."""
        job = await ended(gateway, (await submit(gateway))["id"])
        assert (await gateway.delete(f"/v1/jobs/{job['id']}")).json()["status"] == "succeeded"
        assert (await gateway.get(f"/v1/jobs/{job['id']}/result")).status_code == 200


class TestOwners:
    async def test_a_job_belongs_to_its_key(self, service: Service, tmp_path: Path) -> None:
        """Another key gets 404 and does not see it in its list; an admin key sees every job."""
        keys = tmp_path / "keys"
        alice, bob, boss = create(keys, "alice"), create(keys, "bob"), create(keys, "boss", admin=True)
        async with running_gateway(config(service, tmp_path)) as client:
            answer = await client.post(PATH, json={"prompt": "x"}, headers=ASYNC | bearer(alice))
            path = answer.headers["location"]
            for rest in ("", "/result", "/events"):
                assert (await client.get(path + rest, headers=bearer(bob))).status_code == 404
                assert (await client.get(path + rest, headers=bearer(boss))).status_code in (200, 202)
                assert (await client.get(path + rest)).status_code == 401
            assert (await client.delete(path, headers=bearer(bob))).status_code == 404
            lists = {}
            for name, key, query in (
                ("alice", alice, ""),
                ("bob", bob, ""),
                ("boss", boss, ""),
                ("all", boss, "?all=true"),
            ):
                lists[name] = len((await client.get(f"/v1/jobs{query}", headers=bearer(key))).json()["data"])
            assert lists == {"alice": 1, "bob": 0, "boss": 0, "all": 1}
            answer = await client.get("/v1/jobs?all=true", headers=bearer(bob))
            check_error(answer, 403, "invalid_request_error", None, "all")

    async def test_lists_are_paged(self, service: Service, tmp_path: Path) -> None:
        """Newest first; the next page begins after the last job of the one before."""
        async with running_gateway(config(service, tmp_path)) as client:
            made = [(await submit(client))["id"] for _ in range(3)]
            page = (await client.get("/v1/jobs?limit=2")).json()
            assert ([job["id"] for job in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
            page = (await client.get(f"/v1/jobs?limit=2&after={made[1]}")).json()
            assert ([job["id"] for job in page["data"]], page["has_more"]) == ([made[0]], False)
            for limit in ("0", "101", "x", "1" * 5000):
                answer = await client.get("/v1/jobs", params={"limit": limit})
                check_error(answer, 400, "invalid_request_error", "invalid_value", "limit")

    async def test_a_page_after_an_unknown_job_is_an_error(self, gateway: httpx.AsyncClient) -> None:
        """A client that pages through its jobs does not begin again when the last one has expired."""
        answer = await gateway.get("/v1/jobs", params={"after": "job_1"})
        check_error(answer, 400, "invalid_request_error", "invalid_value", "after")


async def test_location_has_the_public_url(service: Service, tmp_path: Path) -> None:
    """Behind a proxy with a prefix of its own, the job's URL is the public one."""
    async with running_gateway(config(service, tmp_path, public_url="https://images.example/tin/")) as client:
        answer = await client.post(PATH, json={"prompt": "x"}, headers=ASYNC)
        assert answer.headers["location"] == f"https://images.example/tin/v1/jobs/{answer.json()['id']}"
