"""CLIP's byte-level BPE in pure Python: the ids of the published Stable Diffusion tokenizer.

Reference: the slow `CLIPTokenizer` of transformers 4 with ftfy installed, which published pipelines name.
transformers 5 reads their files by its fast class: the ids differ for text that ftfy repairs. A text is

1. repaired by ftfy (mojibake, HTML entities, quotes, control characters, NFC), with single spaces, in lower case;
2. split into contractions, runs of letters, single digits, and runs of any other characters except space;
3. merged word by word: the word's UTF-8 bytes are joined pair by pair, the pair with the lowest rank first.

Added tokens are found before step 1 (`token_splitter`), and so is a padding token that can be typed, such as the `!` of
Stable Diffusion 2. A folder whose model_index.json names `CLIPTokenizerFast` is read as that class reads it: without
ftfy, and without case folding in step 2.
One rule differs from the reference: `<|startoftext|>` and `<|endoftext|>` typed by a user are text, never control
tokens. Unicode categories are those of Python's unicodedata.
"""

from __future__ import annotations

import heapq
import lzma
import re
import unicodedata
from functools import cache, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from ..files import ModelFileError, read_json, read_text
from .added_tokens import read_added_tokens
from .repair import limit_marks, repaired_lines
from .token_splitter import TokenSplitter
from .tokenizer import Tokenizer, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_END_OF_WORD = "</w>"
_LONG_WORD = 128  # characters; longer words are not cached, because one may be as long as a whole prompt

# What the reference's pattern leaves out: Unicode's White_Space, and U+0345, a letter by IGNORECASE but not by \p{L}.
# Python's \s also has U+001C to U+001F.
_SPACE = frozenset(
    "\t\n\v\f\r \x85\xa0\u0345\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
)
# Case is folded as the reference's IGNORECASE does: U+017F is a long s.
_CONTRACTION = re.compile("'(?:[s\u017ftmd]|re|ve|ll)")
_FAST_CONTRACTION = re.compile("'(?:[stmd]|re|ve|ll)")
# The slow class reads this many lines of merges.txt, after the first.
_MAX_MERGES = 49152 - 256 - 2
_RUN = re.compile("L+|N|O+")
# CLIP's own merges, in a file that tokenizers in the same folder share; the vocabulary follows from them.
SHARED_MERGES = "../clip_merges.txt.xz"
_MAX_TEXT = 2**20  # bytes of the merges


class ClipTokenizer(Tokenizer):
    """Turns text into the ids of one vocabulary; may be shared between threads.

    Args:
        vocab: Token to id; holds the control tokens.
        merges: Pairs of tokens that are joined, in the order of their ranks.
        max_tokens: Length of every result; longer texts are cut off.
        splitter: Finds the added tokens.
        controls: Ids of the tokens that begin a text, end it, pad it, and replace unknown ones.
        fast: Whether to read a text as the fast class does.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Iterable[tuple[str, str]],
        *,
        max_tokens: int,
        splitter: TokenSplitter,
        controls: tuple[int, int, int, int],
        fast: bool = False,
    ) -> None:
        bos, eos, pad, self._unknown = controls
        super().__init__(splitter, max_tokens, before=(bos,), after=(eos,), pad=pad)
        self._vocab, self._fast = vocab, fast
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._cached_word_ids = lru_cache(16384)(self._word_ids)

    @classmethod
    def from_folder(
        cls, folder: Path, max_tokens: int | None = None, *, fast: bool = False, expands: bool = False
    ) -> Self:
        """Read `vocab.json` and `merges.txt`, or `tokenizer.json`, or the merges that the folder's parent has.

        Args:
            folder: The tokenizer's folder.
            max_tokens: Length of a prompt; None means the tokenizer's own.
            fast: Whether to read the files and texts as the fast class does.
            expands: As in `TokenSplitter`.

        Raises:
            ModelFileError: a file is missing or damaged.
        """
        vocab, merges = _tables(folder)
        found = read_added_tokens(folder, vocab.get, len(vocab), fast=fast)
        _check_padding(folder, found.config)
        bos, eos = found.roles.get("bos_token", BOS), found.roles.get("eos_token", EOS)
        names = (bos, eos, found.roles.get("pad_token", EOS), found.roles.get("unk_token", EOS))
        ids = [found.tokens[name].id if name in found.tokens else vocab.get(name) for name in names]
        if None in ids:
            raise ModelFileError(f"{folder.name}: the vocabulary has no {names[ids.index(None)]!r}")
        length = max_tokens or min(int(found.config.get("model_max_length", 77)), 10**6)
        normalize = clean_fast if fast else None
        splitter = TokenSplitter(found.matched(bos, eos), normalize=normalize, expands=expands)
        return cls(vocab, merges, max_tokens=length, splitter=splitter, controls=tuple(ids), fast=fast)  # type: ignore[arg-type]

    def __call__(self, text: str) -> Tokens:
        """Return the ids of a text between control tokens, padded or cut off to `max_tokens`."""
        return self.frame(list(islice(self.ids(text), self.room)))

    def ids(self, text: str) -> Iterator[int]:
        """Yield the ids of a text, without control tokens; lazily."""
        for part in self._splitter(text):
            if isinstance(part, int):
                yield part
                continue
            # Line by line, because only the first tokens of a long text are read.
            for line in (clean_fast(part),) if self._fast else clean_lines(part):
                for word in split_words(line, fast=self._fast):
                    yield from self._word_ids(word) if len(word) > _LONG_WORD else self._cached_word_ids(word)

    def _word_ids(self, word: str) -> tuple[int, ...]:
        letters = byte_letters()
        symbols = [letters[byte] for byte in word.encode("utf-8", "replace")]
        symbols[-1] += _END_OF_WORD
        return tuple(self._vocab.get(symbol, self._unknown) for symbol in join_pairs(symbols, self._ranks.get))


def clean(text: str) -> str:
    """Return a text repaired by ftfy, with single spaces, in lower case."""
    return " ".join(clean_lines(text))


def clean_lines(text: str) -> Iterator[str]:
    """Yield the lines of `clean`."""
    return (" ".join(line.split()).lower() for line in repaired_lines(text))


def clean_fast(text: str) -> str:
    """Return a text as the fast class normalizes it: NFC, single spaces, lower case letter by letter."""
    normal = unicodedata.normalize("NFC", limit_marks(text))
    spaces = {ord(letter): " " for letter in _SPACE - {"\u0345"}}
    single = re.sub(" +", " ", normal.translate(spaces))
    return "".join(map(str.lower, single))


def split_words(text: str, *, fast: bool = False) -> Iterator[str]:
    r"""Yield the words of a cleaned text: `'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+`."""
    classes = "".join(map(_fast_letter_class if fast else _letter_class, text))
    contraction = _FAST_CONTRACTION if fast else _CONTRACTION
    at = 0
    while at < len(text):
        found = contraction.match(text, at) or _RUN.match(classes, at)
        if found:
            yield text[at : found.end()]
        at = found.end() if found else at + 1


def join_pairs(symbols: list[str], rank_of: Callable[[tuple[str, str]], int | None]) -> list[str]:
    """Join neighbours in the order of their rank, leftmost first; `rank_of` returns None for those that stay apart.

    Takes n log n steps, because a prompt may be one long word.
    """
    after = [*range(1, len(symbols)), -1]
    before = [*range(-1, len(symbols) - 1)]
    parts = [*symbols]  # "" for a part that was joined to its left neighbour
    queue: list[tuple[int, int, str, str]] = []

    def offer(left: int, right: int) -> None:
        if left >= 0 and right >= 0 and (rank := rank_of((parts[left], parts[right]))) is not None:
            heapq.heappush(queue, (rank, left, parts[left], parts[right]))

    for left in range(len(parts) - 1):
        offer(left, left + 1)
    while queue:
        _, left, a, b = heapq.heappop(queue)
        right = after[left]
        if right < 0 or parts[left] != a or parts[right] != b:
            continue  # one of the two was joined to another part after it was queued
        parts[left], parts[right], after[left] = a + b, "", after[right]
        if after[left] >= 0:
            before[after[left]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [part for part in parts if part]


@lru_cache(8192)
def _letter_class(character: str) -> str:
    """Return L for letters, N for numbers, a space for characters that are left out, otherwise O."""
    if character in _SPACE:
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "O"


def _fast_letter_class(character: str) -> str:
    return "O" if character == "\u0345" else _letter_class(character)


@cache
def byte_letters() -> list[str]:
    """Return the characters that represent the 256 bytes (GPT-2): printable ones as they are, others from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _tables(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary and the merges, from their two files, from tokenizer.json, or from the shared merges."""
    if not (folder / "vocab.json").exists() and (folder / SHARED_MERGES).exists():
        return _shared_tables(folder / SHARED_MERGES)
    if not (folder / "vocab.json").exists() and (folder / "tokenizer.json").exists():
        model = read_json(folder / "tokenizer.json").get("model", {})
        if not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
            raise ModelFileError(f"{folder.name}/tokenizer.json must hold a BPE model with vocab and merges")
        pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
        return model["vocab"], pairs
    vocab = read_json(folder / "vocab.json")
    lines = read_text(folder / "merges.txt").strip().split("\n")[1 : 1 + _MAX_MERGES]
    pairs = [tuple(line.split()) for line in lines]
    if any(len(pair) != 2 for pair in pairs):
        raise ModelFileError(f"{folder.name}/merges.txt must hold two tokens on each line")
    return vocab, pairs


def _shared_tables(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary and the merges of a file with merges alone.

    The ids are those of CLIP: the bytes, printable ones first; the bytes at the end of a word; the merges; the control
    tokens.
    """
    try:
        text = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(path.read_bytes(), _MAX_TEXT).decode("utf-8")
        pairs = [(left, right) for left, right in map(str.split, text.splitlines())]
    except (OSError, lzma.LZMAError, ValueError) as error:
        raise ModelFileError(f"{path.name} is damaged: {error}") from error
    if len(pairs) != _MAX_MERGES:
        raise ModelFileError(f"{path.name} is damaged: it must have {_MAX_MERGES} merges, not {len(pairs)}")
    letters = sorted(byte_letters())
    words = (letter + _END_OF_WORD for letter in letters)
    tokens = [*letters, *words, *map("".join, pairs), BOS, EOS]
    return {token: number for number, token in enumerate(tokens)}, pairs


def _check_padding(folder: Path, config: Mapping[str, Any]) -> None:
    side = config.get("padding_side", "right")
    if side != "right":
        raise ModelFileError(f"{folder.name}/tokenizer_config.json: padding_side must be right, not {side!r}")
