"""Images that `tintype generate` sends: files to start from, to edit, and to follow."""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_CONTROLS, MAX_FILES, MAX_IMAGE_PROMPTS, MAX_REFERENCES

from ..errors import UserError
from ..settings.values import parse_path

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WEIGHT = 2.0  # the contract's limit
STDIN = "-"  # in place of a file's name
CONTROL_FORM, PROMPT_FORM = "NAME=FILE[:WEIGHT[:START-END]]", "NAME=FILE[:WEIGHT]"
_NUMBER = re.compile(r"\d{1,9}(\.\d{0,9})?|\.\d{1,9}")
_RANGE = re.compile(r"([\d.]{1,20})-([\d.]{1,20})")


class ImageSpec(NamedTuple):
    """A flag's NAME=FILE[:WEIGHT[:START-END]]; what is absent is None."""

    name: str
    file: str
    weight: float | None = None
    start: float | None = None
    end: float | None = None


def read_image(flag: str, name: str | None, form: str = "") -> bytes:
    """Return the bytes of a flag's file, or of stdin (-); empty without the flag. The service checks the image.

    `form` is the form of the flag's value, if it is more than a file.

    Raises:
        UserError: the file is unreadable, or empty: the service would treat an empty image as absent.
    """
    if not name:
        return b""
    try:
        data = read_stdin(MAX_FILES) if name == STDIN else parse_path(name).read_bytes()
    except OSError as error:
        hint = f"; the form is {form}" if form and ":" in name else ""
        raise UserError(f"--{flag}: cannot read {name}: {error.strerror}{hint}") from error
    if not data:
        raise UserError(f"--{flag}: {'stdin' if name == STDIN else name} is empty")
    return data


@cache
def read_stdin(limit: int) -> bytes:
    """Return what stdin has, which is read once. Raises UserError if it has more than `limit` bytes."""
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"stdin must have at most {limit} bytes")
    return data


def read_references(names: Sequence[str] | None) -> list[bytes]:
    """Return the images to edit. Raises UserError."""
    _check_count("reference", names, MAX_REFERENCES)
    return [read_image("reference", name) for name in names or ()]


def read_controls(texts: Sequence[str] | None) -> list[pb.Control]:
    """Return the ControlNets with their images. Raises UserError."""
    _check_count("control", texts, MAX_CONTROLS)
    specs = [parse_image_spec("control", text, has_range=True) for text in texts or ()]
    return [
        pb.Control(
            name=one.name,
            image=read_image("control", one.file, CONTROL_FORM),
            weight=one.weight,
            start=one.start,
            end=one.end,
        )
        for one in specs
    ]


def read_image_prompts(texts: Sequence[str] | None) -> list[pb.ImagePrompt]:
    """Return the image prompts with their images. Raises UserError."""
    _check_count("image-prompt", texts, MAX_IMAGE_PROMPTS)
    specs = [parse_image_spec("image-prompt", text) for text in texts or ()]
    return [
        pb.ImagePrompt(name=one.name, image=read_image("image-prompt", one.file, PROMPT_FORM), weight=one.weight)
        for one in specs
    ]


def parse_image_spec(flag: str, text: str, *, has_range: bool = False) -> ImageSpec:
    """Return the parts of NAME=FILE[:WEIGHT], with `has_range` also [:START-END]. Raises UserError."""
    name, _, rest = text.partition("=")
    if not name or not rest:
        form = CONTROL_FORM if has_range else PROMPT_FORM
        raise UserError(f"--{flag} must be {form}, for example canny=edges.png:0.8; got {text!r}")
    file, weight, fractions = _split(rest, has_range=has_range)
    if not file:
        raise UserError(f"--{flag} {name} names no file; got {text!r}")
    start, end = (_number(flag, name, "range", part, 1.0) for part in fractions)
    if start is not None and end is not None and start >= end:
        raise UserError(f"--{flag} {name}: the range must end after it starts; got {start:g}-{end:g}")
    return ImageSpec(name, file, _number(flag, name, "weight", weight, MAX_WEIGHT), start, end)


def check_total(request: pb.GenerateImagesRequest) -> None:
    """Raise UserError if all images together are too large for one request."""
    others = [*(one.image for one in request.controls), *(one.image for one in request.image_prompts)]
    size = sum(map(len, [request.image, request.mask, *request.references, *others]))
    if size > MAX_FILES:
        raise UserError(f"all images together must have at most {MAX_FILES} bytes; got {size}")


def _check_count(flag: str, values: Sequence[str] | None, limit: int) -> None:
    if len(values or ()) > limit:
        raise UserError(f"--{flag} may be given at most {limit} times; got {len(values or ())}")


def _split(rest: str, *, has_range: bool) -> tuple[str, str | None, tuple[str | None, str | None]]:
    """Return file, weight and range of FILE[:WEIGHT[:START-END]]; the file may contain colons."""
    file, colon, last = rest.rpartition(":")
    match = _RANGE.fullmatch(last) if has_range and colon else None
    if match is None:
        return (file, last, (None, None)) if colon and _is_number(last) else (rest, None, (None, None))
    before, colon, weight = file.rpartition(":")
    fractions = (match[1], match[2])
    return (before, weight, fractions) if colon and _is_number(weight) else (rest, None, (None, None))


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _number(flag: str, name: str, what: str, text: str | None, most: float) -> float | None:
    """Return a number from 0 to `most`; None if it is absent. Raises UserError."""
    if text is None:
        return None
    value = float(text) if _is_number(text) else -1.0
    if not 0 <= value <= most:
        raise UserError(f"--{flag} {name}: the {what} must be 0 to {most:g}; got {text}")
    return value
