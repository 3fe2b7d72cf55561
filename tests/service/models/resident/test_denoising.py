"""Steps of rows on a device compute the same bits as `Trajectory` and `guide` on the host, here on the CPU."""

from __future__ import annotations

import gc
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.resident_rows import CPU, SHAPE, Pair, TinyDenoiser, advance
from tintype.service.errors import Cancelled, OutOfMemory
from tintype.service.models.resident import values
from tintype.service.models.resident.denoising import ResidentDenoiser
from tintype.service.numerics import SAMPLERS, GuidanceRule, KeptNorm, KeptPart

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = sorted(SAMPLERS)


@pytest.fixture
def denoiser() -> TinyDenoiser:
    return TinyDenoiser()


@pytest.fixture
def resident(denoiser: TinyDenoiser) -> ResidentDenoiser:
    return ResidentDenoiser(denoiser, CPU)  # type: ignore[arg-type]


def kept(seed: int = 1) -> KeptPart:
    random = np.random.default_rng(seed)
    share = (random.random(SHAPE[1:]) > 0.5).astype(np.float32)
    return KeptPart(share, *random.standard_normal((2, *SHAPE), np.float32))


def check(pairs: Sequence[Pair], resident: ResidentDenoiser) -> None:
    for pair in pairs:
        row = pair.device(resident)
        assert row.i == pair.host.i
        assert row.done == pair.host.done
        assert row.finite
        assert np.array_equal(row.x, pair.host.x)


@pytest.mark.parametrize("sampler", NAMES)
def test_every_sampler(denoiser: TinyDenoiser, resident: ResidentDenoiser, sampler: str) -> None:
    """With guidance, a mask, and an estimate at every other step, to the end."""
    pair = Pair(sampler, 3, scale=4.0, kept=kept())
    while not pair.host.done:
        advance(denoiser, resident, [pair], estimated=lambda _: pair.host.i % 2 == 0)
        check([pair], resident)
        if pair.host.i % 2:
            assert np.array_equal(pair.device(resident).denoised, pair.host.denoised)


def test_rows_join_and_leave(denoiser: TinyDenoiser, resident: ResidentDenoiser) -> None:
    """Rows of all samplers, guided or not, masked or not; each leaves when it is done, and its slot is used again."""
    waiting = [
        Pair(name, i + 1, steps=2 + i % 4, scale=(1.0, 3.0)[i % 2], kept=kept(i) if i % 3 == 0 else None)
        for i, name in enumerate(NAMES)
    ]
    running: list[Pair] = []
    while running or waiting:
        running += [waiting.pop() for _ in range(min(2, len(waiting)))]
        advance(denoiser, resident, running, width=5)
        check(running, resident)
        running = [pair for pair in running if not pair.host.done]
    gc.collect()
    (state,) = resident._states.values()
    assert state.latents.count <= 16
    assert not state.is_used


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_calls_of_a_width(denoiser: TinyDenoiser, resident: ResidentDenoiser, width: int) -> None:
    """A step may take several calls; negative prompts of another length are in calls of their own."""
    pairs = [Pair("dpmpp_2m", i, scale=1.0 + i % 2, negative_tokens=3 + i) for i in range(1, 5)]
    for _ in range(3):
        advance(denoiser, resident, pairs, width=width)
        check(pairs, resident)


def test_rows_move_between_host_and_device(denoiser: TinyDenoiser, resident: ResidentDenoiser) -> None:
    """With their history and their noise, at any step."""
    pairs = [Pair(name, 5, kept=kept() if name == "plms" else None) for name in ("dpmpp_3m_sde", "plms", "lms")]
    for step in range(5):
        advance(denoiser, resident, pairs)
        check(pairs, resident)
        pairs[step % 3].leave(resident)


def test_a_failed_step_changes_nothing(denoiser: TinyDenoiser, resident: ResidentDenoiser) -> None:
    """The second call of a step fails; rows stay, draw the same noise again, and may go on alone or on the host."""
    pairs = [Pair("euler_ancestral", i) for i in (1, 2)]
    advance(denoiser, resident, pairs)
    denoiser.failures = [None, MemoryError("failed to allocate")]
    calls = [pair.device(resident).x for pair in pairs]
    with pytest.raises(OutOfMemory):
        advance(denoiser, resident, pairs, width=1)
    assert all(np.array_equal(pair.device(resident).x, x) for pair, x in zip(pairs, calls, strict=True))
    check(pairs, resident)
    pairs[0].leave(resident)
    advance(denoiser, resident, pairs[:1])
    advance(denoiser, resident, pairs[1:])
    check(pairs, resident)


@pytest.mark.parametrize("error", [Cancelled("stopped"), RuntimeError("broken")])
def test_captured_calls_outlast_a_failed_step(
    denoiser: TinyDenoiser, resident: ResidentDenoiser, error: Exception
) -> None:
    """The denoiser's latents keep their addresses, to which its captured calls belong."""
    pair = Pair("euler", 1)
    advance(denoiser, resident, [pair])
    before = list(resident._inputs._latest.values())
    denoiser.failures = [error]
    with pytest.raises(type(error)):
        advance(denoiser, resident, [pair])
    advance(denoiser, resident, [pair])
    check([pair], resident)
    assert [a is b for a, b in zip(before, resident._inputs._latest.values(), strict=True)] == [True, True]


def test_a_row_of_an_unloaded_model_is_not_held(denoiser: TinyDenoiser, resident: ResidentDenoiser) -> None:
    """A model that was loaded again has other slots: the row must join it first."""
    pair, again = Pair("euler", 1), ResidentDenoiser(denoiser, CPU)  # type: ignore[arg-type]
    row = pair.device(resident)
    Pair("euler", 2).device(again)
    assert resident.holds(row)
    assert not again.holds(row)
    assert again.decode(row) is None


def test_noise_drawn_for_a_failed_step_is_kept(denoiser: TinyDenoiser, resident: ResidentDenoiser) -> None:
    """A row whose update failed after its noise was drawn goes on with that noise, on the host too."""
    pair = Pair("euler_ancestral", 1)
    pair.device(resident).fresh_noise()
    pair.leave(resident)
    pair.device(resident).fresh_noise()
    advance(denoiser, resident, [pair])
    advance(denoiser, resident, [pair])
    check([pair], resident)


def test_rows_that_are_not_finite_are_found(denoiser: TinyDenoiser, resident: ResidentDenoiser) -> None:
    """Without an effect on rows of the same call."""
    pairs = [Pair("euler", i) for i in (1, 2, 3)]
    pairs[1].conditionings[0].prompt_embeds.setflags(write=True)
    pairs[1].conditionings[0].prompt_embeds[:] = np.inf
    advance(denoiser, resident, pairs)
    assert [pair.device(resident).finite for pair in pairs] == [True, False, True]
    check(pairs[::2], resident)


@pytest.mark.parametrize(
    "rule",
    [GuidanceRule(norm=KeptNorm.BLOCK), GuidanceRule(norm=KeptNorm.WIDTH, shrinks=True), GuidanceRule(offset=1.0)],
)
def test_guidance_rules_and_rescaling(denoiser: TinyDenoiser, resident: ResidentDenoiser, rule: GuidanceRule) -> None:
    """Sums are added in another order than numpy's; rows without guidance are not touched."""
    pairs = [Pair("euler", 1, scale=4.0, rescale=0.7), Pair("euler", 2, scale=3.0), Pair("euler", 3)]
    for _ in range(3):
        advance(denoiser, resident, pairs, rule=rule)
    for pair in pairs:
        np.testing.assert_allclose(pair.device(resident).x, pair.host.x, rtol=0, atol=1e-5)


def test_channels_of_a_learned_variance_are_left_out() -> None:
    denoiser = TinyDenoiser(more=2)
    resident = ResidentDenoiser(denoiser, CPU)  # type: ignore[arg-type]
    pair = Pair("dpmpp_2m", 1, scale=2.0)
    advance(denoiser, resident, [pair])
    check([pair], resident)


def test_a_step_sends_numbers_only(
    denoiser: TinyDenoiser, resident: ResidentDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row of numbers for each image goes up, one number comes back, and an estimate if it was requested."""
    sent: list[int] = []
    fetched: list[int] = []
    update, fetch = values.update, values.fetch

    def counted_update(value: Any, array: Any) -> None:
        sent.append(array.nbytes)
        update(value, array)

    def counted_fetch(value: Any) -> Any:
        fetched.append(fetch(value).nbytes)
        return fetch(value)

    monkeypatch.setattr(values, "update", counted_update)
    monkeypatch.setattr("tintype.service.models.resident.denoising.fetch", counted_fetch)
    pairs = [Pair("dpmpp_3m", i, scale=2.0) for i in (1, 2)]
    latents = 4 * int(np.prod(SHAPE))
    traffic = []
    for step in range(4):
        advance(denoiser, resident, pairs, estimated=(lambda place: place == 1) if step == 3 else lambda _: False)
        traffic.append((sum(sent), sum(fetched)))
        sent.clear()
        fetched.clear()
    columns = 11 + 3
    assert traffic[1:3] == [(2 * 4 * columns, 2 * 4)] * 2
    assert traffic[3] == (2 * 4 * columns + 4, 2 * 4 + latents)
    assert all(before >= after for (before, _), (after, _) in pairwise(traffic[:3]))
