"""Conversion of a request of `tintype.v1` into a Job, with the contract's defaults.

All faults of a request are reported together. Fields are named as in GenerateImagesRequest, for both calls: `steps`,
`output.quality`, `loras[1].weight`, `previews.count`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tintype.v1.limits import UPSCALE_FACTORS

from ..errors import InvalidRequest, Violation
from ..images.encode import Output
from ..images.upscale import UpscaleJob
from ..job import Job, Previews
from .repeated_fields import build, controls, decimal, embeddings, image_prompts, loras, references

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

MAX_CALLER = 256  # characters

# Fields by the meaning of zero or an empty text: the default; the value itself; optional, where zero is a value.
DEFAULT_WHEN_ZERO = ("model", "count", "width", "height", "sampler", "schedule", "quality", "style")
UNCHANGED = (
    *("prompt", "negative_prompt", "image", "mask", "priority"),
    *("prompt_weighting", "allow_empty_prompt", "earlier_steps"),
)
OPTIONAL = ("steps", "guidance_scale", "guidance_rescale", "eta", "seed", "strength", "clip_skip")


def job_from_pb(
    request: pb.GenerateImagesRequest,
    previews: pb.Previews | None = None,
    *,
    progress: bool = True,
    caller: str = "",
    deadline: float | None = None,
) -> Job:
    """Return the job of `request`.

    `progress` is whether the client reads progress events. `caller` applies if the request names none. `deadline` is
    the call's, a time of `time.monotonic` in seconds; the request's `timeout` counts if it ends earlier. Raises
    InvalidRequest with all wrong fields.
    """
    faults: list[Violation] = []
    job = build(
        Job,
        {
            **_fields(request),
            "output": _output(request.output, faults),
            "previews": _previews(previews, faults),
            "progress": progress,
            "loras": loras(request, faults),
            "embeddings": embeddings(request, faults),
            "references": references(request, faults),
            "controls": controls(request, faults),
            "image_prompts": image_prompts(request, faults),
            "caller": _caller(request, faults) or caller,
            "deadline": _deadline(request, deadline, faults),
        },
        faults,
    )
    if faults:
        raise InvalidRequest(faults)
    return job


def upscale_job_from_pb(request: pb.UpscaleImageRequest) -> UpscaleJob:
    """Return the job of a request to enlarge an image. Raises InvalidRequest with all wrong fields."""
    faults: list[Violation] = []
    output = _output(request.output, faults)
    try:
        job = UpscaleJob(request.image, request.factor or UPSCALE_FACTORS[0], output)
    except InvalidRequest as error:
        raise InvalidRequest([*error.violations, *faults]) from error
    if faults:
        raise InvalidRequest(faults)
    return job


def _fields(message: Any) -> dict[str, Any]:
    zero = {name: getattr(message, name) for name in DEFAULT_WHEN_ZERO if getattr(message, name)}
    plain = {name: getattr(message, name) for name in UNCHANGED}
    optional = {name: decimal(getattr(message, name)) for name in OPTIONAL if message.HasField(name)}
    return {**plain, **zero, **optional}


def _output(message: pb.OutputFormat, faults: list[Violation]) -> Output:
    values: dict[str, Any] = {"metadata": not message.omit_metadata, "alpha": message.alpha}
    if message.mime_type:
        values["mime_type"] = message.mime_type
    if message.HasField("quality"):
        values["quality"] = message.quality
    return build(Output, values, faults, "output.")


def _previews(message: pb.Previews | None, faults: list[Violation]) -> Previews:
    names = ("count", "every", "mime_type")
    values = {name: getattr(message, name) for name in names if message and getattr(message, name)}
    return build(Previews, values, faults, "previews.")


def _caller(request: pb.GenerateImagesRequest, faults: list[Violation]) -> str:
    if len(request.caller) > MAX_CALLER:
        faults.append(Violation("caller", f"must be at most {MAX_CALLER} characters, not {len(request.caller)}"))
    return request.caller


def _deadline(request: pb.GenerateImagesRequest, deadline: float | None, faults: list[Violation]) -> float | None:
    if not request.HasField("timeout"):
        return deadline
    timeout = request.timeout.seconds + request.timeout.nanos / 1e9
    if timeout <= 0:
        faults.append(Violation("timeout", f"must be above 0 seconds, not {timeout:g}"))
    own = time.monotonic() + timeout
    return own if deadline is None else min(own, deadline)
