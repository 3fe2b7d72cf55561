"""The progress of a job by itself."""

from __future__ import annotations

import pytest

from tintype.gateway.sdapi.state import Job, Jobs
from tintype.v1 import image_service_pb2 as pb


def report_step(job: Job, index: int, step: int, steps: int = 10) -> None:
    job.update(pb.StreamImagesResponse(progress=pb.Progress(index=index, step=step, steps=steps)))


def test_share_counts_batches_and_steps() -> None:
    """The share is the web UI's: finished batches, and steps of the current one, over all its images."""
    job = Job("", 4, (64, 64))
    assert job.progress().progress == pytest.approx(0.01)
    job.begin(2, 2)
    report_step(job, 0, 10)
    assert job.progress().progress == pytest.approx(0.01 + (2 + 0.5) / 4)
    report_step(job, 1, 10)
    assert job.progress().progress == pytest.approx(0.01 + 3 / 4)
    job.begin(3, 1)
    report_step(job, 0, 10)
    assert job.progress().progress == 1


def test_remaining_time() -> None:
    """Without an estimate, the time left follows from the finished share; a queued job has the service's."""
    job = Job("", 1, (64, 64))
    job.began -= 10
    assert job.progress().eta_relative == pytest.approx(10 * 99, rel=0.1)
    queued = pb.Queued(position=3)
    queued.eta.FromMilliseconds(500_000)
    job.update(pb.StreamImagesResponse(queued=queued))
    assert 400 < job.progress().eta_relative <= 500


def test_current_job_is_the_oldest() -> None:
    """The oldest job of an owner is the current one, until it is interrupted."""
    jobs = Jobs()
    mine, later, other = Job("me", 1, (64, 64)), Job("me", 1, (64, 64)), Job("you", 1, (64, 64))
    with jobs.running(other), jobs.running(mine), jobs.running(later):
        assert jobs.current("me") is mine
        assert jobs.current("") is None
        mine.stop(everything=True)
        assert jobs.current("me") is later
    assert jobs.current("you") is None
