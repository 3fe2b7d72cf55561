"""Names of files that `tintype generate` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.cli.errors import UserError
from tintype.cli.generation.outputs import Output, Place, slug
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = pb.Image(index=1, seed=42, data=b"new", width=64, height=32)
PLACE = Place(index=6, before=10, total=20)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("x.png", "x-12.png"),
        ("x", "x-12.png"),
        ("{index:03}-{slug}-{seed}.png", "007-a-red-house-42.png"),
        ("{index}_{image:2}_{width}x{height}.webp", "7_ 2_64x32.webp"),
        ("{slug}/{{{seed}}}.jpg", "a-red-house/{42}.jpg"),
        ("{seed}", "42.png"),
    ],
)
def test_names(tmp_path: Path, pattern: str, expected: str) -> None:
    """A name is numbered over all images of a run; a pattern is filled, and its folders are made."""
    path = Output(str(tmp_path / pattern), prompts=5).write(IMAGE, "A red house!", PLACE)
    assert str(path.relative_to(tmp_path)) == expected
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("  A  «Blåbær» & 猫 ", "a-blåbær-猫"),
        ("a_b:c\\d\0e", "a-b-c-d-e"),
        ("!!!", "image"),
        ("word " * 1000, "word-" * 9 + "wor"),
    ],
)
def test_slugs_are_safe(prompt: str, expected: str) -> None:
    """A slug has letters, digits and hyphens only, and a bounded length."""
    assert slug(prompt) == expected


def test_a_file_is_not_replaced_by_accident(tmp_path: Path) -> None:
    """Only a file that is named for one prompt is replaced; others get a number, unless --overwrite is given."""
    file = tmp_path / "x.png"
    one = Place(0, 0, 1)
    for prompts, overwrite, expected in ((1, None, "x.png"), (2, None, "x-2.png"), (1, False, "x-3.png")):
        file.write_bytes(b"old")
        written = Output(str(file), prompts=prompts, overwrite=overwrite).write(IMAGE, "", one)
        assert (written.name, written.read_bytes()) == (expected, b"new")
        assert file.read_bytes() == (b"new" if expected == "x.png" else b"old")
    assert Output(str(tmp_path / "{slug}.png")).write(IMAGE, "x", one).name == "x-4.png"
    assert Output(str(tmp_path / "{slug}.png"), overwrite=True).write(IMAGE, "x", one).name == "x.png"


def test_images_of_a_run_do_not_replace_each_other(tmp_path: Path) -> None:
    """A pattern that gives several images one name numbers them, even with --overwrite."""
    output = Output(str(tmp_path / "{slug}.png"), prompts=3, overwrite=True)
    assert [output.write(IMAGE, "x", PLACE).name for _ in range(3)] == ["x.png", "x-2.png", "x-3.png"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that cannot be saved leaves no empty file of its name."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match="No space left on device"):
        Output(str(tmp_path / "{seed}.png")).write(IMAGE, "x", PLACE)
    assert list(tmp_path.iterdir()) == []
