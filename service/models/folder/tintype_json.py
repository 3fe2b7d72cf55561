"""Reading `tintype.json`, the manifest that an export of ours leaves in a model's folder.

Each known key has a reader that returns the value or says what would be right; unknown keys are ignored, so that
newer manifests work with older servers. Another `tintype` number is refused: that is what it is for.
"""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..files import ModelFileError, read_json
from ..spec import Guidance, LatentToRgb, Preset, Size
from .presets import MOST_STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MANIFEST = "tintype.json"
VERSION = 1


class Second(NamedTuple):
    """A second stage: the folder of its model, seen from this one's, and the share of the levels that it takes."""

    folder: str
    share: float


def read_settings(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a folder's manifest by key, and what is wrong with it; ({}, []) without one."""
    try:
        content = read_json(folder / MANIFEST, optional=True)
    except ModelFileError as error:
        return {}, [str(error)]
    if content and content.get("tintype") != VERSION:
        return {}, [f"{MANIFEST}: tintype must be {VERSION}, not {content.get('tintype')!r}; is this server too old?"]
    return read_table(content, READERS, MANIFEST)


def read_table(
    content: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], where: str
) -> tuple[dict[str, Any], list[str]]:
    """Return what the readers make of the keys that they know, and the faults that they found."""
    values, faults = {}, []
    for key in content.keys() & readers.keys():
        try:
            values[key] = readers[key](content[key])
        except ModelFileError as error:
            faults.append(f"{where}: {key} {error}")
    return values, sorted(faults)


def count(value: Any) -> int:
    """Read a whole number, at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelFileError(f"must be a whole number, at least 1, not {value!r}")
    return value


def number(value: Any) -> float:
    """Read a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ModelFileError(f"must be a number, not {value!r}")
    return float(value)


def within(read: Callable[[Any], Any], low: float, high: float) -> Callable[[Any], Any]:
    """Return a reader that takes what `read` takes, from `low` to `high`."""

    def bounded(value: Any) -> Any:
        known = read(value)
        if not low <= known <= high:
            raise ModelFileError(f"must be {low} to {high}, not {value!r}")
        return known

    return bounded


def _factor(value: Any) -> float:
    if not number(value):
        raise ModelFileError("must not be 0: latents are divided by it")
    return number(value)


def text(value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise ModelFileError(f"must be a text, not {value!r}")
    return value


def _name(value: Any) -> str:
    if not text(value).strip():
        raise ModelFileError("must not be empty")
    return cast("str", value)


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ModelFileError(f"must be true or false, not {value!r}")
    return value


def _prediction(value: Any) -> str:
    if not isinstance(value, str) or value not in PREDICTIONS:
        raise ModelFileError(f"must be one of {', '.join(PREDICTIONS)}, not {value!r}")
    return PREDICTIONS[value]


def _guidance(value: Any) -> Guidance:
    if value not in list(Guidance):
        raise ModelFileError(f"must be one of {', '.join(Guidance)}, not {value!r}")
    return Guidance(value)


def _sizes(value: Any) -> tuple[Size, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(v, list) and len(v) == 2 for v in value):
        raise ModelFileError(f"must be a list of [width, height], at least one, not {value!r}")
    return tuple((SIDE(width), SIDE(height)) for width, height in value)


def _triple(value: Any) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise ModelFileError(f"must hold three numbers (red, green, blue), not {value!r}")
    red, green, blue = map(number, value)
    return red, green, blue


def _preview(value: Any) -> LatentToRgb:
    rows = _object(value).get("latent_to_rgb")
    if not isinstance(rows, list) or not rows:
        raise ModelFileError("must hold latent_to_rgb, one row of three numbers for each latent channel")
    return LatentToRgb(tuple(map(_triple, rows)), _triple(value.get("bias")))


def _defaults(value: Any) -> dict[str, Any]:
    return _all_or_fault(value, DEFAULTS)


def _presets(value: Any) -> dict[str, Preset | None] | None:
    """Read presets by name; null stands for none, be it one of them or all."""
    if value is None:
        return None
    return {name: None if preset is None else _preset(preset) for name, preset in _object(value).items()}


def _preset(value: Any) -> Preset:
    unknown = _object(value).keys() - {f.name for f in fields(Preset)}
    if unknown:
        raise ModelFileError(f"has the unknown setting {min(unknown)!r}; known are {', '.join(PRESET)}")
    preset = Preset(**_all_or_fault(value, PRESET))
    if preset.template.count("{prompt}") != 1:
        raise ModelFileError("template must hold {prompt} once")
    return preset


def _refiner(value: Any) -> Second:
    settings = _all_or_fault(value, {"folder": text, "share": number})
    if not settings.get("folder") or not 0 < settings.get("share", 0) < 1:
        raise ModelFileError(f"must hold folder, and share between 0 and 1, not {value!r}")
    return Second(settings["folder"], settings["share"])


def _files(value: Any) -> dict[str, str]:
    return {path: text(digest) for path, digest in _object(value).items()}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelFileError(f"must be an object, not {value!r}")
    return value


def _all_or_fault(value: Any, readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    values, faults = read_table(_object(value), readers, "")
    if faults:
        raise ModelFileError(faults[0].removeprefix(": "))
    return values


# Our word: that of diffusers' scheduler_config.json, where it is read.
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample", "flow": "flow_prediction"}

SIDE = within(count, 16, 4096)  # pixels

# The limits are those of requests: nobody can ask a model for more than its own file does.
NUMBERS: dict[str, Callable[[Any], Any]] = {
    "steps": within(count, 1, MOST_STEPS),
    "guidance_scale": within(number, 0, 50),
    "guidance_rescale": within(number, 0, 1),
}

DEFAULTS: dict[str, Callable[[Any], Any]] = {
    **NUMBERS,
    "sampler": text,
    "schedule": text,
}

PRESET: dict[str, Callable[[Any], Any]] = {
    **NUMBERS,
    "sampler": text,
    "template": text,
    "negative_prompt": text,
}

READERS: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "family": text,
    "prediction": _prediction,
    "guidance": _guidance,
    "native_sizes": _sizes,
    "size_multiple": count,
    "latent_channels": count,
    "downscale": count,
    "scaling_factor": _factor,
    "shift_factor": number,
    "max_tokens": count,
    "batched_timestep": flag,
    "precision": text,
    "target": text,
    "defaults": _defaults,
    "refiner": _refiner,
    "preview": _preview,
    "license": text,
    "description": text,
    "qualities": _presets,
    "styles": _presets,
    "files": _files,
}
