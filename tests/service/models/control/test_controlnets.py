"""The residuals of ControlNets for the rows of a call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.errors import InvalidField
from tintype.service.models.control import files
from tintype.service.models.control.controlnets import ControlNets
from tintype.service.models.control.files import KINDS, ControlFile
from tintype.service.models.family import DenoiserSpec
from tintype.service.models.folder.configs import PipelineConfig
from tintype.service.models.model import Conditioning, ControlInput
from tintype.service.models.pipeline.graph_inputs import DenoiserCall

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HINT = np.ones((3, 16, 16), np.float32)


class Net:
    """A ControlNet whose only residual is the sum of its hint, times its weight, plus the first latent."""

    inputs: dict[str, Any] = dict.fromkeys(("sample", "controlnet_cond", "conditioning_scale"))
    outputs = ("control.0",)

    def __init__(self) -> None:
        self.calls: list[int] = []

    def compute(self, outputs: Sequence[str], inputs: dict[str, Any]) -> list[Any]:
        assert tuple(outputs) == self.outputs
        self.calls.append(len(inputs["sample"]))
        totals = inputs["controlnet_cond"].sum(axis=(1, 2, 3)) * inputs["conditioning_scale"]
        return [(totals + inputs["sample"][:, 0, 0, 0]).reshape(-1, 1, 1, 1).astype(np.float32)]


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[ControlNets, dict[str, Net]]:
    """Return the ControlNets of a model, and the graphs that were opened."""
    opened: dict[str, Net] = {}
    monkeypatch.setattr(files, "find", lambda folder, name: ControlFile(folder / name, {}, KINDS["ControlNetModel"]))
    monkeypatch.setattr(ControlFile, "source", lambda own, _: own.folder.name)
    manifest: Any = SimpleNamespace(folder=tmp_path, options=None)

    def open_net(name: Any) -> Any:
        return opened.setdefault(name, Net())

    return ControlNets(manifest, ["lora.a.A", "control.0"], open_net, vae=None), opened  # type: ignore[arg-type]


def call(*rows: tuple[ControlInput, ...]) -> DenoiserCall:
    latents = np.arange(len(rows), dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 4, 2, 2), np.float32)
    embeds = np.zeros((2, 3), np.float32)
    conditionings = [Conditioning(embeds, controls=controls) for controls in rows]
    timesteps = np.zeros(len(rows), np.float32)
    return DenoiserCall(latents, timesteps, conditionings, DenoiserSpec(), PipelineConfig(), 8)


def control(name: str = "canny", weight: float = 1.0) -> ControlInput:
    return ControlInput(name, HINT, weight)


def test_rows_without_a_controlnet_get_zeros(nets: tuple[ControlNets, dict[str, Net]]) -> None:
    """A ControlNet is called for its rows only, and all rows share the denoiser's input."""
    own, opened = nets
    residuals = own.residuals(call((), (control(weight=0.5),), ()))
    assert residuals["control.0"].ravel().tolist() == [0, 768 * 0.5 + 1, 0]
    assert opened["canny"].calls == [1]


def test_several_controlnets_add_up(nets: tuple[ControlNets, dict[str, Net]]) -> None:
    """Two different ones, and the same one twice."""
    own, _ = nets
    residuals = own.residuals(call((control(), control("depth", 0.25), control(weight=2))))
    assert residuals["control.0"].item() == 768 * 3.25


def test_a_call_without_controlnets_has_no_further_inputs(nets: tuple[ControlNets, dict[str, Net]]) -> None:
    """Nothing is computed for rows without any."""
    assert nets[0].residuals(call((), ())) == {}


def test_the_two_used_last_stay_open(nets: tuple[ControlNets, dict[str, Net]]) -> None:
    """A third one closes the one that was used longest ago."""
    own, _ = nets
    for name in ("a", "b", "a", "c"):
        own.encode_hint(name, HINT, np.zeros)
    assert list(own._sessions) == ["a", "c"]


def test_a_graph_without_inputs_for_it_is_an_error_of_the_request(tmp_path: Path) -> None:
    """The message says what helps."""
    manifest: Any = SimpleNamespace(folder=tmp_path, options=None)
    own = ControlNets(manifest, ["lora.a.A"], lambda _: pytest.fail("opened"), vae=None)  # type: ignore[arg-type]
    with pytest.raises(InvalidField, match="'canny' cannot be used: the denoiser's graph has no inputs for it; load"):
        own.encode_hint("canny", HINT, np.zeros)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 1, [1, 1, 1, 1]), (0.25, 1, [0, 1, 1, 1]), (0, 0.5, [1, 1, 0, 0]), (0.3, 0.6, [0, 0, 0, 0])],
)
def test_a_control_applies_to_a_range_of_the_steps(start: float, end: float, expected: list[int]) -> None:
    """As in diffusers: a call counts if it begins and ends within the range."""
    own = ControlInput("canny", HINT, start=start, end=end)
    assert [own.active(step, 4) for step in range(4)] == list(map(bool, expected))
