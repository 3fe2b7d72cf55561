"""SentencePiece tokenizers: control tokens, padding, and typed control tokens as text."""

from __future__ import annotations

import io
import json
import shutil
from shutil import copyfile
from typing import TYPE_CHECKING, Any

import pytest
from sentencepiece import SentencePieceTrainer

from tests.support.complexity import check_linear
from tests.support.models.odd import odd_strings
from tests.support.peers.environment import token_ids
from tintype.service.models.family import Padding, TextEncoderSpec
from tintype.service.models.files import ModelFileError
from tintype.service.models.text.added_tokens import CONFIG
from tintype.service.models.text.chat_templates import frame_prompt
from tintype.service.models.text.sentencepiece_tokenizer import (
    read_chatglm,
    read_gemma,
    read_llama,
    read_t5,
)
from tintype.service.models.text.tokenizers import CHATGLM

if TYPE_CHECKING:
    from pathlib import Path

CORPUS = ["the quick brown fox jumps over the lazy dog", "a serene mountain lake at sunset , <pad> </s> <bos>"] * 20


def train(path: Path, **options: Any) -> None:
    model = io.BytesIO()
    usual = {"vocab_size": 400, "hard_vocab_limit": False, "minloglevel": 2, "pad_id": 0, "eos_id": 1}
    SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=model, **usual | options)
    path.write_bytes(model.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pieces")
    train(folder / "spiece.model", unk_id=2, bos_id=-1)
    names = {"bos_piece": "<bos>", "eos_piece": "<eos>", "pad_piece": "<pad>"}
    train(folder / "tokenizer.model", bos_id=2, unk_id=3, model_type="bpe", byte_fallback=True, **names)
    (folder / "glm").mkdir()
    kept = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    options = {"model_type": "bpe", "byte_fallback": True, "pad_id": -1, "unk_id": 0, "bos_id": 1, "eos_id": 2}
    train(folder / "glm" / "tokenizer.model", **options, **kept)
    (folder / "llama").mkdir()
    copyfile(folder / "glm" / "tokenizer.model", folder / "llama" / "tokenizer.model")
    added = {str(400 + place): {"content": f"<extra_id_{place}>", "special": True} for place in range(2)}
    config = {"add_bos_token": False, "add_eos_token": True, "pad_token": "<s>", "bos_token": "<s>", "legacy": False}
    controls = {"eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}
    (folder / "llama" / CONFIG).write_text(json.dumps({**config, **controls, "added_tokens_decoder": added}))
    return folder


def test_t5_ends_a_text(folder: Path) -> None:
    """T5's ids are words, the end token and padding; the mask excludes padding."""
    tokenizer = read_t5(folder, 12)
    ids = tokenizer.ids("a lake")
    tokens = tokenizer.frame(ids)
    assert tokens.ids == (*ids, 1, *[0] * (11 - len(ids)))
    assert (tokens.count, tokens.first, tokens.used) == (len(ids), 0, len(ids) + 1)
    assert tokens.mask.sum() == len(ids) + 1


def test_gemma_begins_a_text(folder: Path) -> None:
    """Gemma's ids are the begin token, words and padding; more with `longer`."""
    tokenizer = read_gemma(folder, 12)
    ids = tokenizer.ids("a lake")
    assert tokenizer.frame(ids).ids == (2, *ids, *[0] * (11 - len(ids)))
    assert len(tokenizer.frame(ids, 5).ids) == 17


def test_chatglm_begins_a_text(folder: Path) -> None:
    """ChatGLM's ids are its two control tokens, behind the vocabulary, and words; unknown pads."""
    tokenizer = read_chatglm(folder / "glm", 12)
    begin = tokenizer.own_controls[0]
    assert begin[1] - begin[0] == 2
    ids = tokenizer.ids("a lake")
    assert tokenizer.frame(ids).ids == (*begin, *ids, *[0] * (10 - len(ids)))
    assert max(tokenizer.ids("a [gMASK] sop <|user|> [MASK] b")) < begin[0] - 1


def test_llama_ends_a_text_if_its_configuration_says_so(folder: Path) -> None:
    """Pile-T5: words, the end token, and the begin token as padding."""
    tokenizer = read_llama(folder / "llama", 12)
    ids = tokenizer.ids("a lake")
    assert tokenizer.frame(ids).ids == (*ids, 2, *[1] * (11 - len(ids)))


def test_llama_puts_one_space_before_a_text(folder: Path) -> None:
    """Not before what follows an added token; the fast class takes a space that is there for it."""
    slow, fast = (read_llama(folder / "llama", 64, fast=fast) for fast in (False, True))
    assert slow.ids("a lake") == fast.ids("a lake") == fast.ids(" a lake") != slow.ids(" a lake")
    after = slow.ids("a<extra_id_1>fox")
    assert after[: after.index(401)] == slow.ids("a")
    assert after[after.index(401) + 1 :] != slow.ids("fox")
    assert fast.ids("") == slow.ids("") == []
    assert len(fast.ids(" ")) == 1


def test_llama_of_the_older_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    """It would put spaces elsewhere; the error names the setting."""
    copyfile(folder / "llama" / "tokenizer.model", tmp_path / "tokenizer.model")
    (tmp_path / CONFIG).write_text(json.dumps({"legacy": True}))
    with pytest.raises(ModelFileError, match="legacy must be False, not True"):
        read_llama(tmp_path, 8)


@pytest.mark.torch
def test_llama_equals_the_reference(folder: Path) -> None:
    """None of 2,000 difficult strings gives other ids than transformers' tokenizer of the same folder."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.LlamaTokenizer.from_pretrained(folder / "llama")
    ours = read_llama(folder / "llama", 512, fast=True)
    for text in odd_strings(2000):
        assert [*ours.ids(text), 2] == theirs(text, split_special_tokens=True).input_ids, ascii(text)
    for text in ("<extra_id_1>", "a<extra_id_0>fox <extra_id_1> fox", " <extra_id_0>", "<extra_id_0>  b"):
        assert [*ours.ids(text), 2] == theirs(text).input_ids, ascii(text)


@pytest.mark.parametrize("read", [read_t5, read_gemma])
def test_long_texts_are_cut_off(folder: Path, read: Any) -> None:
    """The result has its length and keeps its control token."""
    tokenizer = read(folder, 8)
    tokens = tokenizer.frame(tokenizer.ids("the quick brown fox " * 10))
    assert len(tokens.ids) == 8
    assert tokens.count == tokenizer.room == 7
    assert (tokens.ids[-1] == 1) is (read is read_t5)


@pytest.mark.parametrize("typed", ["</s>", "<pad>", "<bos>", "<eos>", "<extra_id_0>", "<unk>", "<start_of_turn>"])
@pytest.mark.parametrize("read", [read_t5, read_gemma])
def test_typed_control_tokens_are_text(folder: Path, read: Any, typed: str) -> None:
    """They neither begin nor end a text."""
    assert not {0, 1} & set(read(folder, 64).ids(f"a lake {typed} a fox"))


@pytest.mark.torch
def test_odd_strings_equal_the_reference(folder: Path, tmp_path: Path) -> None:
    """None of 2,000 difficult strings gives other ids than the tokenizers of transformers 4, of the same files.

    T5's published folders name the slow tokenizer or the fast one; the ids are compared with those of the slow one.
    """
    texts, options = odd_strings(2000), {"split_special_tokens": True}
    shutil.copy(folder / "spiece.model", tmp_path)  # transformers reads any other model in the folder instead
    theirs_t5 = token_ids("T5Tokenizer", tmp_path, texts, **options)
    theirs_gemma = token_ids("GemmaTokenizer", folder, texts, **options)
    ours_t5, ours_gemma = read_t5(folder, 512), read_gemma(folder, 512)
    for text, t5, gemma in zip(texts, theirs_t5, theirs_gemma, strict=True):
        assert [*ours_t5.ids(text), 1] == t5, ascii(text)
        assert [2, *ours_gemma.ids(text)] == gemma, ascii(text)


@pytest.mark.torch
def test_chatglm_equals_the_reference(folder: Path) -> None:
    """2,000 difficult strings have the ids, the mask and the positions of diffusers' ChatGLMTokenizer."""
    kolors = pytest.importorskip("diffusers.pipelines.kolors.tokenizer")
    theirs = kolors.ChatGLMTokenizer(str(folder / "glm" / "tokenizer.model"))
    spec = TextEncoderSpec(tokenizer_kind=CHATGLM, padding=Padding(left=True))
    ours = read_chatglm(folder / "glm", 24)
    for text in odd_strings(2000):
        tokens, _ = frame_prompt(spec, ours, [[(text, 1.0)]])
        expected = theirs(text, padding="max_length", max_length=24, truncation=True)
        assert list(tokens.ids) == expected.input_ids, ascii(text)
        assert tokens.mask.tolist() == expected.attention_mask
        assert tokens.position_ids.tolist() == expected.position_ids


def test_damaged_files_are_named(folder: Path) -> None:
    """The error names the file that is not a SentencePiece model."""
    (folder / "broken").mkdir()
    (folder / "broken" / "spiece.model").write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=r"broken/spiece\.model cannot be read"):
        read_t5(folder / "broken", 8)


@pytest.mark.parametrize("read", [read_t5, read_gemma, read_llama])
@pytest.mark.parametrize("worst", ["a", "a ", " ", "\u0301\u0323", "\u2581", "</s>", "\n", "<extra_id_0>"])
def test_the_worst_text_takes_linear_work(folder: Path, read: Any, worst: str) -> None:
    """Tokenizing twice the text takes at most about twice the work."""
    place = folder / "llama" if read is read_llama else folder
    check_linear(read(place, 300).ids, lambda n: worst * (n // len(worst)))
