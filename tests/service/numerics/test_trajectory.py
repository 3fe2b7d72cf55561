"""Trajectories along a table, and classifier-free guidance."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.numerics.configs import V_PREDICTION
from tintype.service.numerics import (
    SAMPLERS,
    GuidanceRule,
    KeptNorm,
    TorchNoise,
    Trajectory,
    guide,
    make_table,
)
from tintype.service.numerics.trajectory import Latents

if TYPE_CHECKING:
    from tintype.service.numerics.table import Floats

SHAPE = (2, 4, 3)


class RecordedNoise:
    """A noise stream that returns recorded arrays."""

    def __init__(self, numbers: list[Latents]) -> None:
        self._numbers = iter(numbers)

    def normal(self, shape: tuple[int, ...]) -> Latents:
        numbers = next(self._numbers)
        assert numbers.shape == shape
        return numbers


def network(x: Latents, timestep: float) -> Latents:
    return np.asarray(np.tanh(x[::-1] + timestep / 1000) * 0.7 + x * 0.3, np.float32)


def follow(trajectory: Trajectory) -> Latents:
    while not trajectory.done:
        trajectory.advance(network(*trajectory.model_input()))
    return trajectory.x


def numbers(seed: int, n: int) -> list[Latents]:
    return list(np.random.default_rng(seed).standard_normal((n, *SHAPE)).astype(np.float32))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_trajectory_computes_the_recurrence_of_its_table(sampler: str) -> None:
    """For every sampler a trajectory computes the recurrence of `table`, in float32 and in place."""
    table = make_table(V_PREDICTION, 7, sampler=sampler)
    draws = numbers(0, len(table) + 1)
    end = follow(Trajectory.from_noise(table, SHAPE, RecordedNoise(draws)))
    x, fresh = draws[0].astype(np.float64) * table.init, iter(draws[1:])
    history: list[Floats] = []
    for i in range(len(table)):
        out = network(x.astype(np.float32), table.timesteps[i])
        history.insert(0, table.p[i] * x + table.q[i] * out)
        x = table.a[i] * x + sum(w * d for w, d in zip(table.b[i], history, strict=False))
        x += table.d[i] * next(fresh) if table.d[i] else 0
    scale = np.abs(table.a).max() + np.abs(table.b).max()
    np.testing.assert_allclose(end, x, atol=1e-6 * scale)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_denoised_is_the_estimate_of_the_last_call(sampler: str) -> None:
    """`denoised` is the x0 of the last output for any kind of history; before the first call it is x."""
    table = make_table(V_PREDICTION, 5, sampler=sampler)
    row = Trajectory.from_noise(table, SHAPE, TorchNoise(1))
    assert row.denoised is row.x
    while not row.done:
        i, x = row.i, row.x.copy()
        out = network(*row.model_input())
        row.advance(out)
        expected = table.alphas[i] * x - table.sigmas[i] * out  # v
        np.testing.assert_allclose(row.denoised, expected, atol=2e-5)


def test_rows_are_independent() -> None:
    """Rows with different samplers, steps and seeds, advanced in turn, end bit for bit as each does alone."""
    tables = [make_table(V_PREDICTION, n, sampler=s) for n, s in ((4, "ddim"), (9, "dpmpp_3m"), (6, "euler_ancestral"))]
    alone = [follow(Trajectory.from_noise(t, SHAPE, TorchNoise(k))) for k, t in enumerate(tables)]
    rows = [Trajectory.from_noise(t, SHAPE, TorchNoise(k)) for k, t in enumerate(tables)]
    while unfinished := [row for row in rows if not row.done]:
        for row in unfinished:
            row.advance(network(*row.model_input()))
    for row, end in zip(rows, alone, strict=True):
        np.testing.assert_array_equal(row.x, end)


def test_inputs_are_not_modified() -> None:
    """A trajectory does not write to its initial latents or to outputs, and keeps float32."""
    table = make_table(V_PREDICTION, 3, sampler="unipc")
    start, out = numbers(3, 2)
    start.setflags(write=False)
    out.setflags(write=False)
    row = Trajectory(table, start, TorchNoise(0))
    while not row.done:
        row.advance(out)
    assert row.x.dtype == row.denoised.dtype == np.float32


UNCOND, COND = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6)).astype(np.float32)


def test_each_row_has_its_scale() -> None:
    """Each row of a batch is guided as it would be alone; scale 1 is the prompt's output, 0 the negative prompt's."""
    guided = guide(UNCOND, COND, [0.0, 1.0, 7.5])
    np.testing.assert_allclose(guided[0], UNCOND[0])
    np.testing.assert_allclose(guided[1], COND[1], atol=1e-6)
    np.testing.assert_allclose(guided[2], UNCOND[2] + 7.5 * (COND[2] - UNCOND[2]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(guided[2], guide(UNCOND[2:], COND[2:], 7.5)[0])
    assert guided.dtype == np.float32


def test_rescale_restores_the_deviation() -> None:
    """Rescale 1 gives each row the deviation of the prompt's output, 0 changes nothing; values between interpolate."""
    plain = guide(UNCOND, COND, 9.0)
    guided = guide(UNCOND, COND, 9.0, [0.0, 0.7, 1.0])
    np.testing.assert_array_equal(guided[0], plain[0])
    assert guided[2].std() == pytest.approx(COND[2].std(), rel=1e-5)
    assert guided[1].std() == pytest.approx(0.7 * COND[1].std() + 0.3 * plain[1].std(), rel=1e-5)
    assert guided.dtype == np.float32


def test_rescale_of_zeros_is_finite() -> None:
    """An output of zeros stays zero."""
    flat = np.zeros((1, 4, 2, 2), np.float32)
    assert not guide(flat, flat, 5.0, 0.7).any()


def test_guidance_may_only_shorten_tokens() -> None:
    """LongCat-Image: a token that guidance makes longer gets the conditional one's length; a shorter one keeps its."""
    cond = np.zeros((1, 1, 2, 4), np.float32)
    cond[..., 0], cond[..., 2] = 1.0, 2.0
    kept, shrinks = GuidanceRule(norm=KeptNorm.BLOCK), GuidanceRule(norm=KeptNorm.BLOCK, shrinks=True)
    uncond = cond * np.array([0, 0, 1.25, 0], np.float32)
    plain = guide(uncond, cond, 3.0)
    np.testing.assert_allclose(plain[0, 0, 0], [3, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(guide(uncond, cond, 3.0, rule=kept)[0, 0, 0], [1, 0, 2, 0], atol=1e-6)
    np.testing.assert_allclose(guide(uncond, cond, 3.0, rule=shrinks)[0, 0, 0], [1, 0, 1, 0], atol=1e-6)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_rescale_equals_diffusers() -> None:
    """Rescaling equals diffusers' `rescale_noise_cfg`."""
    torch = pytest.importorskip("torch")
    pipeline = pytest.importorskip("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
    plain = torch.from_numpy(guide(UNCOND, COND, 7.5))
    theirs = pipeline.rescale_noise_cfg(plain, torch.from_numpy(COND), guidance_rescale=0.7).numpy()
    np.testing.assert_allclose(guide(UNCOND, COND, 7.5, 0.7), theirs, rtol=1e-5, atol=1e-6)
