"""OpenAI's Models API: the service's models as its SDKs read them, and what user interfaces need to know of them.

`type` and `parameters` are not OpenAI's: LobeChat takes models from a server as ones that make pictures by them, and
builds its controls from the parameters (its `ModelParamsMetaSchema`). Their names are keys of a request for pictures.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tintype.v1 import image_service_pb2 as pb

OWNER = "tintype"
SIDES = (16, 4096)  # pixels
EFFORTS = ("low", "medium", "standard", "high", "hd", "xhigh", "max")
STEPS = (1, 150)
GUIDANCE = (0, 50)
SEEDS = (0, 2**53 - 1)  # the whole numbers that JavaScript keeps exactly; the service takes up to 2**63 - 1


class Text(msgspec.Struct):
    """A text and what it is at first."""

    default: str


class Whole(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A whole number; without a default it is drawn."""

    default: int | UnsetType = UNSET
    min: int
    max: int
    step: int = 1


class Real(msgspec.Struct, kw_only=True):
    """A number."""

    default: float
    min: float
    max: float
    step: float


class Choice(msgspec.Struct):
    """One of several names; empty where none is chosen."""

    default: str
    enum: list[str]


class Parameters(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What can be chosen, its defaults and limits. Sides are pixels."""

    prompt: Text
    width: Whole | UnsetType = UNSET
    height: Whole | UnsetType = UNSET
    steps: Whole | UnsetType = UNSET
    cfg: Real | UnsetType = UNSET
    seed: Whole
    quality: Choice | UnsetType = UNSET
    style: Choice | UnsetType = UNSET
    sampler: Choice | UnsetType = UNSET
    schedule: Choice | UnsetType = UNSET


class ModelObject(msgspec.Struct, kw_only=True):
    """One model; `created` is in Unix seconds."""

    id: str
    created: int
    owned_by: str
    object: Literal["model"] = "model"
    type: Literal["image"] = "image"
    parameters: Parameters


class ModelList(msgspec.Struct, kw_only=True):
    """The models that there are, the default model first."""

    data: list[ModelObject]
    object: Literal["list"] = "list"


def render_model(model: pb.Model, name: str = "") -> ModelObject:
    """Return one model; `name` is a client's word for it."""
    return ModelObject(
        id=name or model.name, created=model.created.seconds, owned_by=OWNER, parameters=_parameters(model)
    )


def render_models(models: Sequence[pb.Model], aliases: Mapping[str, str] = MappingProxyType({})) -> ModelList:
    """Return the list of models, in the order of the service, and then again under the names that clients have."""
    by_name = {model.name: model for model in models}
    others = [render_model(by_name[meant], name) for name, meant in aliases.items()]
    return ModelList(data=[*map(render_model, models), *others])


def _parameters(model: pb.Model) -> Parameters:
    """Return what can be chosen; what the service does not tell of is left out."""
    defaults = model.defaults
    guidance = round(defaults.guidance_scale, 3)  # the contract has single precision
    return Parameters(
        prompt=Text(""),
        width=_whole(defaults.width, SIDES, model.size_multiple or 1),
        height=_whole(defaults.height, SIDES, model.size_multiple or 1),
        steps=_whole(defaults.steps, STEPS, 1),
        cfg=Real(default=guidance, min=GUIDANCE[0], max=GUIDANCE[1], step=0.5) if defaults.steps else UNSET,
        seed=Whole(min=SEEDS[0], max=SEEDS[1]),
        quality=Choice("auto", ["auto", *sorted(model.qualities, key=_effort)]) if model.qualities else UNSET,
        style=Choice("", ["", *model.styles]) if model.styles else UNSET,
        sampler=Choice(defaults.sampler, list(model.samplers)) if model.samplers else UNSET,
        schedule=Choice(defaults.schedule, list(model.schedules)) if model.schedules else UNSET,
    )


def _effort(quality: str) -> int:
    """Return where a quality stands among those that OpenAI has; a model's own come last, in their order."""
    return EFFORTS.index(quality) if quality in EFFORTS else len(EFFORTS)


def _whole(default: int, limits: tuple[int, int], step: int) -> Whole | UnsetType:
    return Whole(default=default, min=limits[0], max=limits[1], step=step) if default else UNSET
