"""Placement: requests go where their model is, models where they fit, and idle devices get work."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tintype.service.devices.placement import (
    COPY_AT,
    DeviceView,
    Running,
    choose,
    place,
    places_to_load,
    waiting_for,
    work_of,
)
from tintype.v1 import image_service_pb2 as pb

NAMES = ("a", "b", "c", "d")
requests = st.builds(
    Running,
    number=st.integers(0, 99),
    model=st.sampled_from(NAMES),
    work=st.floats(0, 10),
    waiting=st.booleans(),
    priority=st.integers(-2, 2),
)


@st.composite
def devices(draw: st.DrawFn) -> list[DeviceView]:
    """Return one to four devices, whose requests are for models that they have."""
    count = draw(st.integers(1, 4))
    return [
        DeviceView(
            name=str(number),
            memory=draw(st.sampled_from((0, 10, 20))),
            models=draw(st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9), max_size=3)),
            failed=draw(st.frozensets(st.sampled_from(NAMES), max_size=1)),
            running=tuple(draw(st.lists(requests, max_size=3))),
            last_use=draw(st.integers(0, 9)),
        )
        for number in range(count)
    ]


@settings(max_examples=30)
@given(devices(), st.sampled_from(NAMES), st.integers(1, 30))
def test_requests_go_where_their_model_is(views: list[DeviceView], model: str, size: int) -> None:
    """The device has the model and the least work of those, unless all of them are busy and an idle one has room."""
    chosen = choose(model, size, views)
    usable = [view for view in views if model not in view.failed] or views
    assert chosen in usable
    holders = [view for view in usable if model in view.models]
    if chosen in holders:
        assert chosen.work == min(view.work for view in holders)
    elif holders:
        assert not chosen.running
        assert size <= chosen.free
        assert all(len(view.running) >= COPY_AT for view in holders)


@settings(max_examples=30)
@given(devices(), st.integers(1, 30))
def test_models_go_where_they_fit(views: list[DeviceView], size: int) -> None:
    """A model evicts nothing if it fits somewhere; otherwise the fewest bytes that requests use stay out of the way."""
    chosen = place(size, views)
    if any(size <= view.free for view in views):
        assert size <= chosen.free
        assert chosen.free == max(view.free for view in views)
    else:
        assert chosen.reclaimable == max(view.reclaimable for view in views)


@given(st.lists(st.integers(1, 10), max_size=12), st.integers(1, 4))
def test_placed_models_keep_within_the_memory(sizes: list[int], count: int) -> None:
    """Models that are placed one after the other exceed no device while one of them has room."""
    views = [DeviceView(str(number), memory=20) for number in range(count)]
    for number, size in enumerate(sizes):
        assume(any(size <= view.free for view in views))
        chosen = choose(f"m{number}", size, views)
        views[views.index(chosen)] = replace(chosen, models={**chosen.models, f"m{number}": size})
    assert all(view.free >= 0 for view in views)


@settings(max_examples=30)
@given(devices(), st.sampled_from(NAMES), st.integers(1, 30))
def test_places_to_load(views: list[DeviceView], model: str, size: int) -> None:
    """LoadModel reaches every device that has the model or has room for it, and at least one."""
    chosen = places_to_load(model, size, views)
    assert chosen
    assert all(view in chosen for view in views if model in view.models or size <= view.free)


@settings(max_examples=30)
@given(devices())
def test_idle_devices_take_over(views: list[DeviceView]) -> None:
    """An idle device takes the oldest waiting request of the highest priority for a model that it has."""
    idle, *others = views
    found = waiting_for(idle, others)
    possible = [
        request
        for view in others
        if len(view.running) > 1
        for request in view.running
        if request.waiting and request.model in idle.models
    ]
    if idle.running or not possible:
        assert found is None
    else:
        assert found in possible
        assert (found.priority, -found.number) == max((each.priority, -each.number) for each in possible)


def test_equal_devices_take_turns() -> None:
    """Of devices without work, the one that was used least recently gets the request."""
    views = [DeviceView("0", models={"a": 1}, last_use=2), DeviceView("1", models={"a": 1}, last_use=1)]
    assert choose("a", 1, views).name == "1"


def test_work() -> None:
    """Work grows with images, steps, pixels, guidance and weights; missing fields are the model's defaults."""
    model = pb.Model(weights_bytes=10, defaults=pb.ModelDefaults(steps=4, width=8, height=8, guidance_scale=1))
    plain = work_of(pb.GenerateImagesRequest(), model)
    assert plain == 4 * 8 * 8 * 10
    assert work_of(pb.GenerateImagesRequest(count=3), model) == 3 * plain
    assert work_of(pb.GenerateImagesRequest(steps=8), model) == 2 * plain
    assert work_of(pb.GenerateImagesRequest(width=16), model) == 2 * plain
    assert work_of(pb.GenerateImagesRequest(guidance_scale=5), model) == 2 * plain
    assert work_of(pb.GenerateImagesRequest(count=-1, steps=-5, width=-1), None) > 0
