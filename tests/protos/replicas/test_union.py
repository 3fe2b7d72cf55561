"""The models of several devices as those of one service."""

from __future__ import annotations

import pytest

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.replicas.union import merge, merge_lists

UNLOADED, LOADING = pb.MODEL_STATE_UNLOADED, pb.MODEL_STATE_LOADING
LOADED, FAILED = pb.MODEL_STATE_LOADED, pb.MODEL_STATE_FAILED


@pytest.mark.parametrize(
    ("states", "expected", "devices"),
    [
        ((LOADED, UNLOADED), LOADED, ["0"]),
        ((FAILED, LOADED), LOADED, ["1"]),
        ((LOADED, LOADED), LOADED, ["0", "1"]),
        ((UNLOADED, LOADING), LOADING, []),
        ((FAILED, UNLOADED), UNLOADED, []),
        ((FAILED, FAILED), FAILED, []),
    ],
)
def test_states(states: tuple[pb.ModelState, ...], expected: pb.ModelState, devices: list[str]) -> None:
    """A model is loaded if a device has it, and failed only if all devices failed; its devices are named."""
    models = {str(number): pb.Model(name="m", state=state) for number, state in enumerate(states)}
    merged = merge(models)
    assert (merged.state, list(merged.devices)) == (expected, devices)


def test_the_best_device_describes_it() -> None:
    """Provider and progress are those of the device that is furthest."""
    merged = merge(
        {
            "0": pb.Model(name="m", state=LOADING, load_fraction=0.25),
            "1": pb.Model(name="m", state=LOADING, load_fraction=0.5, provider="cuda"),
        }
    )
    assert (merged.load_fraction, merged.provider) == (0.5, "cuda")


def test_lists() -> None:
    """Each model is listed once, in the order of the first device; those of other devices follow."""
    first = pb.ListModelsResponse(models=[pb.Model(name="b", is_default=True), pb.Model(name="a")])
    second = pb.ListModelsResponse(models=[pb.Model(name="b"), pb.Model(name="c", state=LOADED)])
    merged = merge_lists({"0": first, "1": second}).models
    assert [(model.name, model.is_default, list(model.devices)) for model in merged] == [
        ("b", True, []),
        ("a", False, []),
        ("c", False, ["1"]),
    ]
