"""The simulation of many nodes, against formulas and against the engine's own rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from capacity.profiles import BATCH_KEY, Profile, judged_widths, read_profile, write_profile
from capacity.results import quantile
from capacity.simulation import Cluster, Setup, simulate

PROCESSOR = Profile(
    source="a test", calls={1: 0.05, 2: 0.11, 4: 0.24, 8: 0.5}, encode=0.0, decode=0.05, load=2.0, gateway=0.0
)
ALONE = replace(PROCESSOR, guided=False)  # one row per image and call: images never share a call


def mean_wait(**values: Any) -> float:
    """Return the mean waiting time of images that all take one second, with one caller and one model."""
    setup = Setup(profile=ALONE, steps=(19,), callers=1, images=3_000, **values)
    return simulate(setup).mean_wait


@pytest.mark.parametrize("load", [0.4, 0.7])
def test_one_node_waits_as_a_queue_of_known_waiting(load: float) -> None:
    """One node with equal images is an M/D/1 queue: the mean wait is load / (2 (1 - load)) service times."""
    assert ALONE.image(19) == pytest.approx(1.0)
    assert mean_wait(load=load) == pytest.approx(load / (2 * (1 - load)), rel=0.15)


def test_random_balancing_is_as_many_single_queues() -> None:
    """Requests that are sent to random nodes wait as at one node, whatever their number."""
    assert mean_wait(load=0.7, nodes=8, rule="random") == pytest.approx(0.7 / 0.6, rel=0.15)


def test_better_rules_wait_less() -> None:
    """Fewest in flight waits less than two choices, these less than random; M/D/4 bounds all of them from below."""
    waits = [mean_wait(load=0.7, nodes=4, rule=rule) for rule in ("random", "two choices", "fewest in flight")]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > 2 * waits[1]
    # M/M/4 at load 0.7 waits 0.36 service times on average (Erlang C); M/D/4 about half of that.
    assert waits[2] > 0.15


def test_bursts_wait_longer() -> None:
    """Requests in bursts wait longer than a Poisson process of the same rate, and are as many."""
    setup = Setup(profile=ALONE, steps=(19,), load=0.7, nodes=2, images=2000)
    steady, bursty = (Cluster(replace(setup, burst=burst)) for burst in (0.0, 20.0))
    assert bursty.run().mean_wait > 1.5 * steady.run().mean_wait
    assert bursty.clock.now == pytest.approx(steady.clock.now, rel=0.15)


def test_runs_repeat() -> None:
    """The same setup gives the same result, another seed another one."""
    setup = Setup(profile=PROCESSOR, nodes=3, models=4, capacity=2, images=300)
    assert simulate(setup) == simulate(setup)
    assert simulate(setup).waits != simulate(replace(setup, seed=1)).waits


def test_every_image_is_made_once() -> None:
    """Every request is answered, and the device worked for all of them as long as their images take."""
    setup = Setup(profile=ALONE, steps=(5, 10), nodes=3, models=4, capacity=2, load=0.6, images=400)
    cluster = Cluster(setup)
    cluster.run()
    done = cluster._answered
    assert sorted(request.number for request in done) == list(range(400))
    assert sum(node.images for node in cluster.nodes) == 400
    work = sum(ALONE.image(request.steps) for request in done)
    assert sum(node.busy for node in cluster.nodes) == pytest.approx(work)


def test_models_that_do_not_fit_are_loaded() -> None:
    """With memory for all models nothing is loaded; with less, loading adds to the waiting."""
    setups = [Setup(profile=PROCESSOR, nodes=2, models=6, capacity=fit, load=0.5, images=500) for fit in (6, 2)]
    all_fit, some_fit = map(simulate, setups)
    assert all_fit.loads_per_image == 0
    assert some_fit.loads_per_image > 0.02
    assert some_fit.mean_wait > all_fit.mean_wait


def test_shorter_requests_go_first() -> None:
    """The node's queue is the engine's: a short request that comes later overtakes a long one of another caller."""
    short, long = run_trace([(0.0, 100), (0.1, 2)])
    assert short.steps == 2
    assert short.latency < 0.5
    assert long.latency > ALONE.image(100)


def test_rows_share_calls_where_that_pays() -> None:
    """Two requests at once take less than their times alone, if a wide call takes less than two narrow ones."""
    wide = replace(PROCESSOR, calls={1: 0.05, 2: 0.06, 4: 0.08, 8: 0.12})
    assert judged_widths(wide).limit(BATCH_KEY).model_rows == 8
    assert judged_widths(PROCESSOR).limit(BATCH_KEY).model_rows == 1
    last = run_trace([(0.0, 20), (0.0, 20)], profile=wide)[-1]
    assert last.done < 1.5 * wide.image(20)
    assert run_trace([(0.0, 20), (0.0, 20)], profile=PROCESSOR)[-1].done > 1.9 * PROCESSOR.image(20)


def test_a_gateway_is_a_queue_of_its_own() -> None:
    """A gateway that takes longer than the nodes bounds the rate; enough of them don't."""
    slow = replace(ALONE, gateway=0.5)
    setup = Setup(profile=slow, steps=(19,), nodes=8, load=0.8, images=600)
    one, four = Cluster(setup), Cluster(replace(setup, gateways=4))
    result = one.run()
    assert result.gateway_utilisation > 0.95
    assert result.node_seconds_per_image == pytest.approx(8 * 0.5, rel=0.05)
    assert one.clock.now == pytest.approx(600 * 0.5, rel=0.05)
    assert four.run().gateway_utilisation == pytest.approx(0.8, rel=0.15)
    assert four.clock.now < 600 / (0.8 * 8) * 1.2


def test_a_full_queue_refuses() -> None:
    """Far beyond what a node can do, requests are refused, and the others don't wait for ever."""
    result = simulate(Setup(profile=ALONE, steps=(19,), load=3.0, images=600))
    assert result.refused > 0.4
    assert result.wait(0.99) < 200


@pytest.mark.parametrize("wrong", [{"rule": "luck"}, {"nodes": 0}, {"steps": ()}, {"callers": 0}])
def test_wrong_setups_are_refused(wrong: dict[str, Any]) -> None:
    """A setup names the value that it can't have."""
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be "):
        Setup(profile=ALONE, **wrong)


def test_profiles_are_files(tmp_path: Any) -> None:
    """A profile is read as it was written, and a wrong one is refused with the value."""
    write_profile(PROCESSOR, tmp_path / "profile.json")
    assert read_profile(tmp_path / "profile.json") == PROCESSOR
    with pytest.raises(ValueError, match="load must be 0 or more seconds; got -1"):
        replace(PROCESSOR, load=-1)
    with pytest.raises(ValueError, match="calls must have"):
        replace(PROCESSOR, calls={2: 0.1})


def test_quantiles() -> None:
    """A quantile is one of the values; of none it is infinite."""
    assert [quantile([1, 2, 3, 4], share) for share in (0, 0.5, 0.99, 1)] == [1, 3, 4, 4]
    assert quantile([], 0.5) == float("inf")


def run_trace(arrivals: list[tuple[float, int]], profile: Profile = ALONE) -> list[Any]:
    """Return the requests of a trace in the order of their answers."""
    cluster = Cluster(Setup(profile=profile, images=len(arrivals)))
    cluster.run(arrivals)
    return cluster._answered
