"""The web UI's names of samplers and schedules, and what they mean for a model.

A name that the model does not have is not an error: the model's own is used, and the name is reported as ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tintype.v1 import image_service_pb2 as pb

# tintype's name: the web UI's label, and its other names. A sampler that is not in the table has its own name as label.
SAMPLERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ddim": ("DDIM", ()),
    "ddpm": ("DDPM", ()),
    "deis": ("DEIS", ()),
    "dpm2": ("DPM2", ("k_dpm_2",)),
    "dpm2_ancestral": ("DPM2 a", ("k_dpm_2_a", "k_dpm_2_ancestral")),
    "dpmpp_1s": ("DPM++ 1S", ()),
    "dpmpp_2m": ("DPM++ 2M", ("k_dpmpp_2m",)),
    "dpmpp_2m_sde": ("DPM++ 2M SDE", ("k_dpmpp_2m_sde",)),
    "dpmpp_2s": ("DPM++ 2S", ()),
    "dpmpp_2s_ancestral": ("DPM++ 2S a", ("k_dpmpp_2s_a",)),
    "dpmpp_3m": ("DPM++ 3M", ("k_dpmpp_3m",)),
    "dpmpp_3m_sde": ("DPM++ 3M SDE", ("k_dpmpp_3m_sde",)),
    "dpmpp_3s": ("DPM++ 3S", ()),
    "dpmpp_sde": ("DPM++ SDE", ("k_dpmpp_sde",)),
    "euler": ("Euler", ("k_euler",)),
    "euler_ancestral": ("Euler a", ("k_euler_a", "k_euler_ancestral")),
    "heun": ("Heun", ("k_heun",)),
    "lcm": ("LCM", ("k_lcm",)),
    "lms": ("LMS", ("k_lms",)),
    "plms": ("PLMS", ()),
    "tcd": ("TCD", ("k_tcd",)),
    "unipc": ("UniPC", ()),
}
AUTOMATIC = "automatic"  # the web UI's name for the sampler's own schedule
# tintype's schedules: other names in the web UI.
SCHEDULES = {"normal": ("uniform",)}
SCHEDULE_LABELS = {"kl_optimal": "KL Optimal", "sgm_uniform": "SGM Uniform"}  # of others: their name in title case


class SamplerChoice(NamedTuple):
    """tintype's names, empty for the model's own; `ignored` has the names that the model lacks, by the client's key."""

    sampler: str = ""
    schedule: str = ""
    ignored: Mapping[str, str] = {}


def choose_sampler(model: pb.Model, sampler: str, schedule: str) -> SamplerChoice:
    """Return what a client's names mean for a model; `DPM++ 2M Karras` names both. Empty names count as absent."""
    known = {word: name for name in model.samplers for word in _normalized_names(name, *_label_and_aliases(name))}
    found, normalized = _find_schedule(model, schedule), _normalize(sampler)
    unknown = {"scheduler": schedule} if found is None else {}
    name = known.get(normalized)
    if name is not None or not sampler:
        return SamplerChoice(name or "", found or "", unknown)
    for own in model.schedules:
        prefix = known.get(normalized.removesuffix(_normalize(own)))
        if prefix is not None:
            return SamplerChoice(prefix, found or own, unknown)
    return SamplerChoice("", "", {"sampler_name": sampler} | ({"scheduler": schedule} if found else unknown))


def label(sampler: str) -> str:
    """Return the web UI's label of a sampler."""
    return _label_and_aliases(sampler)[0]


def schedule_label(schedule: str) -> str:
    """Return the web UI's label of a schedule."""
    return SCHEDULE_LABELS.get(schedule) or schedule.replace("_", " ").title()


def list_samplers(model: pb.Model) -> list[dict[str, Any]]:
    """Return the samplers of a model as `GET /samplers` lists them."""
    known = ((name, *_label_and_aliases(name)) for name in model.samplers)
    return [{"name": label, "aliases": [name, *aliases], "options": {}} for name, label, aliases in known]


def list_schedules(model: pb.Model) -> list[dict[str, Any]]:
    """Return the schedules of a model as `GET /schedulers` lists them, the sampler's own first."""
    unknown = {"default_rho": None, "need_inner_model": None}
    named = [(AUTOMATIC, ()), *((name, SCHEDULES.get(name, ())) for name in model.schedules)]
    return [
        {"name": name, "label": schedule_label(name), "aliases": list(aliases) or None} | unknown
        for name, aliases in named
    ]


def _label_and_aliases(sampler: str) -> tuple[str, tuple[str, ...]]:
    return SAMPLERS.get(sampler, (sampler, ()))


def _find_schedule(model: pb.Model, schedule: str) -> str | None:
    """Return tintype's name of a schedule, empty for the sampler's own, None if the model does not have it."""
    known = {word: name for name in model.schedules for word in _normalized_names(name, "", SCHEDULES.get(name, ()))}
    normalized = _normalize(schedule)
    return "" if normalized in ("", AUTOMATIC) else known.get(normalized)


def _normalized_names(name: str, label: str, aliases: Iterable[str]) -> set[str]:
    return {_normalize(word) for word in (name, label, *aliases) if word}


def _normalize(name: str) -> str:
    """Return a name without case, spaces and punctuation; `DPM++` is `dpmpp`, as in tintype's names."""
    return re.sub(r"[^a-z0-9]+", "", name.lower().replace("+", "p"))
