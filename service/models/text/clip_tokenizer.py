"""CLIP's byte-level BPE in pure Python: the ids that the published Stable Diffusion tokenizer gives.

Reference: the slow `CLIPTokenizer` of transformers with ftfy installed, which published pipelines name. A text is

1. repaired by ftfy (mojibake, HTML entities, quotes, control characters, NFC), its white space made single, lower case;
2. split into contractions, runs of letters, single digits, and runs of anything else but space;
3. each word's UTF-8 bytes are joined pair by pair, the pair with the lowest rank first.

Added tokens are found before all that (`added_tokens`), and so is a padding token that can be typed, such as the `!` of
Stable Diffusion 2. A folder whose model_index.json names `CLIPTokenizerFast` is read as that class reads it: ftfy and
the folding of case in step 2 are left out.
One rule is our own: `<|startoftext|>` and `<|endoftext|>` typed by a user are text like any other, never control.
Unicode categories are those of Python's unicodedata.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from copy import copy
from functools import cache, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from ..files import ModelFileError, read_json, read_text
from . import added_tokens
from .repair import repaired, stream_safe
from .token_splitter import Splitter
from .tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .added_tokens import AddedToken

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_END_OF_WORD = "</w>"
_LONG_WORD = 128  # characters; longer ones are not worth remembering, and may be as long as a whole prompt

# What the reference's pattern leaves out: Unicode's White_Space, and U+0345, a letter by IGNORECASE but not by \p{L}.
# Python's \s has U+001C to U+001F on top.
_SPACE = frozenset(
    "\t\n\v\f\r \x85\xa0\u0345\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
)
# Case is folded as the reference's IGNORECASE does: U+017F is a long s.
_CONTRACTION = re.compile("'(?:[s\u017ftmd]|re|ve|ll)")
_FAST_CONTRACTION = re.compile("'(?:[stmd]|re|ve|ll)")
# The slow class reads so many lines of merges.txt, after the first.
_MOST_MERGES = 49152 - 256 - 2
_RUN = re.compile("L+|N|O+")


class ClipTokenizer:
    """Turns text into the ids of one vocabulary; safe to share between threads.

    Args:
        vocab: Token to id; holds `bos`, `eos` and `pad`.
        merges: Pairs of tokens that are joined, the first ones first.
        max_tokens: Length of every result; what does not fit is cut off.
        splitter: Finds the added tokens.
        controls: Ids of the tokens that begin a text, end it, fill up, and stand for unknown ones.
        fast: Whether to read a text as the fast class does.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Iterable[tuple[str, str]],
        *,
        max_tokens: int,
        splitter: Splitter,
        controls: tuple[int, int, int, int],
        fast: bool = False,
    ) -> None:
        self._vocab, self._splitter, self._fast = vocab, splitter, fast
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._bos, self._eos, self._pad, self._unknown = controls
        self._remembered = lru_cache(16384)(self._word)
        self.max_tokens = max_tokens

    @classmethod
    def from_folder(
        cls, folder: Path, max_tokens: int | None = None, *, fast: bool = False, expands: bool = False
    ) -> Self:
        """Read `vocab.json` and `merges.txt`, or `tokenizer.json`; `max_tokens` None is the tokenizer's own.

        `fast` is the class of transformers, `expands` as in `Splitter`. Raises ModelFileError.
        """
        vocab, merges = _tables(folder)
        found = added_tokens.read(folder, vocab.get, len(vocab), fast=fast)
        _check_padding(folder, found.config)
        bos, eos = found.roles.get("bos_token", BOS), found.roles.get("eos_token", EOS)
        names = (bos, eos, found.roles.get("pad_token", EOS), found.roles.get("unk_token", EOS))
        ids = [found.tokens[name].id if name in found.tokens else vocab.get(name) for name in names]
        if None in ids:
            raise ModelFileError(f"{folder.name}: the vocabulary has no {names[ids.index(None)]!r}")
        length = max_tokens or min(int(found.config.get("model_max_length", 77)), 10**6)
        splitter = Splitter(found.matched(bos, eos), normalize=clean_fast if fast else None, expands=expands)
        return cls(vocab, merges, max_tokens=length, splitter=splitter, controls=tuple(ids), fast=fast)  # type: ignore[arg-type]

    def extended(self, tokens: Iterable[AddedToken]) -> Self:
        """Return the same tokenizer with further added tokens."""
        other = copy(self)
        other._splitter = self._splitter.extended(tokens)  # noqa: SLF001
        return other

    @property
    def added(self) -> tuple[AddedToken, ...]:
        """The added tokens that are found in a text."""
        return self._splitter.tokens

    @property
    def room(self) -> int:
        """How many ids of a text fit between the control tokens."""
        return self.max_tokens - 2

    def __call__(self, text: str) -> Tokens:
        """Return the ids of a text between control tokens and padded; what does not fit is cut off."""
        return self.frame(list(islice(self.ids(text), self.room)))

    def frame(self, ids: Sequence[int], longer: int = 0) -> Tokens:
        """Put control tokens around ids, at most `room + longer` of them, and padding after."""
        ids = ids[: self.room + longer]
        padding = [self._pad] * (self.room + longer - len(ids))
        return Tokens((self._bos, *ids, self._eos, *padding), len(ids), 1, len(ids) + 2)

    def ids(self, text: str) -> Iterator[int]:
        """Yield the ids of a text alone, lazily."""
        for part in self._splitter(text):
            if isinstance(part, int):
                yield part
                continue
            # Line by line, because only the first tokens of a long text are read.
            for line in (clean_fast(part),) if self._fast else cleaned(part):
                for word in split(line, fast=self._fast):
                    yield from self._word(word) if len(word) > _LONG_WORD else self._remembered(word)

    def _word(self, word: str) -> tuple[int, ...]:
        letters = _byte_letters()
        symbols = [letters[byte] for byte in word.encode("utf-8", "replace")]
        symbols[-1] += _END_OF_WORD
        return tuple(self._vocab.get(symbol, self._unknown) for symbol in join_pairs(symbols, self._ranks))


def clean(text: str) -> str:
    """Repair a text as the reference does: ftfy, single spaces, lower case."""
    return " ".join(cleaned(text))


def cleaned(text: str) -> Iterator[str]:
    """Yield the lines of `clean`."""
    return (" ".join(line.split()).lower() for line in repaired(text))


def clean_fast(text: str) -> str:
    """Normalize a text as the fast class does.

    The steps are NFC, single spaces, and lower case letter by letter.
    """
    normal = unicodedata.normalize("NFC", stream_safe(text))
    spaces = {ord(letter): " " for letter in _SPACE - {"\u0345"}}
    single = re.sub(" +", " ", normal.translate(spaces))
    return "".join(map(str.lower, single))


def split(text: str, *, fast: bool = False) -> Iterator[str]:
    r"""Yield the words of a clean text: `'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+`."""
    kinds = "".join(map(_fast_kind if fast else _kind, text))
    contraction = _FAST_CONTRACTION if fast else _CONTRACTION
    at = 0
    while at < len(text):
        found = contraction.match(text, at) or _RUN.match(kinds, at)
        if found:
            yield text[at : found.end()]
        at = found.end() if found else at + 1


def join_pairs(symbols: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Join neighbours in the order of their rank, leftmost first: n log n, for a prompt may be one long word."""
    after = [*range(1, len(symbols)), -1]
    before = [*range(-1, len(symbols) - 1)]
    parts = [*symbols]  # a part that was joined to its left neighbour is ""
    queue: list[tuple[int, int, str, str]] = []

    def offer(left: int, right: int) -> None:
        if left >= 0 and right >= 0 and (rank := ranks.get((parts[left], parts[right]))) is not None:
            heapq.heappush(queue, (rank, left, parts[left], parts[right]))

    for left in range(len(parts) - 1):
        offer(left, left + 1)
    while queue:
        _, left, a, b = heapq.heappop(queue)
        right = after[left]
        if right < 0 or parts[left] != a or parts[right] != b:
            continue  # one of the two has been joined to another meanwhile
        parts[left], parts[right], after[left] = a + b, "", after[right]
        if after[left] >= 0:
            before[after[left]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [part for part in parts if part]


@lru_cache(8192)
def _kind(character: str) -> str:
    """Return L for letters, N for numbers, a space for what is left out, O for others."""
    if character in _SPACE:
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "O"


def _fast_kind(character: str) -> str:
    return "O" if character == "\u0345" else _kind(character)


@cache
def _byte_letters() -> list[str]:
    """Return the 256 characters that stand for bytes: printable ones themselves, the others from U+0100 on (GPT-2)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _tables(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Read the vocabulary and the merges, from two files of their own or from one that has both."""
    if not (folder / "vocab.json").exists() and (folder / "tokenizer.json").exists():
        model = read_json(folder / "tokenizer.json").get("model", {})
        if not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
            raise ModelFileError(f"{folder.name}/tokenizer.json holds no BPE with vocab and merges")
        pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
        return model["vocab"], pairs
    vocab = read_json(folder / "vocab.json")
    lines = read_text(folder / "merges.txt").strip().split("\n")[1 : 1 + _MOST_MERGES]
    pairs = [tuple(line.split()) for line in lines]
    if any(len(pair) != 2 for pair in pairs):
        raise ModelFileError(f"{folder.name}/merges.txt must hold two tokens on each line")
    return vocab, pairs


def _check_padding(folder: Path, config: Mapping[str, Any]) -> None:
    if config.get("padding_side", "right") != "right":
        raise ModelFileError(
            f"{folder.name}/tokenizer_config.json: padding_side must be right, not {config['padding_side']!r}"
        )
