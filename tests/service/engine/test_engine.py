"""The engine stepped by hand on a model with known outputs, with one job and with batches."""

from typing import Any

import numpy as np
import pytest

from tests.support.engine.by_hand import by_hand, images
from tests.support.engine.exact import SPEC, Bench, ExactModel, mean_of, spec
from tintype.service.engine.events import Completed, Finished, Loading, Preview, Progress, Queued
from tintype.service.errors import InvalidField, ModelNotFound
from tintype.service.job import Previews

JOBS: list[dict[str, Any]] = [
    {"prompt": "a lake", "seed": 1},
    {"prompt": "a hill", "seed": 2, "steps": 3, "sampler": "euler_ancestral", "guidance_scale": 1.0},
    {"prompt": "a wood", "seed": 3, "steps": 9, "sampler": "dpmpp_2m", "schedule": "karras", "guidance_scale": 7.5},
    {"prompt": "a moor", "seed": 4, "steps": 4, "sampler": "heun", "guidance_rescale": 0.7, "negative_prompt": "fog"},
    {"prompt": "a fen", "seed": 5, "count": 3, "sampler": "ddim", "eta": 1.0},
]


def test_a_job_has_all_events_in_order() -> None:
    """Position, each step, the image and the summary, in this order, and no other event."""
    bench = Bench()
    ticket = bench.admit(steps=3)
    bench.run()
    kinds = [type(event) for event in bench.events[ticket]]
    assert kinds == [Queued, Progress, Progress, Progress, Finished, Completed]
    assert [(e.step, e.steps) for e in bench.of(ticket, Progress)] == [(1, 3), (2, 3), (3, 3)]
    assert not bench.engine.busy


def test_the_image_equals_that_of_a_plain_sampling_loop() -> None:
    """Bit-identical to what sampler and model make without an engine."""
    bench = Bench()
    ticket = bench.admit("a lake", seed=11)
    bench.run()
    assert np.array_equal(images(bench, ticket)[0], by_hand("a lake", 11))


def test_the_image_has_the_mean_of_its_prompt() -> None:
    """Without guidance, images are drawn from the model's data, whose mean the prompt sets."""
    bench = Bench()
    ticket = bench.admit("a lake", steps=40, guidance_scale=1.0, count=10, seed=3)
    bench.run()
    latents = (np.mean(images(bench, ticket)) - 0.5) * 8
    assert abs(latents - mean_of("a lake")) < 0.1


def test_count_makes_images_of_successive_seeds() -> None:
    """Image k is image 0 of a request with seed + k, and reports that seed."""
    bench = Bench()
    many = bench.admit("a lake", seed=20, count=3)
    bench.run()
    alone = bench.admit("a lake", seed=22)
    bench.run()
    assert [event.seed for event in bench.of(many, Finished)] == [20, 21, 22]
    assert np.array_equal(images(bench, many)[2], images(bench, alone)[0])


@pytest.mark.parametrize("max_batch", [1, 3, 16])
def test_batching_does_not_change_a_bit(max_batch: int) -> None:
    """Images in a batch of different samplers, steps, guidance and seeds are bit-identical to those made alone."""
    together = Bench(max_batch=max_batch)
    tickets = [together.admit(**job) for job in JOBS]
    together.run()
    for job, ticket in zip(JOBS, tickets, strict=True):
        alone = Bench(max_batch=1)
        lonely = alone.admit(**job)
        alone.run()
        assert len(images(together, ticket)) == job.get("count", 1)
        for mine, other in zip(images(together, ticket), images(alone, lonely), strict=True):
            assert np.array_equal(mine, other), job


def test_rows_join_between_two_steps() -> None:
    """A job that arrives while another runs shares its next call; each takes all of its own steps."""
    bench = Bench(max_batch=4)
    first = bench.admit(seed=1, steps=6)
    bench.step(3)  # encoded, two steps
    second = bench.admit("a hill", seed=2, steps=3)
    bench.run()
    assert [rows for name, rows in bench.model.calls if name == "denoise"] == [2, 2, 4, 4, 4, 2]
    assert np.array_equal(images(bench, first)[0], by_hand("a lake", 1))
    assert np.array_equal(images(bench, second)[0], by_hand("a hill", 2, steps=3))


def test_guided_and_unguided_rows_share_a_call() -> None:
    """One call holds two rows with guidance and one without."""
    bench = Bench(max_batch=4)
    bench.admit(steps=2)
    bench.admit("a hill", steps=2, guidance_scale=1.0)
    bench.run()
    assert [rows for name, rows in bench.model.calls if name == "denoise"] == [3, 3]


def test_rows_of_different_shapes_do_not_share() -> None:
    """Latents of different sizes are not in one call; both jobs are served."""
    bench = Bench(max_batch=4)
    tickets = [bench.admit(width=w, height=64, steps=2) for w in (64, 96)]
    bench.run()
    assert [rows for name, rows in bench.model.calls if name == "denoise"] == [2, 2, 2, 2]
    assert [images(bench, t)[0].shape for t in tickets] == [(3, 64, 64), (3, 64, 96)]


def test_a_graph_with_a_scalar_timestep_batches_only_rows_of_one_timestep() -> None:
    """If the timestep has no batch axis, only rows at the same timestep share a call."""
    bench = Bench(ExactModel(spec(batched_timestep=False)), max_batch=4)
    jobs = [bench.admit(seed=1, steps=4), bench.admit(seed=2, steps=4), bench.admit(seed=3, steps=3)]
    bench.run()
    assert all(len(set(times)) == 1 for times in bench.model.timesteps)
    assert max(len(times) for times in bench.model.timesteps) == 4
    assert all(bench.of(ticket, Completed) for ticket in jobs)


def test_models_do_not_share_calls() -> None:
    """Each call has rows of one model only."""
    other = ExactModel(spec(name="other"))
    bench = Bench(ExactModel(clock=other.clock), other, max_batch=4)
    tickets = [bench.admit(model=name, steps=2) for name in ("exact", "other")]
    bench.run()
    assert [len(m.timesteps) for m in (bench.model, other)] == [2, 2]
    assert [bench.of(t, Completed)[0].model for t in tickets] == ["exact", "other"]


def test_invalid_jobs_are_refused_at_once() -> None:
    """Errors of fields and models are raised by admit, and nothing is queued."""
    bench = Bench()
    with pytest.raises(ModelNotFound):
        bench.admit(model="nothing")
    with pytest.raises(InvalidField):
        bench.admit(sampler="nothing")
    assert not bench.engine.busy


def test_jobs_wait_for_their_model_without_blocking_others() -> None:
    """While a model loads, its jobs get loading progress and jobs of other models run."""
    other = ExactModel(spec(name="other"))
    bench = Bench(ExactModel(clock=other.clock), other)
    bench.shelf.absent.add("exact")
    waiting, running = bench.admit(steps=2), bench.admit(model="other", steps=2)
    bench.run()
    assert bench.of(running, Completed)
    assert bench.of(waiting, Loading) == [Loading("exact", 0.0)]
    bench.shelf.fraction = 0.5
    assert not bench.step(3)
    assert bench.of(waiting, Loading)[1:] == [Loading("exact", 0.5)]
    bench.shelf.absent.clear()
    bench.run()
    assert bench.of(waiting, Completed)


def test_a_running_job_keeps_its_model() -> None:
    """A model that is evicted meanwhile serves started tasks, and is held exactly as long."""
    bench = Bench()
    running = bench.admit(steps=3)
    bench.step(2)
    late = bench.admit("a hill")
    bench.shelf.absent.add("exact")
    assert bench.shelf.holds == ["exact"]
    bench.run()
    assert bench.of(running, Completed)
    assert not bench.of(late, Completed)
    assert bench.shelf.holds == []


def test_previews_come_when_they_are_due() -> None:
    """Three previews of a job of eight steps are spread evenly, numbered from 0, with none after the last step."""
    bench = Bench()
    ticket = bench.admit(steps=8, count=2, previews=Previews(count=3))
    bench.run()
    found = [(e.index, e.step, e.number) for e in bench.of(ticket, Preview)]
    assert [entry for entry in found if entry[0] == 0] == [(0, 2, 0), (0, 4, 1), (0, 6, 2)]
    assert [entry[1:] for entry in found if entry[0] == 1] == [(2, 0), (4, 1), (6, 2)]
    assert all(e.pixels.shape == (3, 8, 8) for e in bench.of(ticket, Preview))


def test_previews_approach_the_image() -> None:
    """A late preview is near the image; early noise is not."""
    bench = Bench()
    ticket = bench.admit(steps=10, seed=1, guidance_scale=1.0, previews=Previews(every=1))
    bench.run()
    final = images(bench, ticket)[0][:, ::8, ::8]
    errors = [float(np.abs(e.pixels - final).mean()) for e in bench.of(ticket, Preview)]
    assert len(errors) == 9
    assert errors[-1] < errors[0] / 5


def test_timings_split_the_time_of_a_job() -> None:
    """Timings of encoders, steps and decoder, per image and in total; the rest is waiting."""
    bench = Bench(max_batch=1)
    ticket = bench.admit(steps=3, count=2, seed=1)
    bench.clock.now += 10
    bench.run()
    first, second = (e.timings for e in bench.of(ticket, Finished))
    assert (first.queue, first.encode, first.denoise, first.decode) == (10, 0.5, 3, 2)
    assert (second.queue, second.encode, second.denoise, second.decode) == (15, 0.5, 3, 2)
    total = bench.of(ticket, Completed)[0]
    assert (total.timings.queue, total.timings.encode, total.timings.denoise, total.timings.decode) == (10, 0.5, 6, 4)
    assert (total.images, total.steps, total.prompt_tokens) == (2, 6, 2)


def test_a_shared_call_counts_once_for_each_job_in_it() -> None:
    """A call counts fully for each image in it, and once in the sum of a job."""
    bench = Bench(max_batch=4)
    ticket = bench.admit(steps=3, count=2)
    bench.run()
    assert [e.timings.denoise for e in bench.of(ticket, Finished)] == [3, 3]
    assert bench.of(ticket, Completed)[0].timings.denoise == 3


def test_the_remaining_time_is_estimated_after_the_first_measured_step() -> None:
    """The second job of a batch key gets a correct estimate from its first step on."""
    bench = Bench()
    bench.admit(steps=4, seed=1)
    bench.run()
    ticket = bench.admit(steps=4, seed=2)
    bench.step(2)
    eta, at = bench.of(ticket, Progress)[0].eta, bench.clock.now
    bench.run()
    assert eta == pytest.approx(bench.clock.now - at) == 3 * 1.0 + 2.0


def test_the_negative_prompt_is_encoded_only_with_guidance() -> None:
    """Tokens count both prompts if both are used."""
    bench = Bench()
    guided = bench.admit("a lake", negative_prompt="fog and rain")
    plain = bench.admit("a lake", negative_prompt="fog and rain", guidance_scale=1.0)
    bench.run()
    assert [bench.of(t, Completed)[0].prompt_tokens for t in (guided, plain)] == [5, 2]


def test_the_revised_prompt_is_reported() -> None:
    """A style changes the prompt, and the image reports the changed one."""
    bench = Bench()
    ticket = bench.admit("a lake", style="vivid")
    bench.run()
    assert bench.of(ticket, Finished)[0].revised_prompt == "a lake, vivid"
    assert SPEC.styles["vivid"].template == "{prompt}, vivid"
