"""Images whose latents stay on a device have the bits of those on the host, here with the CPU as the device."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.engine import Engine, Limits
from tintype.service.engine.events import Failed, Finished, Preview, Progress
from tintype.service.errors import Cancelled
from tintype.service.images.pixels import to_levels
from tintype.service.images.upload import Source
from tintype.service.job import Job, Previews
from tintype.service.models import Repository
from tintype.service.models.resident import values
from tintype.service.models.resident.decoding import ResidentDecoder
from tintype.service.models.resident.denoising import ResidentDenoiser
from tintype.service.models.runtime.ort import open_session
from tintype.service.models.runtime.provider_options import DEVICES
from tintype.service.models.runtime.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_COMPONENT = 29 * 10**6  # bytes; the built-in denoiser has 28.5 MB in memory, all components 39 MB
SIDE = 256  # of the model's smallest images


@pytest.fixture(scope="module")
def host() -> Iterator[Repository]:
    with Repository(providers=["cpu"], threads=1) as repository:
        repository.wait(timeout=120)
        yield repository


@pytest.fixture(scope="module")
def device() -> Iterator[Repository]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEVICES, "cpu", "cpu")
        with Repository(providers=["cpu"], threads=1) as repository:
            repository.wait(timeout=120)
            yield repository


def job(seed: int, **fields: Any) -> Job:
    return Job(prompt="a red circle", seed=seed, **{"steps": 2, "width": SIDE, "height": SIDE, **fields})


def source(*, masked: bool) -> Source:
    levels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    repaint = np.zeros((SIDE, SIDE), bool)
    repaint[:, : SIDE // 2] = True
    return Source(levels, repaint if masked else None)


def results(repository: Repository, jobs: list[Job], batch: int = 2) -> dict[tuple[int | None, ...], np.ndarray]:
    """Return the images and previews of jobs by seed, step and index."""
    engine = Engine(repository, limits=Limits(max_batch=batch))
    for each in jobs:
        engine.admit(each)
    while engine.step():
        pass
    events = engine.collect()
    assert [event.error for _, event in events if isinstance(event, Failed)] == []
    found: dict[tuple[int | None, ...], np.ndarray] = {}
    for ticket, event in events:
        if isinstance(event, Finished):
            found[ticket.job.seed, event.index] = event.pixels
        elif isinstance(event, Preview):
            found[ticket.job.seed, event.index, event.step] = event.pixels
    return found


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether pixels are bit-identical, or are levels that differ in halves at most."""
    if found.dtype == np.float32:
        return np.array_equal(found, expected)
    return bool(np.abs(found - expected * 255).max() <= 0.5 + 1e-4)


def test_images_and_previews_are_the_same(host: Repository, device: Repository) -> None:
    """Rows of several samplers, guidance, starts and lengths share calls, join and leave."""
    jobs = [
        job(1, previews=Previews(every=1)),
        job(2, sampler="euler_ancestral", steps=3, count=2, previews=Previews(every=2)),
        job(3, sampler="dpmpp_2m", guidance_scale=1.0),
        job(4, source=source(masked=True), strength=0.8, sampler="ddim", guidance_rescale=0.0),
        job(5, source=source(masked=False), strength=0.5, steps=4),
    ]
    expected, found = results(host, jobs), results(device, jobs)
    assert found.keys() == expected.keys()
    assert len(found) > len(jobs) + 3
    for key, pixels in expected.items():
        assert same(found[key], pixels), key


def test_the_denoiser_advances_rows_on_the_device(
    host: Repository, device: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls with ControlNets are on the host: rows move there, and back."""
    steps: list[int] = []
    advance = ResidentDenoiser.advance

    def record(self: ResidentDenoiser, calls: Any, *rest: Any) -> None:
        steps.append(len(calls))
        advance(self, calls, *rest)

    takes = iter([True, False, True, True, False, False])
    monkeypatch.setattr(ResidentDenoiser, "advance", record)
    monkeypatch.setattr(ResidentDenoiser, "takes", lambda *_: next(takes))
    jobs = [job(6, sampler="dpmpp_3m_sde", steps=6)]
    found = results(device, jobs)
    assert steps == [1, 1, 1]
    assert same(found[6, 0], results(host, jobs)[6, 0])


def test_a_cancelled_row_frees_its_slot(device: Repository) -> None:
    """Rows of the same batch go on, and the slot is used again."""
    engine = Engine(device, limits=Limits(max_batch=2))
    tickets = [engine.admit(job(seed)) for seed in (1, 2)]
    for _ in range(3):
        engine.step()
    engine.cancel(tickets[0])
    while engine.step():
        pass
    events = engine.collect()
    (failed,) = [event for _, event in events if isinstance(event, Failed)]
    assert isinstance(failed.error, Cancelled)
    assert [ticket for ticket, event in events if isinstance(event, Finished)] == tickets[1:]
    gc.collect()
    (state,) = device.get(device.default).resident._states.values()  # type: ignore[union-attr]
    assert not state.is_used


def test_a_failed_batch_is_retried(device: Repository, host: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of two rows fails; alone they have the same images."""
    advance = ResidentDenoiser._denoise
    failures = iter([None, RuntimeError("broken")])

    def fail(self: ResidentDenoiser, *rest: Any) -> Any:
        if error := next(failures, None):
            raise error
        return advance(self, *rest)

    monkeypatch.setattr(ResidentDenoiser, "_denoise", fail)
    jobs = [job(seed, guidance_scale=1.0) for seed in (1, 2)]
    found, expected = results(device, jobs), results(host, jobs, batch=1)
    for key, pixels in expected.items():
        assert np.abs(found[key].astype(int) - to_levels(pixels)).max() <= 2


def test_an_image_that_the_device_cannot_decode_is_decoded_from_the_host(
    device: Repository, host: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tiles, after a lack of memory, or in float32 if it is not finite: the host's pixels are the result."""
    monkeypatch.setattr(ResidentDecoder, "__call__", lambda *_: None)
    found, expected = results(device, [job(1)]), results(host, [job(1)])
    assert np.array_equal(found[1, 0], expected[1, 0])


def test_the_denoiser_may_be_evicted_between_two_steps(host: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latents do not belong to its session: with memory for one component they outlast it."""
    monkeypatch.setitem(DEVICES, "cpu", "cpu")
    opened: list[str] = []
    load = Runtime._load

    def record(self: Runtime, source: Any, stop_flag: Any) -> Any:
        opened.append(source.component)
        return load(self, source, stop_flag)

    monkeypatch.setattr(Runtime, "_load", record)
    with Repository(providers=["cpu"], threads=1, memory=LARGEST_COMPONENT) as repository:
        repository.wait(timeout=120)
        engine = Engine(repository, limits=Limits(max_batch=2))
        engine.admit(job(1, sampler="dpmpp_2m"))
        while not any(isinstance(event, Progress) for _, event in engine.collect()):
            engine.step()
        engine.admit(job(2, priority=1))
        while engine.step():
            pass
        found = {t.job.seed: event.pixels for t, event in engine.collect() if isinstance(event, Finished)}
    assert opened.count("unet") > 1
    expected = results(host, [job(1, sampler="dpmpp_2m"), job(2)], batch=1)
    for seed in (1, 2):
        assert same(found[seed], expected[seed, 0])


@pytest.mark.parametrize("name", ["write_row", "write_update", "write_levels"])
def test_a_device_that_lacks_an_operator_leaves_latents_to_the_host(
    host: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """A small graph that the device refuses fails no request: rows move to the host, once and for all."""
    opened: list[str] = []

    def refuse(source: Any, provider: str, options: Any) -> Any:
        opened.append(source.component)
        if source.component == name:
            raise RuntimeError("no kernel")
        return open_session(source, provider, options)

    monkeypatch.setitem(DEVICES, "cpu", "cpu")
    monkeypatch.setattr(values, "open_session", refuse)
    with Repository(providers=["cpu"], threads=1) as repository:
        repository.wait(timeout=120)
        found = [results(repository, [job(1, sampler="euler_ancestral")]) for _ in range(2)]
    expected = results(host, [job(1, sampler="euler_ancestral")])
    assert all(same(images[1, 0], expected[1, 0]) for images in found)
    assert opened.count(name) == 1
    assert caplog.text.count("no kernel") == 1
