"""Several prompts at a time: how many, what fails, and what is printed."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tintype.cli.commands import build_parser
from tintype.cli.errors import UserError
from tintype.cli.generation.prompts import read_prompts
from tintype.cli.generation.results import Results, Wanted
from tintype.cli.generation.runner import check, run
from tintype.cli.service_client import ServiceConnection
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WANTED = Wanted(None, None, None, None, labels=True, screen=None, json=False, quiet=False)


class Service:
    """A service whose prompts say what happens: `ok`, or the name of a status. It counts the requests at a time."""

    def __init__(self) -> None:
        self.running = self.most = self.asked = 0

    async def StreamImages(  # noqa: N802 - the contract's name
        self, request: pb.StreamImagesRequest, metadata: object
    ) -> AsyncIterator[pb.StreamImagesResponse]:
        assert metadata == ()
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(3):
            await asyncio.sleep(0)
        self.running -= 1
        status = request.generation.prompt.split()[-1]
        if status != "ok":
            empty: Any = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode[status], empty, empty, details="it is\nwrong")
        yield pb.StreamImagesResponse(progress=pb.Progress(index=0, step=2, steps=2))
        for index in range(request.generation.count):
            yield pb.StreamImagesResponse(image=pb.Image(index=index, seed=index, data=b"x", width=8, height=8))
        yield pb.StreamImagesResponse(completed=pb.Completed())


def make(service: Service, *words: str, jobs: int = 4, **wanted: Any) -> Results:
    works = check(read_prompts(vars(build_parser().parse_args(["generate", *words]))))
    results = Results(WANTED._replace(**wanted), works)
    stub: Any = SimpleNamespace(StreamImages=service.StreamImages)
    try:
        asyncio.run(run(ServiceConnection(stub, ()), works, {}, jobs, results))
    finally:
        results.finish()
    return results


def test_failures_do_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each failure is a line with the number of its prompt, and the summary counts them; all others are saved."""
    words = ["1 ok", "2 INVALID_ARGUMENT", "3 ok", "4 PERMISSION_DENIED", *(f"{number} ok" for number in range(5, 21))]
    service = Service()
    results = make(service, *words, output=str(tmp_path / "{index:02}.png"))
    assert results.failures == 2
    assert sorted(path.stem for path in tmp_path.iterdir()) == [
        f"{number:02}" for number in range(1, 21) if number not in (2, 4)
    ]
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 18
    assert "tintype: prompt 2 (2 INVALID_ARGUMENT): it is wrong\n" in captured.err
    assert captured.err.splitlines()[-1].startswith("18 images in ")
    assert captured.err.endswith(" s, 2 of 20 prompts failed\n")
    assert service.most == 4


def test_jobs_are_the_requests_at_a_time(tmp_path: Path) -> None:
    """`--jobs 1` sends one prompt after the other."""
    service = Service()
    make(service, "a ok", "b ok", "c ok", jobs=1, output=str(tmp_path / "x.png"))
    assert (service.most, service.asked) == (1, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-1.png", "x-2.png", "x-3.png"]


@pytest.mark.parametrize("status", ["UNAVAILABLE", "UNAUTHENTICATED"])
def test_errors_of_all_prompts_end_the_run(status: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A service that is gone is not asked for every prompt."""
    service = Service()
    with pytest.raises(grpc.aio.AioRpcError):
        make(service, f"a {status}", *["b ok"] * 50, jobs=2, output=str(tmp_path / "x.png"))
    assert service.asked < 10
    assert "of 51 prompts not finished" in capsys.readouterr().err


def test_a_folder_that_is_gone_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that can't be saved ends the run, because the next ones could not be saved either."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    service = Service()
    with pytest.raises(UserError, match="No space left on device"):
        make(service, *["a ok"] * 50, jobs=1, output=str(tmp_path / "x.png"))
    assert service.asked == 1
    assert list(tmp_path.iterdir()) == []


def test_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one object for each image and each failure, and nothing else to stdout."""
    make(Service(), "a ok", "b NOT_FOUND", "--count", "2", json=True, output=str(tmp_path / "x.png"), jobs=1)
    first, second, failure = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["file"], first["image"], first["seed"], first["width"]) == (str(tmp_path / "x-1.png"), 1, 0, 8)
    assert first["seconds"].keys() == {"queue", "encode", "denoise", "decode", "total"}
    assert second["image"] == 2
    assert failure == {"error": "it is\nwrong", "index": 2, "prompt": "b NOT_FOUND"}
