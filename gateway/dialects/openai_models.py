"""OpenAI's Models API: the service's models as its SDKs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .openai_types import ModelList, ModelObject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tintype.v1 import image_service_pb2 as pb

OWNER = "tintype"


def render_model(model: pb.Model) -> ModelObject:
    """Return one model."""
    return ModelObject(id=model.name, created=model.created.seconds, owned_by=OWNER)


def render_models(models: Iterable[pb.Model]) -> ModelList:
    """Return the list of models, in the order of the service: the default model first."""
    return ModelList(data=[render_model(model) for model in models])
