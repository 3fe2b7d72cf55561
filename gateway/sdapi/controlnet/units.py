"""Units of the ControlNet extension in requests: what they mean for a model, as a pure function.

A unit is a ControlNet or an IP-Adapter with an image. There are no preprocessors: the image must be in the form that
the ControlNet reads, so a unit that names one is an error. A field without equivalent is reported as ignored.

Source: sd-webui-controlnet, `internal_controlnet/args.py` and `scripts/enums.py`, with the older names of its fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_CONTROLS, MAX_IMAGE_PROMPTS

from ...errors import InvalidValue
from ..errors import NoSuchScript
from ..request_types import Name, NoEffect, convert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SCRIPT = "controlnet"  # in any case
ARGS = f"alwayson_scripts.{SCRIPT}.args"
NONE = "none"
# Words and numbers of a resize mode: 0 stretches, 1 keeps the aspect ratio and crops, 2 keeps it and fills.
RESIZE_MODES = {
    "just resize": 0,
    "crop and resize": 1,
    "inner fit (scale to fit)": 1,
    "scale to fit (inner fit)": 1,
    "resize and fill": 2,
    "outer fit (shrink to fit)": 2,
    "envelope (outer fit)": 2,
}
CROP = 1  # the default
# Values of fields that change nothing, in lower case.
BALANCED, BOTH_PASSES, UNKNOWN_TYPES = ("", "balanced"), ("", "both", "hiresfixoption.both"), ("", "unknown")
# Kinds of a ControlNet with several (union): the extension's names and those of FLUX.1's, with their numbers in
# FLUX.1's (InstantX, Shakker Labs). The extension's soft edge, normal map, segmentation and inpaint have none there.
UNION_TYPES = {
    "hard edge": 0,
    "canny": 0,
    "lineart": 0,
    "mlsd": 0,
    "tile": 1,
    "depth": 2,
    "blur": 3,
    "openpose": 4,
    "pose": 4,
    "gray": 5,
    "low quality": 6,
}
# Keys without equivalent, which are reported unless they are empty.
UNSUPPORTED = ("advanced_weighting", "effective_region_mask", "ipadapter_input", "loopback")
# Modules that only say how the image of an IP-Adapter is encoded.
_IP_ADAPTER_MODULE = re.compile("ip-?adapter", re.IGNORECASE)
_HASH = re.compile(r" \[[0-9a-f]{4,64}\]$", re.IGNORECASE)

Factor = Annotated[float, Meta(ge=0, le=2)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Word = Name | int


class UnitRequest(msgspec.Struct, kw_only=True):
    """One unit. Fields that only preprocessors read have no effect."""

    enabled: bool | None = True
    image: Any = None
    input_image: Any = None
    mask: Any = None
    mask_image: Any = None
    module: Name | None = NONE
    model: Name | None = None
    weight: Factor | None = None
    resize_mode: Word | None = None
    guidance_start: Fraction | None = None
    guidance_end: Fraction | None = None
    guidance: Fraction | None = None
    control_mode: Word | None = None
    union_control_type: Word | None = None
    hr_option: Word | None = None
    advanced_weighting: NoEffect = None
    effective_region_mask: NoEffect = None
    ipadapter_input: NoEffect = None
    loopback: NoEffect = None


@dataclass(frozen=True, slots=True)
class Unit:
    """The image of a control or an image prompt.

    `place` is its place in the contract (`controls[0]`), `key` the client's name of the unit. `source` is the image as
    sent; `resize_mode` is the web UI's number.
    """

    place: str
    key: str
    source: str
    resize_mode: int

    @property
    def names(self) -> dict[str, str]:
        """The client's names of the unit's fields, by place in the contract."""
        fields = {"name": "model", "start": "guidance_start", "end": "guidance_end", "mode": "union_control_type"}
        named = {
            f"{self.place}.{name}": f"{self.key}.{fields.get(name, name)}" for name in ("image", "weight", *fields)
        }
        return {self.place: self.key, **named}


@dataclass(frozen=True, slots=True)
class ControlUnits:
    """Controls and image prompts without their images, which `units` has, and the ignored keys with their values."""

    controls: tuple[pb.Control, ...] = ()
    image_prompts: tuple[pb.ImagePrompt, ...] = ()
    units: tuple[Unit, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """The client's names of all fields, by place in the contract."""
        lists = {"controls": ARGS, "image_prompts": ARGS}
        return lists | {place: key for unit in self.units for place, key in unit.names.items()}


NO_UNITS = ControlUnits()


def parse_units(
    scripts: Mapping[str, Any] | None, model: pb.Model, *, init_image: str = "", hires: bool = False
) -> ControlUnits:
    """Return what the extension's units mean for a model. A unit without an image has `init_image`.

    Raises BadRequest, also for other scripts and extensions: without them, the image would be a different one.
    """
    controls, prompts, units = list[pb.Control](), list[pb.ImagePrompt](), list[Unit]()
    ignored: dict[str, str] = {}
    for key, unit in _enabled_units(scripts or {}):
        name = _find_model(unit.model or "", model, key)
        is_adapter = name in model.image_adapters
        _check_module(unit.module or NONE, key, is_adapter=is_adapter)
        place = f"image_prompts[{len(prompts)}]" if is_adapter else f"controls[{len(controls)}]"
        source = _image(unit) or init_image
        if not source or not isinstance(source, str):
            raise InvalidValue(f"{key}.image", "must be an image in base64")
        units.append(Unit(place, key, source, _resize_mode(unit.resize_mode, key)))
        if is_adapter:
            prompts.append(pb.ImagePrompt(name=name, weight=unit.weight))
        else:
            controls.append(_build_control(unit, name, model.control_modes.get(name, 0)))
        unused = _unused_fields(unit, model.control_modes.get(name, 0), is_adapter=is_adapter, hires=hires)
        ignored |= {f"{key}.{one}": value for one, value in unused.items()}
    for count, limit in ((len(controls), MAX_CONTROLS), (len(prompts), MAX_IMAGE_PROMPTS)):
        if count > limit:
            raise InvalidValue(ARGS, f"must have at most {limit} units of a kind, not {count}")
    return ControlUnits(tuple(controls), tuple(prompts), tuple(units), ignored)


def without_images(scripts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the extension's units without their images, for responses."""
    images = ("image", "input_image", "mask", "mask_image", "effective_region_mask", "ipadapter_input")
    return {
        name: {"args": [{key: one for key, one in unit.items() if key not in images} for unit in _args(script)]}
        for name, script in (scripts or {}).items()
        if isinstance(name, str) and name.lower() == SCRIPT
    }


def list_names(model: pb.Model) -> list[str]:
    """Return the names of a model's ControlNets and IP-Adapters."""
    return [*model.controls, *model.image_adapters]


def _enabled_units(scripts: Mapping[str, Any]) -> Iterator[tuple[str, UnitRequest]]:
    """Yield each enabled unit with the client's name of it. Raises InvalidValue, NoSuchScript."""
    for name, script in scripts.items():
        if name.lower() != SCRIPT:
            raise NoSuchScript("Always on script", name)
        for index, value in enumerate(_args(script)):
            key = f"{ARGS}[{index}]"
            try:
                unit = convert(UnitRequest, value)
            except InvalidValue as error:
                raise InvalidValue(f"{key}.{error.param}", error.problem) from error
            if unit.enabled is not False:
                yield key, unit


def _args(script: Any) -> Sequence[Mapping[str, Any]]:
    """Return the units of `{"args": [unit, …]}`. Raises InvalidValue."""
    args = script.get("args") if isinstance(script, dict) else None
    units = [one for one in args if one is not None] if isinstance(args, list) else None
    if units is None or not all(isinstance(one, dict) for one in units):
        raise InvalidValue(ARGS, "must be a list of units, each an object with 'model' and 'image'")
    return units


def _find_model(name: str, model: pb.Model, key: str) -> str:
    """Return the ControlNet or IP-Adapter that a client names, with or without a hash. Raises InvalidValue."""
    known = {one.lower(): one for one in list_names(model)}
    found = known.get(name.lower()) or known.get(_HASH.sub("", name).lower())
    if found is None:
        if not known:
            raise InvalidValue(key, f"must be left out: model {model.name!r} has no ControlNets")
        valid = f"must be one of {', '.join(map(repr, known.values()))}"
        raise InvalidValue(f"{key}.model", f"{valid}; got {name[:100]!r}" if name else f"is missing, and {valid}")
    return found


def _check_module(module: str, key: str, *, is_adapter: bool) -> None:
    """Raise InvalidValue for a preprocessor."""
    if module.lower() not in (NONE, "") and not (is_adapter and _IP_ADAPTER_MODULE.search(module)):
        problem = f"must be 'none': there are no preprocessors, so send the finished image; got {module[:100]!r}"
        raise InvalidValue(f"{key}.module", problem)


def _image(unit: UnitRequest) -> Any:
    """Return the image of a unit: text, `{"image": …}`, or a list of these or of image and mask."""
    image = unit.image or unit.input_image
    first = image[0] if isinstance(image, list) and image else image
    return first.get("image") if isinstance(first, dict) else first


def _has_more(unit: UnitRequest) -> bool:
    """Return whether a unit has a mask, or further images."""
    image = unit.image or unit.input_image
    first = image[0] if isinstance(image, list) and image else image
    several = isinstance(image, list) and any(image[1:])
    return several or bool(unit.mask or unit.mask_image or (isinstance(first, dict) and first.get("mask")))


def _resize_mode(mode: Word | None, key: str) -> int:
    if mode is None or mode == "":
        return CROP
    found = RESIZE_MODES.get(str(mode).lower(), mode)
    if str(found) not in ("0", "1", "2"):
        words = "'Just Resize', 'Crop and Resize' or 'Resize and Fill'"
        raise InvalidValue(f"{key}.resize_mode", f"must be {words}; got {str(mode)[:100]!r}")
    return int(found)


def _build_control(unit: UnitRequest, name: str, kinds: int) -> pb.Control:
    end = unit.guidance_end if unit.guidance_end is not None else unit.guidance
    kind = _union_type(unit.union_control_type, kinds)
    return pb.Control(name=name, weight=unit.weight, start=unit.guidance_start, end=end, mode=kind)


def _union_type(kind: Word | None, kinds: int) -> int | None:
    """Return the number of a kind; None if the ControlNet, which has `kinds` of them, does not have it."""
    number = kind if isinstance(kind, int) else UNION_TYPES.get(_word(kind))
    return number if number is not None and 0 <= number < kinds else None


def _word(value: Word | None) -> str:
    """Return a word in lower case; empty for the first one, which is the default."""
    return str(value or "").lower()


def _unused_fields(unit: UnitRequest, kinds: int, *, is_adapter: bool, hires: bool) -> dict[str, str]:
    """Return the fields of a unit that have no equivalent, with their values; empty for images and lists."""
    kind, mode, passes = unit.union_control_type, unit.control_mode, unit.hr_option
    unused = {
        "control_mode": mode if _word(mode) not in BALANCED else None,
        "hr_option": passes if hires and _word(passes) not in BOTH_PASSES else None,
        "union_control_type": kind if _word(kind) not in UNKNOWN_TYPES and _union_type(kind, kinds) is None else None,
        "guidance_start": (is_adapter and unit.guidance_start) or None,
        "guidance_end": unit.guidance_end if is_adapter and unit.guidance_end != 1 else None,
        "mask": "" if _has_more(unit) else None,
        **{name: "" if getattr(unit, name) else None for name in UNSUPPORTED},
    }
    return {name: str(value)[:80] for name, value in unused.items() if value is not None}
