"""The models of several devices or replicas as those of one service: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

# States of a model on several devices: the first one in this order is that of the whole.
ORDER = (
    pb.MODEL_STATE_LOADED,
    pb.MODEL_STATE_LOADING,
    pb.MODEL_STATE_UNLOADED,
    pb.MODEL_STATE_FAILED,
    pb.MODEL_STATE_UNSPECIFIED,
)


def merge(models: Mapping[str, pb.Model]) -> pb.Model:
    """Return one model as the devices, by name, describe it; `devices` names those that have it in memory."""
    best = min(models.values(), key=lambda model: (ORDER.index(model.state), -model.load_fraction))
    merged = pb.Model()
    merged.CopyFrom(best)
    del merged.devices[:]
    merged.devices.extend(name for name, model in models.items() if model.state == pb.MODEL_STATE_LOADED)
    return merged


def merge_lists(lists: Mapping[str, pb.ListModelsResponse]) -> pb.ListModelsResponse:
    """Return the models of all devices, in the order of the first one."""
    by_name: dict[str, dict[str, pb.Model]] = {}
    for device, response in lists.items():
        for model in response.models:
            by_name.setdefault(model.name, {})[device] = model
    return pb.ListModelsResponse(models=[merge(models) for models in by_name.values()])
