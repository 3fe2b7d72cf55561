"""A full disk: a real file system without free space."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.fakes import PNG, FakeService, Service, config, make_images, running_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tintype.v1 import image_service_pb2 as pb

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PATHS = {
    "openai": "/v1/images/generations",
    "apipie": "/apipie/v1/images/generations",
    "aqueduct": "/aqueduct/v1/images/generations",
    "agent.ai": "/agent.ai/v1/action/generate_image",
    "oxen": "/api/ai/images/generate",
}
SHAPES = {
    "openai": {"error"},
    "apipie": {"error"},
    "aqueduct": {"error"},
    "agent.ai": {"error", "status"},
    "oxen": {"error", "status", "status_message"},
}
LARGE = PNG + bytes(40_000)
SIZE = 256 * 1024  # bytes of the file system


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a small file system in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not mount or not umount:
        pytest.skip("no mount here")
    asked = [mount, "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([umount, "-l", str(folder)], check=True)


def fill(folder: Path, *, leave: int) -> None:
    """Fill a file system except for `leave` bytes."""
    room = os.statvfs(folder)
    (folder / "others").write_bytes(bytes(room.f_bavail * room.f_frsize - leave))


def stored_sizes(folder: Path) -> list[int]:
    """Return the size of every file among the results, finished or not."""
    return [path.stat().st_size for path in (folder / "files").iterdir()]


async def large(request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    async for event in make_images(request, context):
        if event.HasField("image"):
            event.image.data = LARGE
        yield event


@pytest.mark.parametrize("name", PATHS)
async def test_full_disk_is_507_without_partial_files(
    service: Service, fake: FakeService, small_disk: Path, name: str
) -> None:
    """It gives 507 in the vendor's format; no partial file stays, base64 works, and links work once there is space."""
    fake.behave = large
    fill(small_disk, leave=len(LARGE) // 2)
    body = {"prompt": "x", "response_format": "url"}
    async with running_gateway(config(service, small_disk)) as client:
        for _ in range(2):
            answer = await client.post(PATHS[name], json=body)
            assert (answer.status_code, set(answer.json())) == (507, SHAPES[name])
            assert "no space" in answer.text
            assert stored_sizes(small_disk) == []
        answer = await client.post(PATHS["openai"], json=body | {"response_format": "b64_json"})
        assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == LARGE
        (small_disk / "others").unlink()
        assert (await client.post(PATHS[name], json=body)).status_code == 200
        assert stored_sizes(small_disk) == [len(LARGE)]
        assert (await client.get("/v1/models")).status_code == 200


async def test_a_gateway_that_starts_with_a_full_disk_has_jobs_later(service: Service, small_disk: Path) -> None:
    """It starts, refuses jobs with 507, and accepts them once there is space, without a restart."""
    fill(small_disk, leave=len(LARGE) // 2)
    headers = {"prefer": "respond-async"}
    async with running_gateway(config(service, small_disk)) as client:
        answer = await client.post(PATHS["openai"], json={"prompt": "x"}, headers=headers)
        assert (answer.status_code, "no space" in answer.text) == (507, True)
        (small_disk / "others").unlink()
        answer = await client.post(PATHS["openai"], json={"prompt": "x"}, headers=headers)
        assert answer.status_code == 202
        ended = await client.get(answer.headers["location"], params={"wait": 20})
        assert ended.json()["status"] == "succeeded"


async def test_images_are_stored_all_or_none(service: Service, fake: FakeService, small_disk: Path) -> None:
    """If one of two images fits, neither is stored, and other files stay."""
    async with running_gateway(config(service, small_disk)) as client:
        body = {"prompt": "x", "n": 2, "response_format": "url"}
        link = (await client.post(PATHS["openai"], json=body | {"n": 1})).json()["data"][0]["url"]
        fake.behave = large
        fill(small_disk, leave=len(LARGE) * 3 // 2)
        assert (await client.post(PATHS["openai"], json=body)).status_code == 507
        assert len(stored_sizes(small_disk)) == 1
        assert (await client.get(link)).status_code == 200
