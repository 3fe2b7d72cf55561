"""Image files that `tintype` writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tintype.cli.errors import UserError
from tintype.cli.images.files import prepare_folder, save

if TYPE_CHECKING:
    from pathlib import Path


def test_save_replaces_the_file(tmp_path: Path) -> None:
    """An image replaces the file of its name, and no other file remains."""
    path = tmp_path / "lake.png"
    path.write_bytes(b"old")
    save(b"new", path)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_leaves_no_partial_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, the existing file stays unchanged, and no partial image remains."""
    path = tmp_path / "lake.png"
    path.write_bytes(b"old")

    def full(part: Path, _: bytes) -> int:
        part.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write .*lake.png: No space left on device"):
        save(b"new", path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    """A pipe or a device is refused: the new file would replace it."""
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"cannot write .*pipe.png: it is not a regular file"):
        prepare_folder(path)
    assert path.is_fifo()
