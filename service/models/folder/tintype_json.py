"""Reading `tintype.json`, which `tintype export` writes in a model's folder.

Each known key has a reader that returns the value or raises an error that says what would be right. Unknown keys are
ignored, so that newer files work with older servers. A file of another `tintype` version is rejected.
"""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..files import ModelFileError, read_json
from ..spec import Guidance, LatentToRgb, Preset, Size
from .presets import MAX_STEPS
from .safety_files import SafetyEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

TINTYPE_JSON = "tintype.json"
VERSION = 1


class Refiner(NamedTuple):
    """A second stage: its folder, relative to this model's, and its share of the noise levels."""

    folder: str
    share: float


def read_tintype_json(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a folder's tintype.json by key, and its faults; ({}, []) if the file is missing."""
    try:
        content = read_json(folder / TINTYPE_JSON, optional=True)
    except ModelFileError as error:
        return {}, [str(error)]
    if content and content.get("tintype") != VERSION:
        return {}, [
            f"{TINTYPE_JSON}: tintype must be {VERSION}, not {content.get('tintype')!r}; is this server too old?"
        ]
    return read_fields(content, FIELDS, TINTYPE_JSON)


def read_fields(
    content: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], where: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the keys that have a reader, and the faults of wrong values, prefixed by `where`."""
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


def _layer(value: Any) -> int:
    """Read a whole number, 0 for none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ModelFileError(f"must be a whole number, 0 for none, not {value!r}")
    return value


def number(value: Any) -> float:
    """Read a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ModelFileError(f"must be a number, not {value!r}")
    return float(value)


def within(read: Callable[[Any], Any], low: float, high: float) -> Callable[[Any], Any]:
    """Return a reader that also checks the bounds `low` to `high`."""

    def bounded(value: Any) -> Any:
        result = read(value)
        if not low <= result <= high:
            raise ModelFileError(f"must be {low} to {high}, not {value!r}")
        return result

    return bounded


def _factor(value: Any) -> float:
    if not number(value):
        raise ModelFileError("must not be 0: latents are divided by it")
    return number(value)


def text(value: Any) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise ModelFileError(f"must be a string, not {value!r}")
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
        raise ModelFileError(f"must be a list of at least one [width, height], not {value!r}")
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
    return _read_object(value, DEFAULT_FIELDS)


def _presets(value: Any) -> dict[str, Preset | None] | None:
    """Read presets by name. None removes a preset; None in place of the object removes all."""
    if value is None:
        return None
    return {name: None if preset is None else _preset(preset) for name, preset in _object(value).items()}


def _preset(value: Any) -> Preset:
    unknown = _object(value).keys() - {f.name for f in fields(Preset)}
    if unknown:
        raise ModelFileError(f"has the unknown field {min(unknown)!r}; supported are {', '.join(PRESET_FIELDS)}")
    preset = Preset(**_read_object(value, PRESET_FIELDS))
    if preset.template.count("{prompt}") != 1:
        raise ModelFileError("template must contain {prompt} once")
    return preset


def _refiner(value: Any) -> Refiner:
    values = _read_object(value, {"folder": text, "share": number})
    if not values.get("folder") or not 0 < values.get("share", 0) < 1:
        raise ModelFileError(f"must hold folder, and share between 0 and 1, not {value!r}")
    return Refiner(values["folder"], values["share"])


def _safety_checker(value: Any) -> SafetyEntry:
    values = _read_object(value, {"folder": _name, "labels": _labels, "threshold": THRESHOLD})
    if "folder" not in values:
        raise ModelFileError(f"must hold folder, the folder of the graph, not {value!r}")
    return SafetyEntry(**values)


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ModelFileError(f"must be a list of at least one label, not {value!r}")
    return tuple(map(_name, value))


def _files(value: Any) -> dict[str, str]:
    return {path: text(digest) for path, digest in _object(value).items()}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelFileError(f"must be an object, not {value!r}")
    return value


def _read_object(value: Any, readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Read the fields of an object; raise ModelFileError with the first fault."""
    values, faults = read_fields(_object(value), readers, "")
    if faults:
        raise ModelFileError(faults[0].removeprefix(": "))
    return values


# Values of `prediction`, and those of diffusers' scheduler_config.json.
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample", "flow": "flow_prediction"}

SIDE = within(count, 16, 4096)  # pixels
THRESHOLD = within(number, 0, 1)

# The limits are those of requests.
NUMBER_FIELDS: dict[str, Callable[[Any], Any]] = {
    "steps": within(count, 1, MAX_STEPS),
    "guidance_scale": within(number, 0, 50),
    "guidance_rescale": within(number, 0, 1),
}

DEFAULT_FIELDS: dict[str, Callable[[Any], Any]] = {
    **NUMBER_FIELDS,
    "strength": within(number, 0, 1),
    "sampler": text,
    "schedule": text,
}

PRESET_FIELDS: dict[str, Callable[[Any], Any]] = {
    **NUMBER_FIELDS,
    "sampler": text,
    "template": text,
    "negative_prompt": text,
}

FIELDS: dict[str, Callable[[Any], Any]] = {
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
    "clip_layer": _layer,
    "precision": text,
    "target": text,
    "defaults": _defaults,
    "refiner": _refiner,
    "preview": _preview,
    "safety_checker": _safety_checker,
    "license": text,
    "description": text,
    "qualities": _presets,
    "styles": _presets,
    "files": _files,
}
