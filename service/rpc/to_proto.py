"""Conversion of events and models into messages of `tintype.v1`: pure functions, one per message."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tintype.v1 import image_service_pb2 as pb

from ..engine import events
from ..models import ModelState
from ..models.spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE
from ..numerics import SCHEDULES, fixed_samplers, samplers_for

if TYPE_CHECKING:
    from ..images.encode import EncodedImage
    from ..models import ModelSpec, ModelStatus, Repository

STATES = {
    ModelState.UNLOADED: pb.MODEL_STATE_UNLOADED,
    ModelState.WAITING: pb.MODEL_STATE_LOADING,
    ModelState.LOADING: pb.MODEL_STATE_LOADING,
    ModelState.CANCELLED: pb.MODEL_STATE_LOADING,
    ModelState.RESIDENT: pb.MODEL_STATE_LOADED,
    ModelState.UNLOADING: pb.MODEL_STATE_LOADED,
    ModelState.FAILED: pb.MODEL_STATE_FAILED,
}


def duration(seconds: float | None) -> Duration | None:
    """Return `seconds` as a message; None stays None, and negative values become 0."""
    if seconds is None:
        return None
    message = Duration()
    message.FromMicroseconds(max(0, round(seconds * 1e6)))
    return message


def response(event: events.Event, image: EncodedImage | None, total: float) -> pb.StreamImagesResponse:
    """Return the response for `event`, `total` seconds after the request arrived.

    `image` is the encoded image of a preview or a finished image. Raises the error of a failed job.
    """
    match event:
        case events.Queued():
            return pb.StreamImagesResponse(queued=pb.Queued(position=event.position, eta=duration(event.eta)))
        case events.Loading():
            return pb.StreamImagesResponse(loading=pb.Loading(model=event.model, fraction=event.fraction))
        case events.Progress():
            return pb.StreamImagesResponse(progress=_progress(event))
        case events.Preview():
            return pb.StreamImagesResponse(preview=_preview(event, _required(image)))
        case events.Finished():
            return pb.StreamImagesResponse(image=_image(event, _required(image), total))
        case events.Completed():
            return pb.StreamImagesResponse(completed=_completed(event, total))
        case events.Failed():
            raise event.error


def _progress(event: events.Progress) -> pb.Progress:
    return pb.Progress(index=event.index, step=event.step, steps=event.steps, eta=duration(event.eta))


def _preview(event: events.Preview, image: EncodedImage) -> pb.Preview:
    return pb.Preview(index=event.index, step=event.step, preview_index=event.number, **_file(image))


def _image(event: events.Finished, image: EncodedImage, total: float) -> pb.Image:
    _, native_height, native_width = event.pixels.shape
    return pb.Image(
        index=event.index,
        seed=event.seed,
        native_width=native_width,
        native_height=native_height,
        revised_prompt=event.revised_prompt,
        timings=timings(event.timings, total),
        **_file(image),
    )


def _completed(event: events.Completed, total: float) -> pb.Completed:
    usage = pb.Usage(images=event.images, steps=event.steps, prompt_tokens=event.prompt_tokens)
    return pb.Completed(model=event.model, usage=usage, timings=timings(event.timings, total))


def _file(image: EncodedImage) -> dict[str, Any]:
    return {name: getattr(image, name) for name in ("data", "mime_type", "width", "height")}


def _required(image: EncodedImage | None) -> EncodedImage:
    assert image is not None, "an event with pixels comes with its encoded image"  # noqa: S101
    return image


def timings(measured: events.Timings, total: float) -> pb.Timings:
    """Return the times of the parts of a request; `total` is seconds."""
    parts = {part.name: duration(getattr(measured, part.name)) for part in fields(measured)}
    return pb.Timings(**parts, total=duration(total))


def model(repository: Repository, spec: ModelSpec) -> pb.Model:
    """Return the description of a model, with its capabilities and its state in memory."""
    return pb.Model(
        name=spec.name,
        is_default=spec.name == repository.default,
        family=spec.family,
        precision=spec.precision,
        weights_bytes=spec.weights_bytes,
        created=_timestamp(spec),
        license=spec.license,
        description=spec.description,
        native_sizes=[pb.Size(width=width, height=height) for width, height in spec.native_sizes],
        size_multiple=spec.size_multiple,
        guidance=spec.guidance,
        defaults=_defaults(spec),
        samplers=samplers_for(spec.diffusion),
        schedules=_schedules(spec),
        fixed_samplers=fixed_samplers(spec.diffusion),
        loras=spec.loras,
        embeddings=spec.embeddings,
        max_references=spec.max_references,
        requires_references=bool(spec.references and spec.references.required),
        controls=spec.controls,
        control_modes=spec.control_modes,
        image_adapters=spec.image_adapters,
        clip_layer=spec.clip_layer,
        qualities=sorted(spec.qualities),
        styles=sorted(spec.styles),
        text_to_image=TEXT_TO_IMAGE in spec.capabilities,
        image_to_image=IMAGE_TO_IMAGE in spec.capabilities,
        inpainting=INPAINTING in spec.capabilities,
        **_state(repository.status(spec.name)),
    )


def _state(status: ModelStatus) -> dict[str, Any]:
    return {
        "state": STATES[status.state],
        "load_fraction": status.fraction,
        "error": status.error,
        "provider": status.provider,
        "provider_options": status.options,
        "memory_bytes": status.memory_bytes,
    }


def _defaults(spec: ModelSpec) -> pb.ModelDefaults:
    return pb.ModelDefaults(**{part.name: getattr(spec.defaults, part.name) for part in fields(spec.defaults)})


def _schedules(spec: ModelSpec) -> list[str]:
    """Return the schedules that at least one sampler of the model accepts."""
    takes_schedule = set(samplers_for(spec.diffusion)) - set(fixed_samplers(spec.diffusion))
    return sorted(SCHEDULES) if takes_schedule else []


def _timestamp(spec: ModelSpec) -> Timestamp | None:
    if spec.created is None:
        return None
    message = Timestamp()
    message.FromDatetime(spec.created)
    return message
