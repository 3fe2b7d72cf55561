"""Conversion of a request of `tintype.v1` into a Job, with the contract's defaults.

All faults of a request are reported together. Fields are named as in GenerateImagesRequest, for both calls: `steps`,
`output.quality`, `loras[1].weight`, `previews.count`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from tintype.v1.limits import MAX_EMBEDDINGS, MAX_LORAS, MAX_NAME, MAX_REFERENCES

from ..errors import InvalidField, InvalidRequest, Violation
from ..images.encode import Output
from ..job import Job, Lora, Previews

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.v1 import image_service_pb2 as pb

T = TypeVar("T")

MAX_EMBEDDING_NAME = 255  # characters, as of file names
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
    caller: str = "",
    deadline: float | None = None,
) -> Job:
    """Return the job of `request`.

    `caller` applies if the request names none. `deadline` is the call's, a time of `time.monotonic` in seconds; the
    request's `timeout` counts if it ends earlier. Raises InvalidRequest with all wrong fields.
    """
    faults: list[Violation] = []
    job = _build(
        Job,
        {
            **_fields(request),
            "output": _output(request.output, faults),
            "previews": _previews(previews, faults),
            "loras": _loras(request, faults),
            "embeddings": _embeddings(request, faults),
            "references": _references(request, faults),
            "caller": _caller(request, faults) or caller,
            "deadline": _deadline(request, deadline, faults),
        },
        faults,
    )
    if faults:
        raise InvalidRequest(faults)
    return job


def _fields(message: Any) -> dict[str, Any]:
    zero = {name: getattr(message, name) for name in DEFAULT_WHEN_ZERO if getattr(message, name)}
    plain = {name: getattr(message, name) for name in UNCHANGED}
    optional = {name: _decimal(getattr(message, name)) for name in OPTIONAL if message.HasField(name)}
    return {**plain, **zero, **optional}


def _output(message: pb.OutputFormat, faults: list[Violation]) -> Output:
    values: dict[str, Any] = {"metadata": not message.omit_metadata, "alpha": message.alpha}
    if message.mime_type:
        values["mime_type"] = message.mime_type
    if message.HasField("quality"):
        values["quality"] = message.quality
    return _build(Output, values, faults, "output.")


def _previews(message: pb.Previews | None, faults: list[Violation]) -> Previews:
    names = ("count", "every", "mime_type")
    values = {name: getattr(message, name) for name in names if message and getattr(message, name)}
    return _build(Previews, values, faults, "previews.")


def _loras(request: pb.GenerateImagesRequest, faults: list[Violation]) -> tuple[Lora, ...]:
    if len(request.loras) > MAX_LORAS:
        faults.append(Violation("loras", f"takes at most {MAX_LORAS}, not {len(request.loras)}"))
    return tuple(_lora(f"loras[{i}].", lora, faults) for i, lora in enumerate(request.loras[:MAX_LORAS]))


def _lora(prefix: str, message: pb.Lora, faults: list[Violation]) -> Lora:
    if not message.name:
        faults.append(Violation(f"{prefix}name", "must not be empty"))
    if len(message.name) > MAX_NAME:
        faults.append(Violation(f"{prefix}name", f"must be at most {MAX_NAME} characters, not {len(message.name)}"))
    weight = {"weight": _decimal(message.weight)} if message.HasField("weight") else {}
    lora_faults: list[Violation] = []
    lora = _build(Lora, {"name": message.name, **weight}, lora_faults, "loras.")
    faults += [Violation(prefix + fault.field.removeprefix("loras."), fault.problem) for fault in lora_faults]
    return lora


def _embeddings(request: pb.GenerateImagesRequest, faults: list[Violation]) -> tuple[str, ...]:
    if len(request.embeddings) > MAX_EMBEDDINGS:
        faults.append(Violation("embeddings", f"takes at most {MAX_EMBEDDINGS}, not {len(request.embeddings)}"))
    for i, name in enumerate(request.embeddings[:MAX_EMBEDDINGS]):
        if not 1 <= len(name) <= MAX_EMBEDDING_NAME:
            problem = f"must be 1 to {MAX_EMBEDDING_NAME} characters, not {len(name)}"
            faults.append(Violation(f"embeddings[{i}]", problem))
    return tuple(dict.fromkeys(request.embeddings[:MAX_EMBEDDINGS]))


def _references(request: pb.GenerateImagesRequest, faults: list[Violation]) -> tuple[bytes, ...]:
    if len(request.references) > MAX_REFERENCES:
        faults.append(Violation("references", f"takes at most {MAX_REFERENCES}, not {len(request.references)}"))
    for i, data in enumerate(request.references[:MAX_REFERENCES]):
        if not data:
            faults.append(Violation(f"references[{i}]", "must not be empty"))
    return tuple(request.references[:MAX_REFERENCES])


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


def _build(make: Callable[..., T], values: dict[str, Any], faults: list[Violation], prefix: str = "") -> T:
    """Return `make(**values)`, with defaults for wrong fields, so that all of them are added to `faults`."""
    while True:
        try:
            return make(**values)
        except InvalidField as error:
            faults += error.violations
            name = error.field.removeprefix(prefix)
            values = {key: value for key, value in values.items() if key != name} if name in values else {}
            if name == "prompt":
                values["prompt"] = "-"  # the only field without a default


def _decimal(value: float) -> float:
    """Return the number as typed: 0.7 arrives as the float32 0.69999999, and int(10 * 0.69999999) would be 6."""
    return value if isinstance(value, int) else float(f"{value:.7g}")
