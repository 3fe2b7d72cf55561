"""The residuals of ControlNets for the rows of a call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from tintype.service.errors import InvalidField, ModelBroken
from tintype.service.models.control import files
from tintype.service.models.control.controlnets import ControlNets
from tintype.service.models.control.files import KINDS, ControlFile
from tintype.service.models.family import DenoiserSpec
from tintype.service.models.files import ModelFileError
from tintype.service.models.folder.configs import PipelineConfig
from tintype.service.models.model import Conditioning, ControlInput
from tintype.service.models.pipeline.graph_inputs import DenoiserCall

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

READ = {"sample": (4, None), "timestep": (1, None), "encoder_hidden_states": (3, 768)}
HINT = np.ones((3, 16, 16), np.float32)


class Net:
    """A ControlNet whose only residual is the sum of its hint, times its weight, plus the first latent."""

    inputs: ClassVar[dict[str, Any]] = {
        "sample": (np.float32, 4),
        "controlnet_cond": (np.float32, 4),
        "conditioning_scale": (np.float32, 1),
    }
    widths: ClassVar[dict[str, int]] = {}
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
    manifest: Any = SimpleNamespace(folder=tmp_path, options=None, spec=SimpleNamespace(name="sd"))

    def open_net(name: Any) -> Any:
        return opened.setdefault(name, Net())

    return ControlNets(manifest, ["lora.a.A", "control.0"], READ, open_net, vae=None), opened  # type: ignore[arg-type]


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
    manifest: Any = SimpleNamespace(folder=tmp_path, options=None, spec=SimpleNamespace(name="sd"))
    own = ControlNets(manifest, ["lora.a.A"], READ, lambda _: pytest.fail("opened"), vae=None)  # type: ignore[arg-type]
    with pytest.raises(InvalidField, match="'canny' cannot be used: the denoiser's graph has no inputs for it; unload"):
        own.encode_hint("canny", HINT, np.zeros)


@pytest.mark.parametrize(
    ("inputs", "widths", "problem"),
    [
        ({"hidden_states": 3}, {}, "it reads hidden_states, which this model does not"),
        ({"encoder_hidden_states": 3}, {"encoder_hidden_states": 2048}, "of width 2048; this model reads 768"),
        ({"sample": 3}, {}, "it reads sample of 3 axes; this model reads 4"),
    ],
)
def test_a_controlnet_of_another_model_is_refused_when_it_is_opened(
    nets: tuple[ControlNets, dict[str, Net]], inputs: dict[str, int], widths: dict[str, int], problem: str
) -> None:
    """Before it is called; the message names it, the input, and what both read."""
    own, opened = nets
    net: Any = opened.setdefault("canny", Net())
    net.inputs, net.widths = Net.inputs | {name: (np.float32, rank) for name, rank in inputs.items()}, widths
    with pytest.raises(InvalidField, match=f"'canny' cannot be used: it was made for another model: .*{problem}"):
        own.encode_hint("canny", HINT, np.zeros)
    assert net.calls == []


def test_further_channels_and_another_timestep_are_no_difference(nets: tuple[ControlNets, dict[str, Net]]) -> None:
    """An inpainting model has more latents, and a graph may take one timestep for all rows, or no guidance."""
    own, opened = nets
    net: Any = opened.setdefault("canny", Net())
    net.inputs = Net.inputs | {"timestep": (np.float32, 0), "guidance": (np.float32, 1)}
    net.widths = {"sample": 64}
    own._read = READ | {"sample": (4, 32)}
    assert own.encode_hint("canny", HINT, np.zeros) is HINT


def test_a_damaged_file_is_the_fault_of_the_model(
    nets: tuple[ControlNets, dict[str, Net]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the ControlNet and the file."""

    def fail(*_: object) -> None:
        raise ModelFileError("canny/model.safetensors ends too early")

    monkeypatch.setattr(ControlFile, "source", fail)
    with pytest.raises(ModelBroken, match=r"model 'sd' can't be served: ControlNet 'canny': canny/model\.safetens"):
        nets[0].encode_hint("canny", HINT, np.zeros)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 1, [1, 1, 1, 1]), (0.25, 1, [0, 1, 1, 1]), (0, 0.5, [1, 1, 0, 0]), (0.3, 0.6, [0, 0, 0, 0])],
)
def test_a_control_applies_to_a_range_of_the_steps(start: float, end: float, expected: list[int]) -> None:
    """As in diffusers: a call counts if it begins and ends within the range."""
    own = ControlInput("canny", HINT, start=start, end=end)
    assert [own.active(step, 4) for step in range(4)] == list(map(bool, expected))
