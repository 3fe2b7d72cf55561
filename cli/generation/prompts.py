"""The prompts of a run: from the command line, a file, or stdin.

A file has one prompt a line. Blank lines, and lines that begin with `#`, are skipped. A line that begins with `{"` is a
JSON object: its `prompt`, and values of flags by their names, which apply to this prompt only.
"""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from tintype.v1.limits import MAX_PROMPT

from ..errors import UserError
from ..images.inputs import STDIN, read_stdin
from ..key_flags import parse_utf8
from ..settings.values import parse_path
from .flags import OF_A_PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_FILE = 16 * 2**20  # bytes of a file of prompts
MAX_PROMPTS = 10_000  # prompts of a run
FLAGS = OF_A_PROMPT | {"output": False}  # what a line may set besides its prompt
FILES = ("image", "mask", "reference")  # flags whose value is a file, or - for stdin
EXAMPLE = '{"prompt": "a lake", "steps": 20, "seed": 7}'
_OBJECT = re.compile(r'\{\s*(?:"|\}|$)')


class Entry(NamedTuple):
    """One prompt, the values of flags that apply to it, and FILE:LINE if it comes from a file."""

    values: Mapping[str, Any]
    where: str = ""

    @property
    def prompt(self) -> str:
        """The prompt."""
        return str(self.values["prompt"])

    def explain(self, error: object) -> str:
        """Return an error with the place of the prompt that it is about."""
        return f"{self.where}: {error}" if self.where else str(error)


def read_prompts(flags: Mapping[str, Any]) -> list[Entry]:
    """Return all prompts of a command line: its own, then those of its file. Raises UserError."""
    _check_stdin(flags)
    own = [Entry({**flags, "prompt": _prompt(text)}) for text in flags["prompt"]]
    found = own + (list(_read_file(flags["prompts"], flags)) if flags["prompts"] else [])
    if not found and flags["prompts"]:
        raise UserError(f"--prompts: {_title(flags['prompts'])} has no prompts")
    if not found:
        raise UserError("generate needs a PROMPT, or --prompts FILE; see `tintype generate --help`")
    if len(found) > MAX_PROMPTS:
        raise UserError(f"a run has at most {MAX_PROMPTS} prompts; got {len(found)}")
    return found


def _check_stdin(flags: Mapping[str, Any]) -> None:
    """Raise UserError if several arguments read stdin."""
    users = ["PROMPT"] * list(flags["prompt"]).count(STDIN) + ["--prompts"] * (flags["prompts"] == STDIN)
    users += ["--image"] * (flags["image"] == STDIN) + ["--mask"] * (flags["mask"] == STDIN)
    users += ["--reference"] * list(flags["reference"] or ()).count(STDIN)
    if len(users) > 1:
        raise UserError(f"only one argument may read stdin; got - for {' and '.join(users)}")


def _prompt(text: str) -> str:
    """Return the prompt of an argument; `-` is all of stdin. Raises UserError."""
    if text == STDIN:
        data = read_stdin(4 * MAX_PROMPT)  # a character has at most 4 bytes in UTF-8
        text = _decode(data, "stdin").strip()
        if not text:
            raise UserError("PROMPT: stdin is empty")
    try:
        return parse_utf8(text)
    except ArgumentTypeError as error:
        raise UserError(f"PROMPT {error}") from error


def _title(name: str) -> str:
    return "stdin" if name == STDIN else name


def _read_file(name: str, flags: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield the prompts of a file. Raises UserError."""
    title = _title(name)
    for number, line in enumerate(_decode(_read_bytes(name), title).split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        where = f"{title}:{number}"
        try:
            yield Entry({**flags, **_parse_line(text)}, where)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


def _read_bytes(name: str) -> bytes:
    if name == STDIN:
        return read_stdin(MAX_FILE)
    try:
        with parse_path(name).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UserError(f"--prompts: cannot read {name}: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise UserError(f"--prompts: {name} must have at most {MAX_FILE} bytes")
    return data


def _decode(data: bytes, title: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{title}:{line}: the text must be UTF-8") from None


def _parse_line(text: str) -> dict[str, Any]:
    """Return the prompt of a line, with values of flags if it is a JSON object. Raises UserError."""
    if text.startswith("--"):
        raise UserError(f"a line is a prompt or a JSON object, not flags; write for example {EXAMPLE}")
    if not _OBJECT.match(text):
        return {"prompt": text}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"it is not JSON ({error}); write for example {EXAMPLE}") from None
    values = {key.replace("-", "_"): value for key, value in found.items()}
    if not isinstance(values.get("prompt"), str) or not values["prompt"].strip():
        raise UserError(f'it needs "prompt", a text; write for example {EXAMPLE}')
    return {key: value if key == "prompt" else _flag_value(key, value) for key, value in values.items()}


def _flag_value(key: str, value: object) -> str | list[str]:
    """Return the value of a flag as on the command line. Raises UserError."""
    if key not in FLAGS:
        close = get_close_matches(key, [*FLAGS, "prompt"], 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are: prompt, {', '.join(FLAGS)}"
        raise UserError(f"unknown key {key!r}; {hint}")
    values = value if isinstance(value, list) and FLAGS[key] else [value]
    texts = [_text(key, each) for each in values]
    if key in FILES and STDIN in texts:
        raise UserError(f"{key!r} must be a file; only the command line's may be - for stdin")
    return texts if FLAGS[key] else texts[0]


def _text(key: str, value: object) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    expected = "a text or a list of texts" if FLAGS[key] else "a text or a number"
    raise UserError(f"{key!r} must be {expected}; got {json.dumps(value)[:100]}")


def single_words(prompts: Sequence[str]) -> bool:
    """Return whether several arguments look like the words of one prompt without quotes."""
    return len(prompts) > 1 and not any(" " in prompt for prompt in prompts)
