"""OpenAI's Models API: the service's models as OpenAI's SDKs read them, with the parameters that user interfaces need.

`type`, `state`, `parameters` and `capabilities` are not OpenAI's. LobeChat recognizes image models by `type`, and
builds its controls from the parameters (its `ModelParamsMetaSchema`). Their names are keys of a request for images;
`imageUrls`, LobeChat's name, stands for `image`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_SIDE, MAX_STEPS, MIN_SIDE, MIN_STEPS, RANGES

from ..sdapi.samplers import label as sampler_label
from ..sdapi.samplers import schedule_label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OWNER = "tintype"
SIDES = (MIN_SIDE, MAX_SIDE)  # pixels
STEPS = (MIN_STEPS, MAX_STEPS)
EFFORTS = ("low", "medium", "standard", "high", "hd", "xhigh", "max")
STATES: Mapping[int, Literal["unloaded", "loading", "loaded", "failed"]] = {
    pb.MODEL_STATE_UNLOADED: "unloaded",
    pb.MODEL_STATE_LOADING: "loading",
    pb.MODEL_STATE_LOADED: "loaded",
    pb.MODEL_STATE_FAILED: "failed",
}
FIXED_SCHEDULE = "normal"  # the only schedule of the contract's fixed_samplers
SEEDS = (0, 2**53 - 1)  # integers that JavaScript represents exactly; the service accepts up to 2**63 - 1

_MINIMUM = Meta(description="Smallest value")
_MAXIMUM = Meta(description="Largest value")
_STEP = Meta(description="Distance between two values")
_DEFAULT = Meta(description="Value if none is chosen")


class TextParameter(msgspec.Struct):
    """A text and its default."""

    default: Annotated[str, _DEFAULT]


class IntegerParameter(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An integer; without a default it is random."""

    default: Annotated[int | UnsetType, _DEFAULT] = UNSET
    min: Annotated[int, _MINIMUM]
    max: Annotated[int, _MAXIMUM]
    step: Annotated[int, _STEP] = 1


class NumberParameter(msgspec.Struct, kw_only=True):
    """A number."""

    default: Annotated[float, _DEFAULT]
    min: Annotated[float, _MINIMUM]
    max: Annotated[float, _MAXIMUM]
    step: Annotated[float, _STEP]


class ChoiceParameter(msgspec.Struct, omit_defaults=True):
    """One of several names; empty if none is chosen."""

    default: Annotated[str, _DEFAULT]
    enum: Annotated[list[str], Meta(description="Names to choose from")]
    labels: Annotated[
        dict[str, str] | UnsetType, Meta(description="What user interfaces call each of them, such as Euler a")
    ] = UNSET


class SamplerParameter(ChoiceParameter, omit_defaults=True):
    """One of several samplers."""

    schedules: Annotated[
        dict[str, list[str]] | UnsetType,
        Meta(description="For each sampler that does not take all schedules, those that it takes"),
    ] = UNSET


class ImagesParameter(msgspec.Struct, kw_only=True):
    """A list of images to edit or to start from."""

    default: Annotated[list[str], _DEFAULT] = msgspec.field(default_factory=list)
    maxCount: Annotated[int, Meta(description="Largest number of images")]  # noqa: N815 - LobeChat's name


def _field_text(name: str) -> Meta:
    return Meta(description=f"The field {name} of a request")


class ModelParameters(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Parameters of a request, their defaults and limits. Sides are in pixels."""

    prompt: Annotated[TextParameter, _field_text("prompt")]
    width: Annotated[IntegerParameter | UnsetType, _field_text("width")] = UNSET
    height: Annotated[IntegerParameter | UnsetType, _field_text("height")] = UNSET
    steps: Annotated[IntegerParameter | UnsetType, _field_text("steps")] = UNSET
    cfg: Annotated[NumberParameter | UnsetType, _field_text("guidance_scale")] = UNSET
    seed: Annotated[IntegerParameter, _field_text("seed")]
    quality: Annotated[ChoiceParameter | UnsetType, _field_text("quality")] = UNSET
    style: Annotated[ChoiceParameter | UnsetType, _field_text("style")] = UNSET
    sampler: Annotated[SamplerParameter | UnsetType, _field_text("sampler")] = UNSET
    schedule: Annotated[ChoiceParameter | UnsetType, _field_text("schedule")] = UNSET
    imageUrls: Annotated[ImagesParameter | UnsetType, _field_text("image")] = UNSET  # noqa: N815


class ModelCapabilities(msgspec.Struct, kw_only=True):
    """What a model can do, and the names of what it has."""

    text_to_image: Annotated[bool, Meta(description="Whether it makes images from text alone")]
    image_to_image: Annotated[bool, Meta(description="Whether it starts from an image, with strength")]
    inpainting: Annotated[bool, Meta(description="Whether it takes a mask")]
    max_references: Annotated[int, Meta(description="Largest number of images to edit or to refer to; 0 if none")]
    requires_references: Annotated[bool, Meta(description="Whether it only edits, so that a request needs an image")]
    clip_layer: Annotated[
        int, Meta(description="Layer of CLIP that it reads, from the end; 0 if clip_skip has no effect")
    ]
    guidance: Annotated[
        str | UnsetType,
        Meta(
            description="What guidance_scale does: classifier_free, embedded (a negative prompt has no effect) or none"
        ),
    ] = UNSET
    controls: Annotated[list[str], Meta(description="Names of its ControlNets")]
    control_modes: Annotated[
        dict[str, int], Meta(description="Number of kinds of each ControlNet that has several: mode is below it")
    ]
    image_adapters: Annotated[list[str], Meta(description="Names of its IP-Adapters, for image_prompts")]
    loras: Annotated[list[str], Meta(description="Names of its adapters")]
    embeddings: Annotated[list[str], Meta(description="Names of its embeddings")]


class ModelObject(msgspec.Struct, kw_only=True):
    """One model; `created` is in Unix seconds."""

    id: Annotated[str, Meta(description="Name of the model")]
    created: Annotated[int, Meta(description="When the model was made, in Unix seconds")]
    owned_by: Annotated[str, Meta(description="Server of the model")]
    object: Annotated[Literal["model"], Meta(description="Kind of object")] = "model"
    type: Annotated[Literal["image"], Meta(description="What the model makes")] = "image"
    state: Annotated[
        Literal["unloaded", "loading", "loaded", "failed"] | UnsetType,
        Meta(description="Whether it is in memory; the first request loads it"),
    ] = UNSET
    error: Annotated[str | UnsetType, Meta(description="Why it could not be loaded")] = UNSET
    load_fraction: Annotated[float | UnsetType, Meta(description="While it is loading, 0 to 1: what is loaded")] = UNSET
    memory_bytes: Annotated[int | UnsetType, Meta(description="Size of its weights in memory")] = UNSET
    alias_of: Annotated[str | UnsetType, Meta(description="Model that is meant, if id is another name for it")] = UNSET
    provider: Annotated[str | UnsetType, Meta(description="What runs it, such as cuda or cpu; when loaded")] = UNSET
    devices: Annotated[list[str] | UnsetType, Meta(description="Devices or replicas that have it in memory")] = UNSET
    parameters: Annotated[ModelParameters, Meta(description="Parameters with their defaults and limits")]
    capabilities: Annotated[ModelCapabilities | UnsetType, Meta(description="What the model can do")] = UNSET


class ModelName(msgspec.Struct):
    """The body of a request to load or unload a model."""

    model: Annotated[str, Meta(description="Name of the model, as in the list")]


class ModelList(msgspec.Struct, kw_only=True):
    """The models, the default model first."""

    data: Annotated[list[ModelObject], Meta(description="The models, the default model first")]
    object: Annotated[Literal["list"], Meta(description="Kind of object")] = "list"


def render_model(model: pb.Model, name: str = "") -> ModelObject:
    """Return one model, under the `name` that the client used, if any."""
    return ModelObject(
        id=name or model.name,
        created=model.created.seconds,
        owned_by=OWNER,
        state=STATES.get(model.state, UNSET),
        error=model.error or UNSET,
        load_fraction=round(model.load_fraction, 3) if model.state == pb.MODEL_STATE_LOADING else UNSET,
        memory_bytes=model.memory_bytes or UNSET,
        alias_of=model.name if name not in ("", model.name) else UNSET,
        provider=model.provider or UNSET,
        devices=list(model.devices) or UNSET,
        parameters=_parameters(model),
        capabilities=_capabilities(model),
    )


def render_models(models: Sequence[pb.Model], aliases: Mapping[str, str] = MappingProxyType({})) -> ModelList:
    """Return the models in the order of the service, followed by their aliases."""
    by_name = {model.name: model for model in models}
    others = [render_model(by_name[target], alias) for alias, target in aliases.items()]
    return ModelList(data=[*map(render_model, models), *others])


def _parameters(model: pb.Model) -> ModelParameters:
    """Return the parameters of a model; those that the service does not report are left out."""
    defaults = model.defaults
    guidance = round(defaults.guidance_scale, 3)  # the contract has single precision
    low, high = RANGES["guidance_scale"]
    return ModelParameters(
        prompt=TextParameter(""),
        width=_integer_parameter(defaults.width, SIDES, model.size_multiple or 1),
        height=_integer_parameter(defaults.height, SIDES, model.size_multiple or 1),
        steps=_integer_parameter(defaults.steps, STEPS, 1),
        cfg=NumberParameter(default=guidance, min=low, max=high, step=0.5) if defaults.steps else UNSET,
        seed=IntegerParameter(min=SEEDS[0], max=SEEDS[1]),
        quality=ChoiceParameter("auto", ["auto", *sorted(model.qualities, key=_effort_rank)])
        if model.qualities
        else UNSET,
        style=ChoiceParameter("", ["", *model.styles]) if model.styles else UNSET,
        sampler=_sampler_parameter(model),
        schedule=_choice_parameter(defaults.schedule, model.schedules, schedule_label),
        imageUrls=_images_parameter(model),
    )


def _capabilities(model: pb.Model) -> ModelCapabilities | UnsetType:
    """Return what a model can do; unset if the service reports nothing."""
    lists = {name: list(getattr(model, name)) for name in ("controls", "image_adapters", "loras", "embeddings")}
    facts = ("text_to_image", "image_to_image", "inpainting", "max_references", "requires_references", "clip_layer")
    known = {**{name: getattr(model, name) for name in facts}, **lists, "control_modes": dict(model.control_modes)}
    return ModelCapabilities(**known, guidance=model.guidance or UNSET) if any(known.values()) else UNSET


def _images_parameter(model: pb.Model) -> ImagesParameter | UnsetType:
    count = model.max_references or int(model.image_to_image)
    return ImagesParameter(maxCount=count) if count else UNSET


def _sampler_parameter(model: pb.Model) -> SamplerParameter | UnsetType:
    labels = {name: sampler_label(name) for name in model.samplers}
    schedules = {name: [FIXED_SCHEDULE] for name in model.fixed_samplers} if model.schedules else {}
    return SamplerParameter(model.defaults.sampler, list(labels), labels, schedules or UNSET) if labels else UNSET


def _choice_parameter(default: str, names: Sequence[str], label: Callable[[str], str]) -> ChoiceParameter | UnsetType:
    return ChoiceParameter(default, list(names), {name: label(name) for name in names}) if names else UNSET


def _effort_rank(quality: str) -> int:
    """Return the rank of a quality in OpenAI's order; a model's own names come last, in their order."""
    return EFFORTS.index(quality) if quality in EFFORTS else len(EFFORTS)


def _integer_parameter(default: int, limits: tuple[int, int], step: int) -> IntegerParameter | UnsetType:
    return IntegerParameter(default=default, min=limits[0], max=limits[1], step=step) if default else UNSET
