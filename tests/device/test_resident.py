"""Latents that stay on the device: the same images as with latents on the host, and the same device.

Both ways call the same denoiser, so that only the update's rounding differs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.models import Prompt, Repository
from tintype.service.models.resident import values
from tintype.service.models.resident.denoising import ResidentDenoiser
from tintype.service.models.resident.interface import ResidentCall
from tintype.service.models.runtime import device_buffers
from tintype.service.models.runtime.plugins import captured
from tintype.service.models.runtime.provider_options import ProviderOptions, capture_options
from tintype.service.numerics import PLAIN, TorchNoise, Trajectory, guide, make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tintype.service.models.pipeline.pipeline import DiffusionModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RELATIVE = 1e-5  # float32 on both sides
SD15 = Path(os.environ.get("TINTYPE_TEST_EXPORTS", "build/device-models")) / "sd15"
HALF = 2e-3  # a denoiser in half precision rounds the latents, and its next call multiplies what differs
SCALE = 3.0


@pytest.fixture(scope="module")
def repository(provider: str) -> Iterator[Repository]:
    with Repository(providers=[provider]) as repository:
        yield repository


def model_of(repository: Repository) -> DiffusionModel:
    model: Any = repository.wait(timeout=600)
    assert isinstance(model.resident, ResidentDenoiser)
    return model


class Rows:
    """Rows of several samplers, with guidance, on the host and on the device of a model."""

    def __init__(self, model: DiffusionModel, samplers: Sequence[str], steps: int = 4, shape: Any = None) -> None:
        self.model, self.resident = model, model.resident
        assert self.resident
        self.conditionings = model.encode([Prompt("a red circle"), Prompt("", negative=True)])
        self.shape = shape or (model.spec.latent_channels, 8, 8)
        tables = [make_table(model.spec.diffusion, steps, sampler=sampler) for sampler in samplers]
        self.host = [Trajectory.from_noise(table, self.shape, TorchNoise(n)) for n, table in enumerate(tables)]
        again = [Trajectory.from_noise(table, self.shape, TorchNoise(n)) for n, table in enumerate(tables)]
        self.device = [self.resident.join(row) for row in again]

    def advance_device(self, places: Sequence[int], width: int = 8) -> None:
        calls = [ResidentCall(self.device[i], tuple(self.conditionings), SCALE) for i in places]
        self.resident.advance(calls, width, PLAIN)  # type: ignore[union-attr] # checked above

    def advance_host(self, places: Sequence[int]) -> None:
        inputs = [self.host[i].model_input() for i in places]
        latents, n = np.stack([x for x, _ in inputs]), len(places)
        timesteps = np.array([timestep for _, timestep in inputs], np.float32)
        conditionings = [self.conditionings[0]] * n + [self.conditionings[1]] * n
        out = self.model.denoise(np.concatenate([latents] * 2), np.concatenate([timesteps] * 2), conditionings)
        for i, own in zip(places, guide(out[n:], out[:n], SCALE), strict=True):
            self.host[i].advance(own)

    def difference(self, place: int) -> float:
        """Return how far both ways are apart, relative to the largest latent."""
        x = self.host[place].x
        return float(np.abs(self.device[place].x - x).max() / np.abs(x).max())


def test_rows_join_and_leave(repository: Repository) -> None:
    """Rows of several samplers, with noise and history; one waits while others go on."""
    rows = Rows(model_of(repository), ("euler", "dpmpp_2m", "euler_ancestral"))
    for places in ((0, 1), (0, 1, 2), (2,), (0, 2), (1, 2)):
        rows.advance_device(places)
        rows.advance_host(places)
    assert [row.i for row in rows.device] == [3, 3, 4]
    assert all(row.finite for row in rows.device)
    assert max(map(rows.difference, range(3))) <= RELATIVE


def test_a_failed_step_leaves_the_latents(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a step of two calls whose second fails, the step is repeated."""
    rows = Rows(model_of(repository), ("euler", "euler_ancestral"))
    denoise, calls = ResidentDenoiser._denoise, []

    def fail(self: ResidentDenoiser, *rest: Any) -> Any:
        calls.append(rest)
        if len(calls) == 2:
            raise RuntimeError("broken")
        return denoise(self, *rest)

    monkeypatch.setattr(ResidentDenoiser, "_denoise", fail)
    with pytest.raises(RuntimeError, match="broken"):
        rows.advance_device((0, 1), width=2)
    for _ in range(2):
        rows.advance_device((0, 1))
        rows.advance_host((0, 1))
    assert max(map(rows.difference, range(2))) <= RELATIVE


def test_a_step_sends_numbers_only(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """No latents go to the device or come back."""
    rows = Rows(model_of(repository), ("euler",))
    for _ in range(2):
        rows.advance_device((0,))
    sent: list[int] = []
    update = values.update

    def count(value: Any, array: Any) -> None:
        sent.append(array.nbytes)
        update(value, array)

    monkeypatch.setattr(values, "update", count)
    monkeypatch.setattr(device_buffers, "_value", None)  # nothing else is sent
    rows.advance_device((0,))
    assert sent == [4 * 12]


def test_captured_calls(provider: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The denoiser's captured calls read the latents of the state, in which both tensors take turns."""
    if not capture_options(provider):
        pytest.skip(f"provider {provider} captures nothing")
    monkeypatch.setattr(captured, "HOT", 2)
    with Repository(providers=[provider], options=ProviderOptions(fixed_shapes=True)) as repository:
        rows = Rows(model_of(repository), ("dpmpp_2m",), steps=8)
        for _ in range(7):
            rows.advance_device((0,))
        graph: Any = rows.model.resident._denoiser._session._session.graph  # type: ignore[union-attr]
        (buffers,) = graph._graph._buffers._latest.values()
        assert buffers._is_captured, caplog.text
        assert buffers.replays, caplog.text
        for _ in range(7):
            rows.advance_host((0,))
    assert rows.difference(0) <= RELATIVE


@pytest.mark.skipif(not SD15.exists(), reason="no export of sd15: make test-device FAMILIES=sd15")
def test_half_precision(provider: str) -> None:
    """A pipeline with a denoiser in float16."""
    with Repository([SD15], providers=[provider]) as repository:
        rows = Rows(model_of(repository), ("euler", "dpmpp_2m"), steps=2)
        for _ in range(2):
            rows.advance_device((0, 1))
            rows.advance_host((0, 1))
        assert max(map(rows.difference, range(2))) <= HALF
