"""From a request to a job: defaults, conversions, and all violations at once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tintype.service import job as jobs
from tintype.service.errors import InvalidRequest
from tintype.service.images.encode import Output
from tintype.service.rpc import from_proto
from tintype.service.rpc.from_proto import job_from_pb
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import RANGES


def request(**fields: Any) -> pb.GenerateImagesRequest:
    return pb.GenerateImagesRequest(**{"prompt": "a lake", **fields})


def violations(*args: Any, **kwargs: Any) -> dict[str, str]:
    """Return the problems of an invalid request by field."""
    with pytest.raises(InvalidRequest) as caught:
        job_from_pb(*args, **kwargs)
    return {violation.field: violation.problem for violation in caught.value.violations}


def test_every_field_of_the_contract_is_read() -> None:
    """The conversion reads each field of GenerateImagesRequest."""
    known = {*from_proto.DEFAULT_WHEN_ZERO, *from_proto.UNCHANGED, *from_proto.OPTIONAL}
    apart = {"loras", "embeddings", "references", "controls", "image_prompts", "output", "timeout", "caller"}
    assert known | apart == set(pb.GenerateImagesRequest.DESCRIPTOR.fields_by_name)


def test_defaults() -> None:
    """A request with only a prompt becomes a job with only a prompt."""
    assert job_from_pb(request()) == jobs.Job(prompt="a lake")
    assert job_from_pb(request(), pb.Previews()) == jobs.Job(prompt="a lake")


def test_zero_of_optional_fields_is_a_value() -> None:
    """Optional fields keep a zero; for other fields zero means the default."""
    job = job_from_pb(request(guidance_scale=0, guidance_rescale=0, eta=0, seed=0, count=0, width=0, height=0))
    assert (job.guidance_scale, job.guidance_rescale, job.eta, job.seed) == (0, 0, 0, 0)
    assert (job.count, job.width, job.height) == (1, None, None)
    assert job_from_pb(request(output=pb.OutputFormat(quality=0))).output.quality == 0


def test_all_fields_are_converted() -> None:
    """Each field of the request becomes its field of the job."""
    asked = request(
        model="sd",
        negative_prompt="rain",
        count=3,
        width=640,
        height=480,
        steps=12,
        guidance_scale=6.5,
        guidance_rescale=0.7,
        sampler="euler",
        schedule="karras",
        eta=0.25,
        seed=2**63 - 1,
        image=b"i",
        mask=b"m",
        strength=0.6,
        loras=[pb.Lora(name="a", weight=0.3), pb.Lora(name="b")],
        embeddings=["<cat>", "ink", "<cat>"],
        output=pb.OutputFormat(mime_type="image/webp", quality=80, omit_metadata=True, alpha=True),
        priority=-5,
        caller="me",
        prompt_weighting=True,
        quality="hd",
        style="vivid",
    )
    assert job_from_pb(asked, pb.Previews(every=2, mime_type="image/png"), caller="you", deadline=9.0) == jobs.Job(
        prompt="a lake",
        model="sd",
        negative_prompt="rain",
        count=3,
        width=640,
        height=480,
        steps=12,
        guidance_scale=6.5,
        guidance_rescale=0.7,
        sampler="euler",
        schedule="karras",
        eta=0.25,
        seed=2**63 - 1,
        image=b"i",
        mask=b"m",
        strength=0.6,
        loras=(jobs.Lora("a", 0.3), jobs.Lora("b", 1.0)),
        embeddings=("<cat>", "ink"),
        output=Output("image/webp", 80, metadata=False, alpha=True),
        previews=jobs.Previews(every=2, mime_type="image/png"),
        priority=-5,
        caller="me",
        deadline=9.0,
        prompt_weighting=True,
        quality="hd",
        style="vivid",
    )


@pytest.mark.parametrize("typed", [0.1, 0.7, 0.8, 7.5, 12.34, 1e-3])
def test_floats_keep_their_decimals(typed: float) -> None:
    """A decimal number is the same after it was sent as a 32-bit float."""
    assert job_from_pb(request(guidance_scale=typed)).guidance_scale == typed


def test_all_violations_are_reported() -> None:
    """A request with many invalid fields gets one violation for each, by the contract's name."""
    asked = pb.GenerateImagesRequest(
        prompt="  ",
        negative_prompt="x" * 32_001,
        count=11,
        width=5000,
        height=-1,
        steps=0,
        guidance_scale=float("nan"),
        guidance_rescale=2,
        eta=-1,
        seed=-1,
        mask=b"m",
        strength=0.5,
        loras=[pb.Lora(name="a"), pb.Lora(weight=5)],
        output=pb.OutputFormat(mime_type="image/gif", quality=101),
        priority=101,
        timeout=Duration(seconds=-1),
        caller="x" * 257,
    )
    found = violations(asked, pb.Previews(count=65, mime_type="text/plain"))
    assert found == {
        "prompt": "must not be empty",
        "negative_prompt": "must be at most 32000 characters, not 32001",
        "count": "must be 1 to 10, not 11",
        "width": "must be 16 to 4096, not 5000",
        "height": "must be 16 to 4096, not -1",
        "steps": "must be 1 to 150, not 0",
        "guidance_scale": "must be 0 to 50, not nan",
        "guidance_rescale": "must be 0 to 1, not 2",
        "eta": "must be 0 to 1, not -1",
        "seed": "must be 0 to 9223372036854775807, not -1",
        "mask": "requires image: send the image to start from, or omit mask",
        "strength": "requires image: send the image to start from, or omit strength",
        "loras[1].name": "must not be empty",
        "loras[1].weight": "must be -4 to 4, not 5",
        "output.mime_type": "must be one of image/png, image/jpeg, image/webp, not 'image/gif'",
        "output.quality": "must be 0 to 100, not 101",
        "priority": "must be -100 to 100, not 101",
        "timeout": "must be above 0 seconds, not -1",
        "caller": "must be at most 256 characters, not 257",
        "previews.count": "must be 0 to 64, not 65",
        "previews.mime_type": "must be one of image/png, image/jpeg, image/webp, not 'text/plain'",
    }


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name: str) -> None:
    """A number outside its range is one violation, of this field."""
    low, high = RANGES[name]
    beyond = high * 2 + 1 if high < 2**31 else low - 1
    extra = {"image": b"i"} if name == "strength" else {}
    assert list(violations(request(**{name: type(low)(beyond)}, **extra))) == [name]


def test_previews_take_count_or_every() -> None:
    """`count` and `every` cannot be combined."""
    assert violations(request(), pb.Previews(count=1, every=1)) == {"previews": "takes count or every, not both"}


def test_limits_of_embeddings() -> None:
    """At most eight embeddings, with names of 1 to 255 characters."""
    assert violations(request(embeddings=["a"] * 9)) == {"embeddings": "takes at most 8, not 9"}
    assert violations(request(embeddings=["a", "", "b" * 256])) == {
        "embeddings[1]": "must be 1 to 255 characters, not 0",
        "embeddings[2]": "must be 1 to 255 characters, not 256",
    }


def test_too_many_loras_are_refused() -> None:
    """At most eight adapters."""
    assert violations(request(loras=[pb.Lora(name="a")] * 9)) == {"loras": "takes at most 8, not 9"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"start": 0, "end": 0}, "must be above start, 0; got 0"),
        ({"end": 0}, "must be above start, 0; got 0"),
        ({"start": 1}, "must be above start, 1; got 1"),
        ({"start": 0.5, "end": 0.5}, "must be above start, 0.5; got 0.5"),
    ],
)
def test_the_end_of_a_control_is_above_its_start(given: dict[str, Any], problem: str) -> None:
    """A wrong pair names the end, even if one of both is the default; other faults are reported with it."""
    wrong = pb.Control(name="canny", image=b"a", weight=3, **given)
    found = violations(request(controls=[wrong], steps=900))
    assert found.keys() == {"controls[0].end", "controls[0].weight", "steps"}
    assert found["controls[0].end"] == problem


def test_a_fault_of_an_absent_field_leaves_the_required_ones() -> None:
    """A strength without an image is reported with the faults of all other fields."""
    assert violations(request(prompt="", strength=0.5, steps=900)).keys() == {"prompt", "strength", "steps"}


def test_timeout_counts_from_now() -> None:
    """The timeout becomes a deadline, unless the call's deadline is earlier."""
    asked = request(timeout=Duration(seconds=5, nanos=500_000_000))
    now = time.monotonic()
    assert job_from_pb(asked).deadline == pytest.approx(now + 5.5, abs=0.5)
    assert job_from_pb(asked, deadline=now + 60).deadline == pytest.approx(now + 5.5, abs=0.5)
    assert job_from_pb(asked, deadline=now + 1).deadline == now + 1


def test_caller_of_the_request() -> None:
    """The caller of the request takes precedence over the peer."""
    assert job_from_pb(request(), caller="peer").caller == "peer"
    assert job_from_pb(request(caller="me"), caller="peer").caller == "me"
