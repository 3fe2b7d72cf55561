"""The engine with the built-in model: real graphs, onnxruntime, real rounding."""

from collections.abc import Iterator

import numpy as np
import pytest

from tintype.service.engine import Engine, Limits, Ticket
from tintype.service.engine.events import Completed, Event, Finished, Preview
from tintype.service.job import Job, Previews
from tintype.service.models import Repository
from tintype.service.numerics.samplers import SAMPLERS

pytestmark = pytest.mark.slow

JOBS = [
    Job(prompt="a red circle", seed=1, steps=4),
    Job(prompt="a blue square on a green hill", seed=2, steps=3, sampler="dpmpp_2m", guidance_scale=2.0),
    Job(prompt="a lake", seed=3, steps=5, guidance_scale=1.0, count=2),
]
TOLERANCE = 2 / 255  # kernels round differently at another batch size


@pytest.fixture(scope="module")
def repository() -> Iterator[Repository]:
    with Repository(providers=["cpu"], threads=2) as repository:
        repository.wait(timeout=120)
        yield repository


def run_all(repository: Repository, jobs: list[Job], max_batch: int) -> dict[Ticket, list[Event]]:
    engine = Engine(repository, limits=Limits(max_batch=max_batch))
    events: dict[Ticket, list[Event]] = {engine.admit(job): [] for job in jobs}
    while engine.step():
        pass
    for ticket, event in engine.collect():
        events[ticket].append(event)
    return events


def images(events: list[Event]) -> list[np.ndarray]:
    return [e.pixels for e in sorted((e for e in events if isinstance(e, Finished)), key=lambda e: e.index)]


def test_batching_changes_at_most_two_levels(repository: Repository) -> None:
    """An image alone and in a batch with other samplers, steps and guidance differs by at most 2 of 255 levels."""
    together = list(run_all(repository, JOBS, 4).values())
    for job, events in zip(JOBS, together, strict=True):
        (alone,) = run_all(repository, [job], 1).values()
        assert isinstance(alone[-1], Completed)
        assert len(images(alone)) == job.count
        for mine, other in zip(images(events), images(alone), strict=True):
            assert np.abs(mine - other).max() <= TOLERANCE


def test_a_batch_of_all_samplers_changes_at_most_two_levels(repository: Repository) -> None:
    """In one batch of all samplers each image is the one that the sampler makes alone."""
    jobs = [
        Job(prompt="a red circle", seed=seed, steps=5, sampler=name, width=128, height=128)
        for seed, name in enumerate(SAMPLERS)
    ]
    for job, events in zip(jobs, run_all(repository, jobs, 8).values(), strict=True):
        (alone,) = run_all(repository, [job], 1).values()
        apart = np.abs(images(events)[0] - images(alone)[0]).max()
        assert apart <= TOLERANCE, f"{job.sampler}: {apart * 255:.2f} of 255"


def test_an_equal_request_has_a_bit_identical_image(repository: Repository) -> None:
    """The same request is bit-identical; another seed makes another image."""
    first, again, other = (
        images(events)[0]
        for seed in (1, 1, 2)
        for events in run_all(repository, [Job(prompt="a red circle", seed=seed, steps=2)], 1).values()
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.05


def test_the_last_preview_resembles_the_image(repository: Repository) -> None:
    """The last preview resembles the image, at latent resolution."""
    job = Job(prompt="a red circle", seed=1, steps=6, previews=Previews(every=1))
    (events,) = run_all(repository, [job], 1).values()
    last = [event for event in events if isinstance(event, Preview)][-1].pixels
    (image,) = images(events)
    scale = image.shape[1] // last.shape[1]
    small = image.reshape(3, last.shape[1], scale, last.shape[2], scale).mean(axis=(2, 4))
    assert np.abs(small - last).mean() < 0.15
