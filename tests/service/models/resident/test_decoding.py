"""Decoding on a device gives the host's levels, here on the CPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.resident_rows import CPU, SHAPE
from tintype.service.errors import OutOfMemory
from tintype.service.images.pixels import to_levels
from tintype.service.models.resident.decoding import ResidentDecoder
from tintype.service.models.resident.state import LatentState
from tintype.service.models.resident.values import Buffers, Functions, fetch
from tintype.service.numerics import TorchNoise, Trajectory

if TYPE_CHECKING:
    from tintype.service.models.model import Array


class FakeVae:
    """A decoder that returns `result` and records its latents."""

    latents_dtype = "float16"
    factors = ((0.5,), (0.25, -0.25))

    def __init__(self, result: Array) -> None:
        self.result, self.whole = result, True
        self.latents: Any = None

    def decodes_whole(self, _: tuple[int, ...]) -> bool:
        return self.whole

    def decode_on_device(self, latents: Any) -> Any:
        self.latents = fetch(latents)
        if not self.result.size:
            raise OutOfMemory("full")
        return CPU.send(self.result)


def decoded(vae: FakeVae) -> tuple[Any, Array]:
    """Return the levels of a row in the second slot, and its latents."""
    functions = Functions(CPU)
    state, table = LatentState(functions, SHAPE), SimpleNamespace(history=2)
    rows = [Trajectory(table, np.full(SHAPE, n, np.float32), TorchNoise(n)) for n in (1, 2)]  # type: ignore[arg-type]
    joined = [state.join(row, np.zeros(1, np.float32)) for row in rows]
    decoder = ResidentDecoder(vae, functions, Buffers(CPU))  # type: ignore[arg-type]
    return decoder(state, joined[1]), rows[1].x


def result(dtype: str = "float16") -> Array:
    return np.random.default_rng(0).uniform(-1.2, 1.2, (1, 3, 8, 8)).astype(dtype)


def test_levels_equal_those_of_the_host() -> None:
    """Latents get the factors of their channels and the type of the graph; levels are clipped and rounded."""
    vae = FakeVae(result())
    levels, x = decoded(vae)
    expected = x / np.float32(0.5) + np.array([0.25, -0.25], np.float32)[:, None, None]
    assert np.array_equal(vae.latents[0], expected.astype(np.float16))
    host = to_levels(np.clip(vae.result[0].astype(np.float32) * np.float32(0.5) + np.float32(0.5), 0, 1))
    assert levels.dtype == np.uint8
    assert np.array_equal(levels, host)


def test_every_level_is_reached() -> None:
    """The middle of each level, and both ends."""
    values = np.resize(np.arange(256) / 127.5 - 1, 3 * 16 * 16).reshape(1, 3, 16, 16).astype(np.float32)
    levels, _ = decoded(FakeVae(values))
    assert np.array_equal(levels.ravel()[:256], np.arange(256))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_result_that_is_not_finite_has_no_levels(value: float) -> None:
    """The host then decodes it again, in float32 if there is such a decoder."""
    vae = FakeVae(result())
    vae.result[0, 1, 2, 3] = value
    assert decoded(vae)[0] is None


def test_tiles_and_a_lack_of_memory_are_left_to_the_host() -> None:
    """An image in tiles is not decoded on the device at all."""
    full, tiled = FakeVae(np.zeros(0, np.float16)), FakeVae(result())
    tiled.whole = False
    assert decoded(full)[0] is None
    assert decoded(tiled)[0] is None
    assert tiled.latents is None
