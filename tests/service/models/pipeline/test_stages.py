"""Two stages: each is called for its own noise levels, with its own encoding of the prompts."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.graphs import NONE
from tintype.service.errors import ModelBroken
from tintype.service.models import Conditioning, Prompt
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.pipeline.pipeline import load
from tintype.service.models.pipeline.stages import Stage, TwoStages
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class FakeStage:
    """Encoders and a denoiser in one, which return their number and record their calls."""

    provider = "cpu"

    def __init__(self, number: int, *, batched: bool = True) -> None:
        self.number, self.batched_timestep = number, batched
        self.calls: list[tuple[list[float], list[float]]] = []

    def encode(self, prompts: Sequence[Prompt], _chunks: int = 1) -> list[Conditioning]:
        return [Conditioning(np.full((2, self.number), len(prompt.text), np.float32)) for prompt in prompts]

    def __call__(self, latents: np.ndarray, timesteps: np.ndarray, rows: Sequence[Conditioning]) -> np.ndarray:
        assert all(row.prompt_embeds.shape == (2, self.number) for row in rows)
        self.calls.append((timesteps.tolist(), [float(row.prompt_embeds[0, 0]) for row in rows]))
        return latents + np.float32(self.number)


def two(*, batched: bool = True) -> tuple[TwoStages, FakeStage, FakeStage]:
    first, second = FakeStage(10), FakeStage(20, batched=batched)
    parts: list[Any] = [first, second]
    high, low = (Stage(part, part, NONE) for part in parts)
    return TwoStages(high, low, 200), first, second


def test_each_stage_is_called_for_its_own_levels() -> None:
    """Rows of one call may be in both stages; each gets its own result."""
    stages, first, second = two()
    rows = stages.encode([Prompt("a"), Prompt("bb"), Prompt("ccc")])
    out = stages.denoise(np.zeros((3, 1, 1, 1), np.float32), np.array([900, 199.9, 200], np.float32), rows)
    assert out.ravel().tolist() == [10, 20, 10]
    assert first.calls == [([900, 200], [1, 3])]
    ((levels, prompts),) = second.calls
    assert levels == pytest.approx([199.9])
    assert prompts == [2]


def test_a_stage_without_rows_is_not_called() -> None:
    """Most calls have rows of one stage only."""
    stages, first, second = two()
    stages.denoise(np.zeros((1, 1, 1, 1), np.float32), np.array([5], np.float32), stages.encode([Prompt("a")]))
    assert (len(first.calls), len(second.calls)) == (0, 1)


def test_both_stages_limit_the_batch() -> None:
    """Rows share calls if both stages' shapes are equal; timesteps may differ if both graphs allow it."""
    stages, _, _ = two(batched=False)
    assert stages.batched_timestep is False
    (row,) = stages.encode([Prompt("a")])
    assert row.key == ((2, 10), (2, 20))


@pytest.fixture
def pair(folder: Path, edit: Callable[..., None]) -> Path:
    """Return a copy of the built-in model whose last third of the levels is another copy's."""
    other = folder.parent / "other"
    shutil.copytree(folder, other, symlinks=True)
    edit(folder / "tintype.json", lambda content: content.update(refiner={"folder": "../other", "share": 1 / 3}))
    return folder


def test_the_second_stage_is_loaded(pair: Path) -> None:
    """Its folder is relative to the model's; its weights are counted; the model is served like any other."""
    manifest = read_manifest(pair)
    assert manifest.second is not None
    assert (manifest.second.folder.name, manifest.second_below) == ("other", 333)
    assert manifest.spec.weights_bytes == 2 * read_manifest(BUILTIN).spec.weights_bytes
    shares: list[float] = []
    model = load(manifest, Runtime("cpu", 1), shares.append)
    assert (len(shares), shares[-1]) == (5, 1.0)
    (row,) = model.encode([Prompt("a lake")])
    assert row.later is not None
    latents = np.random.default_rng(0).standard_normal((2, *model.spec.latent_shape(256, 256)), np.float32)
    out = model.denoise(latents, np.array([900, 100], np.float32), [row, row])
    plain = load(read_manifest(BUILTIN), Runtime("cpu", 1), lambda _: None)
    alone = plain.denoise(latents, np.array([900, 100], np.float32), plain.encode([Prompt("a lake")]) * 2)
    assert np.allclose(out, alone, atol=2e-5)


@pytest.mark.parametrize(
    ("refiner", "problem"),
    [
        ({"folder": "../nowhere", "share": 0.2}, "refiner: there is no folder or file .*nowhere"),
        ({"folder": "../other"}, "refiner must hold folder, and share between 0 and 1"),
        ({"folder": "../other", "share": 1.5}, "refiner must hold folder, and share between 0 and 1"),
        ({"folder": ".", "share": 0.2}, "refiner: a second stage cannot have one itself"),
    ],
)
def test_a_wrong_second_stage_is_rejected(
    pair: Path, edit: Callable[..., None], refiner: dict[str, Any], problem: str
) -> None:
    """The error is of the model that names the second stage."""
    edit(pair / "tintype.json", lambda content: content.update(refiner=refiner))
    with pytest.raises(ModelBroken, match=problem):
        read_manifest(pair)


def test_the_second_stage_must_have_the_same_latents(pair: Path) -> None:
    """A model of other latents is rejected."""
    other = pair.parent / "other" / "tintype.json"
    content = json.loads(other.read_text())
    other.write_text(json.dumps(content | {"downscale": 8}))
    with pytest.raises(
        ModelBroken, match=r"refiner \.\./other must have latents of 16 channels and 16 pixels, not 16 and 8"
    ):
        read_manifest(pair)
