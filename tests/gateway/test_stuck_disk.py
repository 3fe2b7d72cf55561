"""A disk that does not answer, like a network folder whose server is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from tests.support.gateway.fakes import PATH, PNG, FakeService, Service, config, running_gateway
from tests.support.gateway.starting import running_process
from tintype.gateway.results.localstore import LocalStore
from tintype.v1 import keys
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe stands for the disk"),
    pytest.mark.slow,
]

STORED = [(PNG, "image/png")]
SOON = 0.2  # seconds that a call may take here


async def block_results(data: Path, count: int) -> list[str]:
    """Replace results by pipes, which never answer a read without a writer."""
    store = LocalStore(data)
    kept = await store.put(STORED * count)
    for one in kept:
        (data / "files" / one.name).unlink()
        os.mkfifo(data / "files" / one.name)
        os.utime(data / "files" / one.name, (one.expires, one.expires))
    return [store.url(one, "") for one in kept]


def unblock_disk(data: Path) -> None:
    """Let the disk answer again."""
    for path in (data / "files").iterdir():
        if path.is_fifo():
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


def info() -> dict[str, str]:
    file = BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return {"image": b64encode(file.getvalue()).decode()}


async def test_stuck_reads_are_503(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """Stuck reads give 503 after a time limit, `/readyz` says why, and requests without the disk are served."""
    stuck = await block_results(tmp_path, 15)
    async with running_gateway(config(service, tmp_path, store_timeout=SOON)) as client:
        answers = await asyncio.gather(*(client.get(link) for link in stuck))
        assert {one.status_code for one in answers} == {503}
        assert {one.headers["content-type"] for one in answers} == {"application/json"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["why"]) == (503, "the folder of results does not answer")
        assert (await client.get("/livez")).status_code == 200
        assert (await client.post("/sdapi/v1/png-info", json=info())).status_code == 200
        assert (await client.post(PATH, json={"prompt": "x", "response_format": "b64_json"})).status_code == 200
        asked = len(fake.requests)
        refused = await client.post(PATH, json={"prompt": "x", "response_format": "url"})
        assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "false")
        assert len(fake.requests) == asked, "no image is made that can't be kept"
        await wait_until_recovered(client, tmp_path)
        assert (await client.post(PATH, json={"prompt": "x", "response_format": "url"})).status_code == 200


async def wait_until_recovered(client: httpx.AsyncClient, data: Path) -> None:
    """Wait until the gateway has noticed that the disk answers again."""
    async with asyncio.timeout(30):
        while (await client.get("/readyz")).status_code != 200:
            unblock_disk(data)
            await asyncio.sleep(0.02)


async def test_stuck_writes_are_503(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that can't be written in time give 503, and so do requests waiting for the same lock."""
    gate = threading.Event()
    write = LocalStore._write

    def stuck(store: LocalStore, *args: Any) -> object:
        gate.wait()
        return write(store, *args)

    monkeypatch.setattr(LocalStore, "_write", stuck)
    async with running_gateway(config(service, tmp_path, store_timeout=SOON)) as client:
        body = {"prompt": "x", "response_format": "url"}
        answers = await asyncio.gather(*(client.post(PATH, json=body) for _ in range(3)))
        assert {one.status_code for one in answers} == {503}
        gate.set()
        await wait_until_recovered(client, tmp_path)
        assert (await client.post(PATH, json=body)).status_code == 200


async def test_gateway_shuts_down_with_stuck_reads(tmp_path: Path) -> None:
    """A gateway with more stuck reads than threads still shuts down."""
    stuck = await block_results(tmp_path, 20)
    with running_process(tmp_path, grace=0.2) as (process, url):
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            reading = [asyncio.create_task(client.get(link)) for link in stuck]
            await asyncio.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            rest = await asyncio.to_thread(ended, process)
            await asyncio.gather(*reading, return_exceptions=True)
    assert (process.returncode, rest) == (0, "ended well\n")


async def test_unreadable_key_file_keeps_the_keys(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key file that can't be read any more has no effect: previous keys stay valid, new ones are read later."""
    monkeypatch.setattr(keys, "RELOAD_TIMEOUT", SOON)
    secret, file = create(tmp_path / "keys", "me"), tmp_path / "keys"
    headers = {"authorization": f"Bearer {secret}"}
    async with running_gateway(config(service, tmp_path)) as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 200
        kept = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        asked = [client.get("/v1/models", headers=headers) for _ in range(5)]
        assert {one.status_code for one in await asyncio.gather(*asked, client.get("/livez"))} == {200}
        assert (await client.get("/v1/models")).status_code == 401
        os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK))
        file.unlink()
        file.write_bytes(kept)
        other = create(file, "you")
        async with asyncio.timeout(30):
            while (await client.get("/v1/models", headers={"api-key": other})).status_code != 200:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=60)[0]
