"""Text and JSON of a model's folder are read, or refused with the name of the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tintype.service.models import files
from tintype.service.models.files import ModelFileError, label, read_json, read_text


@pytest.mark.parametrize(("path", "name"), [("a/b/c.json", "b/c.json"), ("c.json", "c.json"), ("/c.json", "c.json")])
def test_a_label_has_the_folder_if_there_is_one(path: str, name: str) -> None:
    """A file of the working folder is not shown as one of the root."""
    assert label(Path(path)) == name


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", '{"a": nul}'])
def test_other_texts_are_not_json(tmp_path: Path, text: str) -> None:
    """Neither depth nor the length of a number leads to another error."""
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ModelFileError, match=r"/config\.json is not JSON: "):
        read_json(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    """Reading it would wait for a writer that never comes."""
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ModelFileError, match=r"/config\.json must be a file$"):
        read_json(tmp_path / "config.json")


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is that of the file's size."""
    monkeypatch.setattr(files, "MAX_TEXT", 4)
    path = tmp_path / "merges.txt"
    path.write_text("four")
    assert read_text(path) == "four"
    path.write_text("fives")
    with pytest.raises(ModelFileError, match=r"/merges\.txt must have at most 4 bytes, not 5"):
        read_text(path)
