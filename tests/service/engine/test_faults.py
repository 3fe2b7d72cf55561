"""Faults of calls, models and memory affect their own tasks only."""

from typing import Any

import numpy as np
import pytest

from tests.support.engine.by_hand import by_hand, images
from tests.support.engine.exact import Bench, ExactModel, broken, mean_of, spec
from tintype.service.engine.events import Completed, Failed, Progress
from tintype.service.errors import GenerationFailed, ModelBroken, OutOfMemory
from tintype.service.images.upload import Source


def test_a_model_that_fails_to_load_fails_its_tasks_only() -> None:
    """These tasks end with the error of the model; tasks of other models complete."""
    other = ExactModel(spec(name="other"))
    bench = Bench(ExactModel(clock=other.clock), other)
    bench.shelf.absent.add("exact")
    doomed, fine = bench.admit(), bench.admit(model="other")
    bench.shelf.broken["exact"] = broken()
    bench.run()
    assert isinstance(bench.of(doomed, Failed)[0].error, ModelBroken)
    assert bench.of(fine, Completed)


def test_a_failing_call_is_retried_row_by_row() -> None:
    """After a failed batch, rows run one by one; only the row that fails alone ends with an error."""
    bench = Bench(max_batch=4)
    tickets = [bench.admit(prompt, seed=k, steps=5) for k, prompt in enumerate(("a lake", "poison", "a hill"))]
    whole = bench.model.denoise

    def denoise(latents: Any, timesteps: Any, conditionings: Any) -> Any:
        if timesteps.min() < 500 and any(c.prompt_embeds[0, 0] == np.float32(mean_of("poison")) for c in conditionings):
            raise RuntimeError("the graph stumbled")
        return whole(latents, timesteps, conditionings)

    bench.model.denoise = denoise  # type: ignore[method-assign]
    bench.run()
    (failed,) = bench.of(tickets[1], Failed)
    assert isinstance(failed.error, GenerationFailed)
    assert "the graph stumbled" in str(failed.error)
    assert bench.of(tickets[1], Progress)  # it had started
    assert np.array_equal(images(bench, tickets[0])[0], by_hand("a lake", 0, steps=5))
    assert np.array_equal(images(bench, tickets[2])[0], by_hand("a hill", 2, steps=5))


@pytest.mark.parametrize("fits", [1, 2, 3, 4])
def test_out_of_memory_makes_calls_smaller(fits: int) -> None:
    """Calls are retried with half the rows, guidance last; no task fails, and images are bit-identical."""
    bench = Bench(max_batch=4)

    def full(name: str, rows: int) -> None:
        if name == "denoise" and rows > fits:
            raise MemoryError

    bench.model.on_call = full
    tickets = [bench.admit(seed=seed, count=2) for seed in (1, 11)]
    bench.run()
    for ticket, seed in zip(tickets, (1, 11), strict=True):
        assert np.array_equal(images(bench, ticket)[0], by_hand("a lake", seed))
    failed = [rows for name, rows in bench.model.calls if name == "denoise" and rows > fits]
    assert failed == [rows for rows in (8, 4, 2) if rows > fits]


@pytest.mark.parametrize("phase", ["encode", "encode_pixels", "denoise", "decode"])
def test_idle_models_are_evicted_before_a_request_fails(phase: str) -> None:
    """Work that ran out of memory is retried after idle models are evicted; the image is the same."""
    levels = np.random.default_rng(1).integers(0, 256, (3, 64, 64), np.uint8)
    job: dict[str, Any] = {"seed": 1, "source": Source(levels), "strength": 0.5, "guidance_scale": 1.0}
    bench, roomy = Bench(max_batch=1), Bench(max_batch=1)
    bench.shelf.idle = 1

    def full(name: str, _rows: int) -> None:
        if name == phase and bench.shelf.idle:
            raise MemoryError

    bench.model.on_call = full
    tickets = [b.admit(**job) for b in (bench, roomy)]
    bench.run()
    roomy.run()
    assert bench.shelf.idle == 0
    assert np.array_equal(images(bench, tickets[0])[0], images(roomy, tickets[1])[0])


def test_no_task_starts_before_one_that_waits_for_memory() -> None:
    """Running tasks finish and release memory; later tasks of another model wait."""
    other = ExactModel(spec(name="other"))
    bench = Bench(ExactModel(clock=other.clock), other, max_batch=1)
    bench.shelf.absent.add("other")
    bench.shelf.waiting.add("other")
    running = bench.admit(steps=3, seed=1)
    bench.step(2)
    waiting, late = bench.admit(model="other", steps=9, priority=1), bench.admit(steps=2, seed=2)
    bench.run()
    assert bench.of(running, Completed)
    assert not bench.of(late, Progress)
    assert bench.shelf.holds == []  # the repository can now load the other
    bench.shelf.absent.clear()
    bench.shelf.waiting.clear()
    bench.run()
    assert bench.of(waiting, Completed)
    assert bench.of(late, Completed)


def test_a_row_that_does_not_fit_fails_its_task_only() -> None:
    """A single row without enough memory fails its own task; smaller ones complete."""
    bench = Bench(max_batch=4)
    small, large = bench.admit(seed=1), bench.admit(width=96, height=96)
    whole = bench.model.denoise

    def denoise(latents: Any, *rest: Any) -> Any:
        if latents.shape[-1] > 8:
            raise MemoryError
        return whole(latents, *rest)

    bench.model.denoise = denoise  # type: ignore[assignment, method-assign]
    bench.run()
    assert isinstance(bench.of(large, Failed)[0].error, OutOfMemory)
    assert np.array_equal(images(bench, small)[0], by_hand("a lake", 1))


@pytest.mark.parametrize(
    ("raised", "reported"),
    [(MemoryError(), OutOfMemory), (ValueError("no"), GenerationFailed), (broken(), ModelBroken)],
)
@pytest.mark.parametrize("phase", ["encode", "denoise", "decode"])
def test_exceptions_of_a_model_become_one_tintype_error(phase: str, raised: Exception, reported: type) -> None:
    """An exception in any phase becomes one TintypeError, and the next job is served normally."""
    bench = Bench()
    ticket = bench.admit(seed=1)

    def fail(name: str, _rows: int) -> None:
        if name == phase:
            raise raised

    bench.model.on_call = fail
    bench.run()
    assert [type(e.error) for e in bench.of(ticket, Failed)] == [reported]
    assert isinstance(bench.events[ticket][-1], Failed)
    bench.model.on_call = lambda _name, _rows: None
    again = bench.admit(seed=1)
    bench.run()
    assert np.array_equal(images(bench, again)[0], by_hand("a lake", 1))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_black_or_broken_image_is_an_error(value: float) -> None:
    """A decoder that overflows gives an error, never an image."""
    bench = Bench()
    bench.model.decode = lambda latents: np.full((len(latents), 3, 64, 64), value, np.float32)  # type: ignore[method-assign]
    ticket = bench.admit()
    bench.run()
    assert isinstance(bench.of(ticket, Failed)[0].error, GenerationFailed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("max_batch", [1, 4])
def test_latents_that_are_not_finite_fail_their_task_at_once(value: float, max_batch: int) -> None:
    """The error names the step at which they occur; no more work is done, and other rows are not affected."""
    bench = Bench(max_batch=max_batch)
    tickets = [bench.admit(prompt, seed=k, steps=5) for k, prompt in enumerate(("a lake", "poison", "a hill"))]
    whole = bench.model.denoise
    seen: list[float] = []

    def denoise(latents: Any, timesteps: Any, conditionings: Any) -> Any:
        out = whole(latents, timesteps, conditionings)
        poisoned = [c.prompt_embeds[0, 0] == np.float32(mean_of("poison")) for c in conditionings]
        seen.extend(float(time) for time, bad in zip(timesteps, poisoned, strict=True) if bad)
        out[np.array(poisoned) & (timesteps < 500), 0, 0, 0] = value
        return out

    bench.model.denoise = denoise  # type: ignore[method-assign]
    bench.run()
    (failed,) = bench.of(tickets[1], Failed)
    assert isinstance(failed.error, GenerationFailed)
    assert "latents of image 0 after step 3 of 5 are not finite" in str(failed.error)
    assert [event.step for event in bench.of(tickets[1], Progress)] == [1, 2]
    assert sum(time < 500 for time in seen) == 1
    for ticket, prompt, seed in ((tickets[0], "a lake", 0), (tickets[2], "a hill", 2)):
        assert np.array_equal(images(bench, ticket)[0], by_hand(prompt, seed, steps=5))
