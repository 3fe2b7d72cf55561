"""The cache is shared with `huggingface_hub`: it reads what we wrote, and we read what it wrote."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.service.fake_hub import COMMIT, SERVED, FakeHub, git_sha1, pipeline_files, sha256
from tests.support.service.pulling import Pull, snapshot
from tintype.service.models.hub.cache import CachedRepository
from tintype.service.models.hub.errors import HubUnavailable
from tintype.service.models.hub.listing import ListedFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.torch

FILES = pipeline_files()
IMPORTS = """
from huggingface_hub import file_download, snapshot_download, try_to_load_from_cache, scan_cache_dir
"""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(FILES) as running:
        yield running


def run(code: str, cache: Path, **variables: str) -> str:
    """Run code with `huggingface_hub` in its own process, since it reads its variables once."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environ |= {"HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", **variables}
    command = [sys.executable, "-c", IMPORTS + code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_reads_our_cache(hub: FakeHub, tmp_path: Path) -> None:
    """It finds the snapshot and each file in it, knows which are missing, and its list of the cache has no warning."""
    folder = Pull(hub, tmp_path).run()
    found = f"""
options = {{"repo_id": "owner/name", "local_files_only": True}}
print(snapshot_download(**options, allow_patterns={sorted(SERVED)}))
try:
    snapshot_download(**options)
except OSError as error:
    print(type(error).__name__)
"""
    assert run(found, tmp_path).splitlines() == [str(folder), "IncompleteSnapshotError"]
    weights = "unet/diffusion_pytorch_model.fp16.safetensors"
    assert run(f'print(try_to_load_from_cache("owner/name", "{weights}"))', tmp_path) == str(folder / weights)
    scan = (
        "info = scan_cache_dir(); (repo,) = info.repos; print(repo.repo_id, repo.nb_files, *repo.refs, *info.warnings)"
    )
    assert run(scan, tmp_path) == f"owner/name {len({FILES[path] for path in SERVED})} main"


def test_it_waits_for_our_locks(tmp_path: Path) -> None:
    """While we download a content, it cannot lock that content, and afterwards it can."""
    content = FILES["unet/diffusion_pytorch_model.safetensors"]
    code = f"""
from pathlib import Path
from filelock import FileLock, Timeout
folder = file_download.repo_folder_name(repo_id="owner/name", repo_type="model")
try:
    FileLock(Path({str(tmp_path)!r}, ".locks", folder, "{sha256(content)}.lock"), timeout=0).acquire()
    print("free")
except Timeout:
    print("locked")
"""

    async def locked() -> str:
        file = ListedFile(len(content), git_sha1(content), sha256(content))
        async with CachedRepository(tmp_path, "owner/name").lock(file, lambda: None):
            return run(code, tmp_path)

    assert asyncio.run(locked()) == "locked"
    assert run(code, tmp_path) == "free"


def write(paths: list[str], cache: Path) -> None:
    """Let `huggingface_hub` put files into the cache; answers of the hub are prepared."""
    files = {path: (sha256(FILES[path]) if len(FILES[path]) >= 1000 else git_sha1(FILES[path])) for path in paths}
    contents = cache / "contents"
    for path in paths:
        place = contents / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(FILES[path])
    code = f"""
from pathlib import Path
from unittest.mock import patch
files = {files!r}

def metadata(*, filename, **_):
    size = Path({str(contents)!r}, filename).stat().st_size
    return ("http://hub/" + filename, files[filename], {COMMIT!r}, size, None, None)

def get(url, temp_file, **_):
    temp_file.write(Path({str(contents)!r}, url.removeprefix("http://hub/")).read_bytes())

with patch.multiple(file_download, _get_metadata_or_catch_error=metadata, http_get=get):
    for name in files:
        file_download.hf_hub_download("owner/name", name)
"""
    run(code, cache)


def test_we_read_its_cache(hub: FakeHub, tmp_path: Path) -> None:
    """A snapshot that it wrote is served without a download, also without its list of files."""
    write(sorted(SERVED), tmp_path)
    folder = Pull(hub, tmp_path, offline=True).run()
    assert set(snapshot(folder)) == SERVED
    Pull(hub, tmp_path).run()
    assert hub.paths("storage") == []


def test_we_complete_its_cache(hub: FakeHub, tmp_path: Path) -> None:
    """Of an incomplete snapshot only what is missing is downloaded."""
    write(sorted(SERVED - {"unet/diffusion_pytorch_model.fp16.safetensors"}), tmp_path)
    with pytest.raises(
        HubUnavailable, match=r"HF_HUB_OFFLINE is set, and .*model_index\.json names unet, but unet/ has n"
    ):
        Pull(hub, tmp_path, offline=True).run()
    assert set(snapshot(Pull(hub, tmp_path).run())) == SERVED
    assert len(hub.paths("storage")) == 1
