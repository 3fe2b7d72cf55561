"""The request of one prompt, from the values of flags as text."""

from __future__ import annotations

import re
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_EMBEDDINGS, MAX_LORAS, RANGES

from ..errors import UserError
from ..images.files import mime_type
from ..images.inputs import check_total, read_controls, read_image, read_image_prompts, read_references
from ..settings.values import INTEGER, NUMBER
from .flags import DEFAULT_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..settings.values import ValueType

    Number = TypeVar("Number", int, float)

SUFFIX = ".safetensors"
MAX_LORA = 4.0  # the contract's limit of a weight, of either sign
_WEIGHT = re.compile(r"[-+]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})")
# The contract's bounds. They are checked here as well, so that the message names the flag and no model is loaded.
BOUNDS = {"guidance": RANGES["guidance_scale"], "clip-skip": RANGES["clip_skip"]} | {
    name: RANGES[name] for name in ("count", "steps", "seed", "strength")
}


def build_request(values: Mapping[str, Any]) -> pb.GenerateImagesRequest:
    """Return the request that the values of flags describe. Raises UserError; the service checks the rest."""
    width, height = parse_dimensions(values["size"])
    try:
        request = pb.GenerateImagesRequest(
            model=values["model"] or "",
            prompt=values["prompt"],
            negative_prompt=values["negative"],
            count=parse_number("count", values["count"], INTEGER),
            width=width,
            height=height,
            steps=parse_number("steps", values["steps"], INTEGER),
            guidance_scale=parse_number("guidance", values["guidance"], NUMBER),
            sampler=values["sampler"],
            schedule=values["schedule"],
            quality=values["quality"],
            style=values["style"],
            seed=parse_number("seed", values["seed"], INTEGER),
            image=read_image("image", values["image"]),
            mask=read_image("mask", values["mask"]),
            strength=parse_number("strength", values["strength"], NUMBER),
            references=read_references(values["reference"]),
            controls=read_controls(values["control"]),
            image_prompts=read_image_prompts(values["image_prompt"]),
            loras=read_loras(values["lora"]),
            embeddings=_limited("embedding", values["embedding"], MAX_EMBEDDINGS),
            clip_skip=parse_number("clip-skip", values["clip_skip"], INTEGER),
            output=pb.OutputFormat(mime_type=mime_type(Path(values["output"] or DEFAULT_OUTPUT))),
        )
    except ValueError as error:  # text that protobuf cannot hold, such as a lone surrogate
        raise UserError(str(error)) from error
    if values["extend"]:
        _extend(request, values["extend"])
    if request.mask and not request.image:
        raise UserError("--mask needs --image, the image whose areas are repainted")
    check_total(request)
    return request


def _extend(request: pb.GenerateImagesRequest, text: str) -> None:
    """Put the image on a larger canvas, whose new parts are repainted. Raises UserError."""
    module = import_module("tintype.cli.images.extend")  # Pillow and numpy are needed only here
    sides = module.parse_sides(text)
    if not request.image:
        raise UserError("--extend needs --image, the image to extend")
    if request.mask:
        raise UserError("--extend makes a mask; leave out --mask")
    request.image, request.mask = module.extend(request.image, sides)
    if not request.HasField("strength"):
        request.strength = 1.0  # what is new has no image to start from


def parse_dimensions(text: str | None) -> tuple[int | None, int | None]:
    """Return width and height of `512x512`, in pixels. Raises UserError."""
    if text is None:
        return None, None
    match = re.fullmatch(r"([1-9]\d{0,8})[xX]([1-9]\d{0,8})", text)
    if not match:
        raise UserError(f"--size must be WIDTHxHEIGHT in pixels, for example 512x512; got {text!r}")
    return int(match[1]), int(match[2])


def parse_number(flag: str, text: str | None, type_: ValueType[Number]) -> Number | None:
    """Return the number of a flag, within the contract's bounds. Raises UserError."""
    if text is None:
        return None
    try:
        value = type_.from_text(text)
    except ValueError:
        raise UserError(f"--{flag} must be {type_.expected}; got {text!r}") from None
    least, most = BOUNDS[flag]
    if not least <= value <= most:
        raise UserError(f"--{flag} must be {least} to {most}; got {text}")
    return value


def read_loras(texts: Sequence[str] | None) -> list[pb.Lora]:
    """Return the adapters of NAME[:WEIGHT] texts; an empty text is none. Raises UserError."""
    return [_parse_lora(text) for text in _limited("lora", texts, MAX_LORAS) if text]


def _parse_lora(text: str) -> pb.Lora:
    name, colon, last = text.rpartition(":")
    if not colon or not _WEIGHT.fullmatch(last):
        name, last = text, ""
    if name.endswith(SUFFIX) or "/" in name:
        stem = Path(name).stem
        raise UserError(
            f"--lora takes the name of an adapter, not a file; copy {name} into the folder loras of the model, or of "
            f"its name below --additions, and write --lora {stem}"
        )
    weight = float(last) if last else None
    if not name or (weight is not None and not (isfinite(weight) and abs(weight) <= MAX_LORA)):
        problem = f"the weight must be -{MAX_LORA:g} to {MAX_LORA:g}" if name else "it names no adapter"
        raise UserError(f"--lora must be NAME[:WEIGHT], for example film:0.8; {problem}; got {text!r}")
    return pb.Lora(name=name, weight=weight)


def _limited(flag: str, texts: Sequence[str] | None, limit: int) -> list[str]:
    if len(texts or ()) > limit:
        raise UserError(f"--{flag} may be given at most {limit} times; got {len(texts or ())}")
    return list(texts or ())
