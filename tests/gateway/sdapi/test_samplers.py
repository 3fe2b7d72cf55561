"""The names of samplers and schedules, the web UI's and tintype's."""

from __future__ import annotations

import pytest

from tintype.gateway.sdapi.samplers import SAMPLERS, choose_sampler, label, list_samplers, list_schedules
from tintype.service.images.metadata import SAMPLER_LABELS
from tintype.service.numerics.samplers import SAMPLERS as OURS
from tintype.service.numerics.schedules import SCHEDULES
from tintype.v1 import image_service_pb2 as pb

MODEL = pb.Model(samplers=sorted(OURS), schedules=sorted(SCHEDULES))


def test_labels_agree_with_the_services() -> None:
    """A sampler has the same label in lists and in the infotexts that the service writes."""
    assert {name: label(name) for name in OURS} == {name: SAMPLER_LABELS.get(name, name) for name in OURS}
    assert set(SAMPLER_LABELS) <= set(SAMPLERS)


@pytest.mark.parametrize("sampler", sorted(OURS))
def test_listed_names_are_accepted(sampler: str) -> None:
    """Every listed name and alias means the sampler that it is listed for; so with schedules."""
    (row,) = list_samplers(pb.Model(samplers=[sampler]))
    assert {choose_sampler(MODEL, name, "").sampler for name in (row["name"], *row["aliases"])} == {sampler}
    for row in list_schedules(MODEL)[1:]:
        names = (row["name"], row["label"], *(row["aliases"] or ()))
        assert {choose_sampler(MODEL, "", name).schedule for name in names} == {row["name"]}


@pytest.mark.parametrize(
    ("sampler", "schedule", "chosen"),
    [
        ("", "", ("", "", {})),
        ("Euler a", "Automatic", ("euler_ancestral", "", {})),
        ("euler A", "automatic", ("euler_ancestral", "", {})),
        ("k_euler_a", "", ("euler_ancestral", "", {})),
        ("DPM++ 2M Karras", "", ("dpmpp_2m", "karras", {})),
        ("DPM++ 2M SDE Exponential", "", ("dpmpp_2m_sde", "exponential", {})),
        ("DPM++ 2M Karras", "Exponential", ("dpmpp_2m", "exponential", {})),
        ("Euler", "Simple", ("euler", "simple", {})),
        ("Restart", "", ("", "", {"sampler_name": "Restart"})),
        ("Restart", "Karras", ("", "", {"sampler_name": "Restart", "scheduler": "Karras"})),
        ("Euler", "Align Your Steps", ("euler", "", {"scheduler": "Align Your Steps"})),
        ("", "Align Your Steps", ("", "", {"scheduler": "Align Your Steps"})),
    ],
)
def test_names_in_any_case_with_schedules(sampler: str, schedule: str, chosen: tuple[str, str, dict[str, str]]) -> None:
    """Names are accepted in any case, with a schedule at their end; unknown names are reported and not used."""
    found = choose_sampler(MODEL, sampler, schedule)
    assert (found.sampler, found.schedule, dict(found.ignored)) == chosen


def test_sampler_of_another_model_is_unknown() -> None:
    """A sampler that only another model has is unknown."""
    assert choose_sampler(pb.Model(samplers=["euler"]), "DPM++ 2M", "").ignored == {"sampler_name": "DPM++ 2M"}
