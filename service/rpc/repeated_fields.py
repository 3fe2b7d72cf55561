"""Conversion of the repeated messages of a request: adapters, embeddings, references, ControlNets, image prompts."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from tintype.v1.limits import (
    MAX_CONTROLS,
    MAX_EMBEDDINGS,
    MAX_IMAGE_PROMPTS,
    MAX_LORAS,
    MAX_NAME,
    MAX_REFERENCES,
)

from ..errors import InvalidField, Violation
from ..job import Control, ImageFile, Lora

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tintype.v1 import image_service_pb2 as pb

T = TypeVar("T")

MAX_EMBEDDING_NAME = 255  # characters, as of file names


def loras(request: pb.GenerateImagesRequest, faults: list[Violation]) -> tuple[Lora, ...]:
    """Return the adapters of a request; wrong ones are added to `faults`."""
    return _named(Lora, "loras", request.loras, MAX_LORAS, faults, ("weight",))


def controls(request: pb.GenerateImagesRequest, faults: list[Violation]) -> tuple[Control, ...]:
    """Return the ControlNets of a request; wrong ones are added to `faults`."""
    optional = ("weight", "start", "end")
    return _named(Control, "controls", request.controls, MAX_CONTROLS, faults, optional, ("image", "mode"))


def image_prompts(request: pb.GenerateImagesRequest, faults: list[Violation]) -> tuple[ImageFile, ...]:
    """Return the image prompts of a request; wrong ones are added to `faults`."""
    return _named(ImageFile, "image_prompts", request.image_prompts, MAX_IMAGE_PROMPTS, faults, ("weight",), ("image",))


def _named(
    make: type[T],
    field: str,
    messages: Iterable[Any],
    most: int,
    faults: list[Violation],
    optional: tuple[str, ...],
    plain: tuple[str, ...] = (),
) -> tuple[T, ...]:
    """Return what `make` makes of each message, which has a name and perhaps an image; at most `most`."""
    given = list(messages)
    if len(given) > most:
        faults.append(Violation(field, f"takes at most {most}, not {len(given)}"))
    made = []
    for place, message in enumerate(given[:most]):
        prefix, own = f"{field}[{place}].", list[Violation]()
        values = {name: getattr(message, name) for name in ("name", *plain)}
        values |= {name: decimal(getattr(message, name)) for name in optional if message.HasField(name)}
        if not message.name:
            own.append(Violation(f"{field}.name", "must not be empty"))
        if len(message.name) > MAX_NAME:
            own.append(Violation(f"{field}.name", f"must be at most {MAX_NAME} characters, not {len(message.name)}"))
        if "image" in plain and not message.image:
            own.append(Violation(f"{field}.image", "must not be empty"))
        made.append(build(make, values, own, f"{field}."))
        faults += [Violation(prefix + fault.field.removeprefix(f"{field}."), fault.problem) for fault in own]
    return tuple(made)


def embeddings(request: pb.GenerateImagesRequest, faults: list[Violation]) -> tuple[str, ...]:
    """Return the names of embeddings, each once; wrong ones are added to `faults`."""
    if len(request.embeddings) > MAX_EMBEDDINGS:
        faults.append(Violation("embeddings", f"takes at most {MAX_EMBEDDINGS}, not {len(request.embeddings)}"))
    for i, name in enumerate(request.embeddings[:MAX_EMBEDDINGS]):
        if not 1 <= len(name) <= MAX_EMBEDDING_NAME:
            problem = f"must be 1 to {MAX_EMBEDDING_NAME} characters, not {len(name)}"
            faults.append(Violation(f"embeddings[{i}]", problem))
    return tuple(dict.fromkeys(request.embeddings[:MAX_EMBEDDINGS]))


def references(request: pb.GenerateImagesRequest, faults: list[Violation]) -> tuple[bytes, ...]:
    """Return the files of images to edit; wrong ones are added to `faults`."""
    if len(request.references) > MAX_REFERENCES:
        faults.append(Violation("references", f"takes at most {MAX_REFERENCES}, not {len(request.references)}"))
    for i, data in enumerate(request.references[:MAX_REFERENCES]):
        if not data:
            faults.append(Violation(f"references[{i}]", "must not be empty"))
    return tuple(request.references[:MAX_REFERENCES])


def build(make: type[T], values: dict[str, Any], faults: list[Violation], prefix: str = "") -> T:
    """Return `make(**values)`, with defaults for wrong fields, so that all are added to `faults`.

    A fault of a field that `values` lacks, such as an end at the default start, leaves only the fields without a
    default.
    """
    required = {each.name for each in fields(make) if each.default is each.default_factory is MISSING}  # type: ignore[arg-type]
    while True:
        try:
            return make(**values)
        except InvalidField as error:
            faults += error.violations
            name = error.field.removeprefix(prefix)
            if name == "prompt":
                values = values | {"prompt": "-"}  # the only checked field without a default
            else:
                kept = values.keys() - {name} if name in values else required
                values = {key: value for key, value in values.items() if key in kept}


def decimal(value: float) -> float:
    """Return the number as typed: 0.7 arrives as the float32 0.69999999, and int(10 * 0.69999999) would be 6."""
    return value if isinstance(value, int) else float(f"{value:.7g}")
