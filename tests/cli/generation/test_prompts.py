"""The prompts of `tintype generate`: from arguments, a file of lines and JSON objects, and stdin."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from tintype.cli.commands import build_parser
from tintype.cli.errors import UserError
from tintype.cli.generation.prompts import Entry, read_prompts
from tintype.cli.generation.runner import check
from tintype.cli.images.inputs import read_stdin

if TYPE_CHECKING:
    from pathlib import Path


def prompts(*words: str) -> list[Entry]:
    return read_prompts(vars(build_parser().parse_args(["generate", *words])))


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """The bytes that stdin has."""
    data = io.BytesIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
    read_stdin.cache_clear()
    return data


LINES = """\ufeff# a comment

  a lake, {morning|evening} light
{"prompt": "a \\"red\\" house", "steps": 4, "guidance": 2.5, "clip-skip": 1, "lora": ["film:0.8", "pen"]}
# another
{"prompt": "a tree", "image_prompt": "ip=a.png", "negative": "fog", "output": "tree.jpg"}\r
"""


def test_lines_and_objects(tmp_path: Path) -> None:
    """Lines are prompts, objects set flags of one prompt, and the command line's flags apply to all others."""
    file = tmp_path / "prompts.txt"
    file.write_text(LINES, "utf-8")
    first, lake, house, tree = prompts("first", "--prompts", str(file), "--steps", "9", "--lora", "base")
    assert [entry.prompt for entry in (first, lake)] == ["first", "a lake, {morning|evening} light"]
    assert (house.prompt, house.where) == ('a "red" house', f"{file}:4")
    assert [entry.values["steps"] for entry in (first, lake, house, tree)] == ["9", "9", "4", "9"]
    assert (house.values["guidance"], house.values["clip_skip"]) == ("2.5", "1")
    assert (house.values["lora"], tree.values["lora"]) == (["film:0.8", "pen"], ["base"])
    assert (tree.values["image_prompt"], tree.values["output"]) == (["ip=a.png"], "tree.jpg")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"prompt": "x", "stepz": 3}', "unknown key 'stepz'; did you mean 'steps'?"),
        ('{"prompt": "x", "qqq": 3}', "unknown key 'qqq'; known are: prompt, size, steps, "),
        ('{"prompt": "x", "steps": true}', "'steps' must be a text or a number; got true"),
        ('{"prompt": "x", "reference": [null]}', "'reference' must be a text or a list of texts; got null"),
        ('{"prompt": "x"', "it is not JSON"),
        ('{"a":' + "[" * 100_000, "it is not JSON"),
        ('{"steps": 3}', 'it needs "prompt", a text'),
        ('{"prompt": " "}', 'it needs "prompt", a text'),
        ('{"prompt": "x", "image": "-"}', "'image' must be a file; only the command line's may be - for stdin"),
        ("--steps 3 a lake", "a line is a prompt or a JSON object, not flags"),
        ('{"prompt": "x", "steps": 151}', "--steps must be 1 to 150; got 151"),
        ('{"prompt": "x", "seed": 1.5}', "--seed must be an integer; got '1.5'"),
        ('{"prompt": "x", "image": "/none.png"}', "--image: cannot read /none.png"),
        ('{"prompt": "x", "output": "x.gif"}', "an image file must end in"),
        ('{"prompt": "\\ud800"}', "utf-8"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, expected: str) -> None:
    """An error names the file, the line and what would be right, before anything is made."""
    file = tmp_path / "p.txt"
    file.write_text(f"a lake\n\n{line}\n", "utf-8")
    with pytest.raises(UserError) as raised:
        check(prompts("--prompts", str(file)))
    assert str(raised.value).startswith(f"{file}:3: ")
    assert expected in str(raised.value)


def test_several_faults_are_counted(tmp_path: Path) -> None:
    """The first fault is named, with the number of the others."""
    file = tmp_path / "p.txt"
    file.write_text('a lake\n{"prompt": "x", "steps": 0}\n{"prompt": "y", "count": 11}\n', "utf-8")
    with pytest.raises(UserError, match=r"p.txt:2: --steps must be .*; 1 more prompts have faults"):
        check(prompts("--prompts", str(file)))


def test_a_file_is_bounded(tmp_path: Path) -> None:
    """Files that are too large, or have too many prompts, and text that is not UTF-8 are refused."""
    file = tmp_path / "p.txt"
    file.write_bytes(b"a\n" * 10_001)
    with pytest.raises(UserError, match="at most 10000 prompts; got 10001"):
        prompts("--prompts", str(file))
    file.write_bytes(b" " * (16 * 2**20 + 1))
    with pytest.raises(UserError, match="must have at most 16777216 bytes"):
        prompts("--prompts", str(file))
    file.write_bytes(b"a lake\n\xff\xfe\n")
    with pytest.raises(UserError, match=r"p.txt:2: the text must be UTF-8"):
        prompts("--prompts", str(file))


def test_stdin(stdin: io.BytesIO) -> None:
    """`-` reads one prompt of several lines, and `--prompts -` several prompts."""
    stdin.write("a lake\nat sunset, blåt\n".encode())
    stdin.seek(0)
    assert [entry.prompt for entry in prompts("-")] == ["a lake\nat sunset, blåt"]
    stdin.seek(0)
    read_stdin.cache_clear()
    assert [(entry.prompt, entry.where) for entry in prompts("--prompts", "-")] == [
        ("a lake", "stdin:1"),
        ("at sunset, blåt", "stdin:2"),
    ]


def test_an_image_from_stdin(stdin: io.BytesIO) -> None:
    """`--image -` sends the bytes of stdin, with each of several prompts."""
    stdin.write(b"image")
    stdin.seek(0)
    works = check(prompts("one", "--image", "-", "two"))
    assert [work.request and work.request.image for work in works] == [b"image", b"image"]


def test_prompts_may_surround_flags() -> None:
    """Prompts may be given before and after flags, and begin with a hyphen after `--`."""
    assert [entry.prompt for entry in prompts("one", "--steps", "4", "two", "-q")] == ["one", "two"]
    assert [entry.prompt for entry in prompts("--steps", "4", "--", "-one", "--two")] == ["-one", "--two"]
