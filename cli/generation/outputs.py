"""Names of the files of a run, from `-o`: a name, which is numbered for several images, or a pattern with fields."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UserError
from ..images.files import mime_type, numbered_path, prepare_folder, reserve, save
from ..settings.values import parse_path

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.v1 import image_service_pb2 as pb

FIELDS = {
    "index": "number of the prompt, from 1",
    "image": "number of the image of its prompt, from 1",
    "seed": "seed",
    "slug": "the prompt's first words",
    "width": "width in pixels",
    "height": "height in pixels",
}
MAX_SLUG = 48  # characters; file systems allow names of 255 bytes
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}:]*)(?::([^{}]*))?\}|[{}]")
_WIDTH = re.compile(r"0?[1-9]")


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a prompt in its run: its number from 0, the images before it, and all images of the run."""

    index: int
    before: int
    total: int


def slug(prompt: str) -> str:
    """Return the first words of a prompt as a part of a file's name: letters and digits, joined by hyphens."""
    words = re.findall(r"[^\W_]+", prompt[: 8 * MAX_SLUG].lower())
    text = "-".join(words)[:MAX_SLUG].rstrip("-")
    return text or "image"


class Output:
    """The value of `-o`.

    `overwrite` says whether existing files are replaced; None replaces only the files of a run's one prompt, if their
    name is no pattern. Raises UserError for a pattern that is wrong.
    """

    def __init__(self, text: str, *, prompts: int = 1, overwrite: bool | None = None) -> None:
        self.path = parse_path(text)
        mime_type(self.path)
        self._tokens = _parse(text)
        self.is_pattern = any(not isinstance(token, str) for token in self._tokens)
        self._overwrite = not self.is_pattern and prompts == 1 if overwrite is None else overwrite
        self._written: set[Path] = set()
        if not self.is_pattern:
            prepare_folder(self.path)

    def write(self, image: pb.Image, prompt: str, place: Place) -> Path:
        """Save an image, and return its file. Raises UserError."""
        path = self._name(image, prompt, place)
        path = path if path.suffix else path.with_name(path.name + ".png")
        if self.is_pattern:
            prepare_folder(path)
        is_new = not self._overwrite or path in self._written
        path = reserve(path) if is_new else path
        self._written.add(path)
        try:
            save(image.data, path)
        except UserError:
            if is_new:
                with suppress(OSError):
                    path.unlink()
            raise
        return path

    def _name(self, image: pb.Image, prompt: str, place: Place) -> Path:
        if not self.is_pattern:
            return numbered_path(self.path, place.before + image.index, place.total)
        values = {"index": place.index + 1, "image": image.index + 1, "seed": image.seed, "slug": slug(prompt)}
        values |= {"width": image.width, "height": image.height}
        parts = (token if isinstance(token, str) else token.format(values[token.name]) for token in self._tokens)
        return parse_path("".join(parts))


class _Field(NamedTuple):
    name: str
    width: str

    def format(self, value: object) -> str:
        return format(value, f"{self.width}d") if isinstance(value, int) and self.width else str(value)


def _parse(text: str) -> list[str | _Field]:
    """Return the texts and fields of a pattern; `{{` and `}}` are braces. Raises UserError."""
    tokens: list[str | _Field] = []
    end = 0
    for match in _TOKEN.finditer(text):
        tokens += [text[end : match.start()], _token(match)]
        end = match.end()
    return [*tokens, text[end:]]


def _token(match: re.Match[str]) -> str | _Field:
    if match[0] in ("{{", "}}"):
        return match[0][0]
    name, width = match[1], match[2]
    if name is None:
        raise UserError(f"-o: a brace of a file's name is written twice: {match[0] * 2}; got {match.string}")
    if name not in FIELDS:
        raise UserError(f"-o: unknown field {match[0]}; the fields are {', '.join(f'{{{each}}}' for each in FIELDS)}")
    if width is not None and (name == "slug" or not _WIDTH.fullmatch(width)):
        raise UserError(f"-o: the width of a number is written as in {{index:03}}; got {match[0]}")
    return _Field(name, width or "")
