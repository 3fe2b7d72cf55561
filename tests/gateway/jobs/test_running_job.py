"""The progress of a job, and the request that is stored for it."""

from __future__ import annotations

from tintype.gateway.jobs.running_job import Progress, RunningJob, StoredRequest
from tintype.v1 import image_service_pb2 as pb


def event(**fields: object) -> pb.StreamImagesResponse:
    """Return an event of the service."""
    return pb.StreamImagesResponse(**fields)  # type: ignore[arg-type]


def test_progress_counts_steps_and_images() -> None:
    """The share grows with each step of each image, and is 1 when all images are there."""
    progress = Progress(2)
    progress.update(event(queued=pb.Queued(position=3)))
    assert (progress.begun, progress.position, progress.share) == (False, 3, 0)
    progress.update(event(progress=pb.Progress(index=0, step=5, steps=20)))
    assert (progress.begun, progress.position, progress.share) == (True, 0, 0.125)
    progress.update(event(progress=pb.Progress(index=1, step=10, steps=20)))
    progress.update(event(image=pb.Image(index=1)))
    assert progress.share == 0.625
    progress.update(event(image=pb.Image(index=0)))
    assert progress.share == 1


def test_time_left_is_the_latest_estimate() -> None:
    """The estimate of the queue, then that of the steps."""
    progress, queued = Progress(1), event(queued=pb.Queued(position=1))
    assert progress.eta is None
    queued.queued.eta.FromMilliseconds(4500)
    progress.update(queued)
    assert progress.eta == 4.5


def test_a_second_pass_counts_as_images() -> None:
    """Calls of one job start their indexes at 0 again; the share never exceeds 1."""
    progress = Progress(2)
    for _ in range(3):
        progress.update(event(image=pb.Image(index=0)))
    assert progress.share == 1


def test_scope_has_the_job_and_no_credentials() -> None:
    """The internal request is a POST with the stored headers, and its state holds the job."""
    stored = StoredRequest(
        path="/v1/images/edits",
        query="a=b",
        scheme="https",
        root_path="",
        client="192.0.2.7",
        server=None,
        request_id="req_1",
        headers={"host": "images.example", "content-type": "application/json"},
    )
    job = RunningJob("job_1", "alice", "", 7, 1, Progress(1))
    scope = stored.scope(job)
    assert (scope["method"], scope["path"], scope["query_string"]) == ("POST", "/v1/images/edits", b"a=b")
    assert dict(scope["headers"]) == {
        b"host": b"images.example",
        b"content-type": b"application/json",
        b"x-request-id": b"req_1",
    }
    assert scope["client"] == ("192.0.2.7", 0)
    assert scope["state"] == {"job": job}
