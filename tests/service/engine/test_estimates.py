"""Measurements, and the costs derived from them."""

import numpy as np
import pytest

from tests.support.engine.exact import SPEC
from tintype.service.engine.estimates import TOLERANCE, Average, Estimates
from tintype.service.engine.plan import Plan, plan
from tintype.service.images.upload import Source
from tintype.service.job import Job


def planned(**job: object) -> Plan:
    return plan(Job(prompt="a", **job), SPEC)  # type: ignore[arg-type]


def test_the_first_measurement_is_replaced_by_the_second() -> None:
    """The first value includes warm-up; later the newest weighs a fifth."""
    average = Average()
    for value in (100.0, 1.0, 2.0):
        average.add(value)
    assert average.value == pytest.approx(1.2)


def test_nothing_is_estimated_before_it_was_measured() -> None:
    """There is no estimate, but a cost, which is higher for more work."""
    estimates = Estimates()
    small, large = planned(), planned(width=96, height=96)
    assert estimates.call_seconds(small.batch_key, 2) is None
    assert 0 < estimates.cost(small).call < estimates.cost(large).call
    assert estimates.cost(planned(guidance_scale=1.0)).call < estimates.cost(small).call


def test_other_numbers_of_rows_are_estimated_in_proportion() -> None:
    """Estimates scale from the nearest measured number of rows."""
    estimates, made = Estimates(), planned()
    estimates.record_call(made, 2, 1.0, 0, now=0.0)
    estimates.record_call(made, 8, 3.0, 0, now=0.0)
    assert [estimates.call_seconds(made.batch_key, n) for n in (1, 2, 3, 8, 16)] == [0.5, 1.0, 1.5, 3.0, 6.0]


def test_encoding_images_has_its_own_cost() -> None:
    """Encoding with an image is measured separately from prompts, and by size."""
    estimates, prompt = Estimates(), planned()
    small, large = (planned(source=Source(np.zeros((3, 1, 1), np.uint8)), width=side, height=side) for side in (64, 96))
    for made, seconds in ((prompt, 0.1), (small, 1.0), (large, 3.0)):
        estimates.record_encode(made, 9.0)
        estimates.record_encode(made, seconds)
    assert [estimates.cost(made).encode for made in (prompt, small, large)] == [100_000, 1_000_000, 3_000_000]


def test_costs_ignore_small_changes() -> None:
    """Within a quarter the cost stays; beyond it the cost follows and the version grows."""
    estimates, made = Estimates(), planned()
    estimates.cost(made)
    for _ in range(3):
        estimates.record_call(made, 2, 1.0, 0, now=0.0)
    cost, version = estimates.cost(made), estimates.version
    assert (cost.call, cost.encode, cost.decode) == (1_000_000, 1_000_000, 2_000_000)
    for seconds in (1.2, 0.9, 1.1, 0.8):
        estimates.record_call(made, 2, seconds, 0, now=0.0)
    assert (estimates.cost(made), estimates.version) == (cost, version)
    for _ in range(20):
        estimates.record_call(made, 2, 1.0 * TOLERANCE * 1.1, 0, now=0.0)
    assert estimates.cost(made).call > 1_250_000
    assert estimates.version > version
