"""The tokenizers for files without one: CLIP's merges, and two ways of padding."""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING

import pytest

from tests.support.models.odd import odd_strings
from tests.support.peers.environment import token_ids
from tintype.service.models.checkpoint.elsewhere import TOKENIZERS
from tintype.service.models.files import ModelFileError
from tintype.service.models.text.clip_tokenizer import ClipTokenizer
from tintype.service.models.text.tokenizers import CLIP

if TYPE_CHECKING:
    from pathlib import Path

BEGIN, END = 49406, 49407


@pytest.mark.parametrize(("name", "pad"), [("clip", END), ("clip_zero_padded", 0)])
def test_known_ids(name: str, pad: int) -> None:
    """A known prompt has the published ids, and the padding of its model."""
    ids = ClipTokenizer.from_folder(TOKENIZERS / name)("a photo of a cat").ids
    assert ids == (BEGIN, 320, 1125, 539, 320, 2368, END, *(pad,) * 70)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "pad"), [("clip", "<|endoftext|>"), ("clip_zero_padded", "!")])
def test_odd_strings(name: str, pad: str, tmp_path: Path) -> None:
    """The ids are those of transformers' slow tokenizer of the same merges, for difficult strings too."""
    convert_slow_tokenizer = pytest.importorskip("transformers.convert_slow_tokenizer")
    merges = lzma.decompress((TOKENIZERS / "clip_merges.txt.xz").read_bytes()).decode()
    letters = list(convert_slow_tokenizer.bytes_to_unicode().values())
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *(line.replace(" ", "") for line in merges.splitlines()),
    ]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + merges, "utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": pad}), "utf-8")
    own = ClipTokenizer.from_folder(TOKENIZERS / name)
    texts = [text for text in odd_strings(400) if "<|" not in text]
    theirs = token_ids("CLIPTokenizer", tmp_path, texts, padding="max_length", truncation=True, max_length=77)
    assert [own(text).ids for text in texts] == [tuple(ids) for ids in theirs]


def test_folders_are_complete() -> None:
    """The folders have what the kind of tokenizer requires."""
    assert [CLIP.missing(TOKENIZERS / name) for name in ("clip", "clip_zero_padded")] == [[], []]


def test_licence() -> None:
    """The licence of the merges is next to them."""
    text = (TOKENIZERS / "LICENSE").read_text("utf-8")
    assert "Copyright (c) 2021 OpenAI" in text
    assert "The above copyright notice and this permission notice shall be included" in text


@pytest.mark.parametrize("content", [b"", b"no archive", lzma.compress(b"one\n"), lzma.compress(b"\xff \xff\n")])
def test_damaged_merges(tmp_path: Path, content: bytes) -> None:
    """A damaged file of merges is named."""
    (tmp_path / "clip_merges.txt.xz").write_bytes(content)
    (tmp_path / "clip").mkdir()
    with pytest.raises(ModelFileError, match=r"clip_merges\.txt\.xz is damaged"):
        ClipTokenizer.from_folder(tmp_path / "clip")
