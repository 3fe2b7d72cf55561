"""CLIP's tokenizer gives the ids of the published reference for any text."""

from __future__ import annotations

import json
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.support.models.odd import odd_strings, repeatable
from tests.support.peers.environment import token_ids
from tintype.service.models.files import ModelFileError
from tintype.service.models.text.clip_tokenizer import ClipTokenizer, clean, join_pairs, split_words

if TYPE_CHECKING:
    from pathlib import Path

BOS, EOS = 532, 533

# What transformers' slow CLIPTokenizer 4.57.6 with ftfy 6.3 gives for the vocabulary of the fixture, 16 tokens long.
GOLDEN = [
    ("a cat", [353, 513]),
    ("  The\tDOG\n", [518, 515]),
    ("it's", [105, 372, 39, 371]),
    ("dog's 12 !!!", [515, 39, 371, 305, 306, 33, 524]),
    ("caf\xe9", [512, 102, 525]),
    ("cafe\u0301", [512, 102, 525]),
    ("&lt;b&gt; \u201cq\u201d", [316, 354, 318, 290, 369, 290]),
    ("\u6771", [230, 157, 433]),
    ("\u03a3\u03b1\u03a3", [207, 131, 206, 177, 207, 386]),
    ("aaaaa", [521, 522]),
    ("\U0001f3a8", [240, 159, 142, 424]),
    ("", []),
    ("\u0345cat", [513]),
    ("a\x1cb", [97, 354]),
]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> ClipTokenizer:
    return ClipTokenizer.from_folder(tokenizer_folder)


@pytest.mark.parametrize(("text", "ids"), GOLDEN)
def test_ids_are_those_of_the_reference(tokenizer: ClipTokenizer, text: str, ids: list[int]) -> None:
    """Each kind of text gives the reference's ids: case, space, accents, entities, quotes, emoji, no text."""
    tokens = tokenizer(text)
    assert tokens.count == len(ids)
    assert tokens.ids == (BOS, *ids, EOS, *[EOS] * (14 - len(ids)))


def test_long_prompts_are_cut_off(tokenizer: ClipTokenizer) -> None:
    """The prompt is cut off before the end token; `count` is of the tokens that are kept."""
    tokens = tokenizer("cat " * 30)
    assert len(tokens.ids) == 16
    assert tokens.ids[-1] == EOS
    assert tokens.count == 14


@pytest.mark.parametrize("typed", ["<|endoftext|>", "<|startoftext|>", "a <|endoftext|> b", "<|ENDOFTEXT|>"])
def test_typed_control_tokens_are_text(tokenizer: ClipTokenizer, typed: str) -> None:
    """A control token that a user types is text, so a prompt cannot end itself early."""
    assert not {BOS, EOS} & set(tokenizer.ids(typed))
    assert list(split_words("<|endoftext|>")) == ["<|", "endoftext", "|>"]


def test_the_longest_word_is_fast(tokenizer: ClipTokenizer) -> None:
    """The longest prompt allowed, as one word, does not delay the device thread."""
    letters = repeatable(0)
    word = "".join(letters.choice("abcdefghijklmnopqrst") for _ in range(32_000))
    start = time.process_time()
    assert tokenizer(word).count == 14
    assert time.process_time() - start < 2


def test_join_pairs_equals_the_definition() -> None:
    """Pairs are joined as the definition says: repeatedly all neighbours of the lowest rank, from the left."""
    random_ = repeatable(1)
    symbols = "abc"
    pairs = [(a, b) for a in symbols for b in symbols] + [(a + b, c) for a in symbols for b in symbols for c in symbols]
    for _ in range(300):
        ranks = {pair: rank for rank, pair in enumerate(random_.sample(pairs, 9))}
        earlier = {(*pair,): rank for pair, rank in ranks.items()}
        ranks = {pair: rank for pair, rank in ranks.items() if len(pair[0]) == 1 or earlier.get((*pair[0],), 99) < rank}
        word = random_.choices(symbols, k=random_.randint(1, 30))
        assert join_pairs(list(word), ranks.get) == _join_by_hand(list(word), ranks)


def _join_by_hand(parts: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    while True:
        known = [pair for pair in pairwise(parts) if pair in ranks]
        if not known:
            return parts
        best, joined, at = min(known, key=ranks.__getitem__), [], 0
        while at < len(parts):
            hit = tuple(parts[at : at + 2]) == best
            joined.append("".join(best) if hit else parts[at])
            at += 2 if hit else 1
        parts = joined


def test_threads_may_share_a_tokenizer(tokenizer_folder: Path) -> None:
    """Threads that tokenize at the same time get the ids of a single thread."""
    tokenizer = ClipTokenizer.from_folder(tokenizer_folder)
    texts = [f"cat {i} dog {i * 7} start the thing" for i in range(400)]
    alone = [ClipTokenizer.from_folder(tokenizer_folder)(text) for text in texts[:5]]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(tokenizer, texts))
    assert together[:5] == alone
    assert together == [tokenizer(text) for text in texts]


def test_padding_is_read_from_the_folder(tokenizer_folder: Path, tmp_path: Path) -> None:
    """Stable Diffusion 2 pads with `!`, as an older kind of file says; a typed `!` is the same token."""
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((tokenizer_folder / name).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 8, "pad_token": "<|endoftext|>"}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "!"}}))
    tokenizer = ClipTokenizer.from_folder(tmp_path)
    assert tokenizer("cat").ids[3:] == (33,) * 5
    assert list(tokenizer.ids("!cat!!")) == [33, *tokenizer.ids("cat"), 33, 33]


def test_tokenizer_json_replaces_two_files(tokenizer: ClipTokenizer, tokenizer_folder: Path, tmp_path: Path) -> None:
    """A folder with only tokenizer.json, as newer exports write it, gives the same ids."""
    merges = [line for line in (tokenizer_folder / "merges.txt").read_text("utf-8").split("\n")[1:] if line]
    vocab = json.loads((tokenizer_folder / "vocab.json").read_text("utf-8"))
    content = {"model": {"type": "BPE", "vocab": vocab, "merges": [merge.split() for merge in merges]}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert ClipTokenizer.from_folder(tmp_path, 16)("a cat starts") == tokenizer("a cat starts")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("merges.txt", None, "merges.txt is missing"),
        ("merges.txt", "#version: 0.2\na b c\n", "merges.txt must hold two tokens on each line"),
        ("vocab.json", "{", "vocab.json is not JSON"),
        ("vocab.json", '{"a": 1}', ": the vocabulary has no '<|startoftext|>'"),
    ],
)
def test_damaged_folders_are_named(
    tokenizer_folder: Path, tmp_path: Path, name: str, content: str | None, problem: str
) -> None:
    """The error names the folder and the file."""
    for file in tokenizer_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelFileError, match=problem.replace("|", r"\|")) as caught:
        ClipTokenizer.from_folder(tmp_path)
    assert str(caught.value).startswith(tmp_path.name)


# The words of the slow class, without its control tokens: typed control tokens are text.
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@pytest.mark.torch
def test_odd_strings_equal_the_reference(tokenizer: ClipTokenizer, tokenizer_folder: Path) -> None:
    """None of 2,000 difficult strings gives other ids than the slow tokenizer of transformers 4."""
    texts = odd_strings(2000)
    options = {"pattern": PATTERN, "split_special_tokens": True}
    for text, ids in zip(texts, token_ids("CLIPTokenizer", tokenizer_folder, texts, **options), strict=True):
        assert [BOS, *tokenizer.ids(text), EOS] == ids, ascii(text)
        assert tokenizer(text).ids == (*ids[: min(15, len(ids) - 1)], *[EOS] * max(1, 17 - len(ids))), ascii(text)


@pytest.mark.torch
def test_typed_padding_tokens_equal_the_reference(tokenizer_folder: Path, tmp_path: Path) -> None:
    """With `!` as padding, as in Stable Diffusion 2, odd strings give the reference's ids."""
    for file in tokenizer_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 16, "pad_token": "!"}))
    tokenizer, texts = ClipTokenizer.from_folder(tmp_path), [text for text in odd_strings(500) if "<|" not in text]
    options = {"pattern": PATTERN, "padding": "max_length", "truncation": True, "max_length": 16}
    expected = token_ids("CLIPTokenizer", tmp_path, texts, **options)
    assert [list(tokenizer(text).ids) for text in texts] == expected


@pytest.mark.torch
def test_every_character_splits_as_in_the_reference() -> None:
    """All assigned characters, alone and between others, are in the reference's classes."""
    regex = pytest.importorskip("regex")
    pattern = regex.compile(PATTERN, regex.IGNORECASE)
    points = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) not in ("Cn", "Cs")]
    for at in range(0, len(points), 64):
        some = points[at : at + 64]
        text = " ".join(f"{c} a{c}b !{c}1 '{c}" for c in some).lower()
        assert pattern.findall(text) == list(split_words(text)), [hex(ord(c)) for c in some]


def test_texts_are_cleaned() -> None:
    """Entities, mojibake, quotes and space are repaired first."""
    assert clean("  The \xa0 &lt;B&gt; \u201cl\xc3\xa9ger\u201d\n") == 'the <b> "l\xe9ger"'
