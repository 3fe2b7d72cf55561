r"""Byte-level BPE of Qwen and of Mistral (tekken) in pure Python.

Reference: the `tokenizers` library (Rust), which transformers' classes call. A text is

1. split at added tokens (`token_splitter`); control tokens, the special ones, are text when a user types them;
2. normalized to NFC if the file says so (Qwen);
3. split into words by the pattern in the file, one of `PATTERNS`;
4. merged word by word: the word's UTF-8 bytes are joined pair by pair, the pair with the lowest rank first.

`tokenizer.json` is read if the folder has it; otherwise `tekken.json`, or `vocab.json` and `merges.txt` of Qwen2.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files import ModelFileError, label, read_json, read_text
from .added_tokens import CONFIG, FAST, read_added_tokens
from .clip_tokenizer import byte_letters, join_pairs
from .repair import limit_marks
from .token_splitter import WHITE_SPACE, NormalizedText, TokenSplitter
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from .added_tokens import TokenizerTokens

TEKKEN_FILE, VOCAB, MERGES = "tekken.json", "vocab.json", "merges.txt"
_LONG_WORD = 128  # characters; longer words are not cached, because one may be as long as a whole prompt
_SPACES = frozenset(WHITE_SPACE)
_LETTERS = {"Lu": "U", "Lt": "U", "Ll": "l"}
# Case is folded as the reference does: U+017F is a long s.
_CONTRACTION = re.compile("'(?:[sS\u017ftTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])")
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_SPACE_RUNS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"


class WordPattern(NamedTuple):
    r"""A published pattern of words, over one letter for each character's class.

    The classes: U upper and title case, l lower case, m other letters, M marks, N numbers, R line breaks, S the space,
    W other white space, / the slash, O all others. So \p{L} is [Ulm], and \s is [RSW].
    """

    runs: re.Pattern[str]
    contractions: bool = True


def _runs(words: str) -> re.Pattern[str]:
    return re.compile(words + "|[RSW]*R+|[RSW]+(?![^RSW])|[RSW]+")


QWEN2 = _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _SPACE_RUNS
QWEN35 = _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _SPACE_RUNS
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _SPACE_RUNS
)
_TEKKEN_RUNS = _runs("[^RUlmN]?[UmM]*[lmM]+|[^RUlmN]?[UmM]+[lmM]*|N|S?[MO/]+[R/]*")
# Files of Mistral that transformers converted before version 5 have the pattern of Llama 3.
PATTERNS = {
    QWEN2: WordPattern(_runs("[^RUlmN]?[Ulm]+|N|S?[MO/]+R*")),
    QWEN35: WordPattern(_runs("[^RUlmN]?[UlmM]+|N|S?[O/]+R*")),
    LLAMA3: WordPattern(_runs("[^RUlmN]?[Ulm]+|N{1,3}|S?[MO/]+R*")),
    TEKKEN: WordPattern(_TEKKEN_RUNS, contractions=False),
}


@dataclass(frozen=True, slots=True)
class BytePairs:
    """A vocabulary of words in `byte_letters`, how they are merged, and how a text is split into words.

    `rank` returns the rank of a pair of tokens, None if they are not joined. With `whole`, a word of the vocabulary is
    not merged. `before` and `after` are control tokens that the file puts around every text. `controls` are the ids of
    control tokens by content.
    """

    vocab: Mapping[str, int]
    rank: Callable[[tuple[str, str]], int | None]
    pattern: WordPattern
    normalize: Callable[[str], str]
    whole: bool = False
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    controls: Mapping[str, int] = field(default_factory=dict)

    def word_ids(self, word: str) -> tuple[int, ...]:
        """Return the ids of one word; bytes that the vocabulary lacks are left out."""
        letters = byte_letters()
        symbols = [letters[byte] for byte in word.encode("utf-8", "replace")]
        if self.whole and (one := self.vocab.get("".join(symbols))) is not None:
            return (one,)
        ids = (self.vocab.get(symbol) for symbol in join_pairs(symbols, self.rank))
        return tuple(number for number in ids if number is not None)


class ByteLevelTokenizer(Tokenizer):
    """Turns text into the ids of one vocabulary; may be shared between threads. `controls` are as in `Tokenizer`."""

    def __init__(self, pairs: BytePairs, max_tokens: int, splitter: TokenSplitter, **controls: Any) -> None:
        super().__init__(splitter, max_tokens, before=pairs.before, after=pairs.after, **controls)
        self._pairs = pairs
        self._cached_word_ids = lru_cache(16384)(pairs.word_ids)

    def ids(self, text: str) -> Iterator[int]:
        """Yield the ids of a text, without control tokens; lazily."""
        for part in self._splitter(text):
            if isinstance(part, int):
                yield part
                continue
            normal = part if isinstance(part, NormalizedText) else self._pairs.normalize(part)
            for word in split_words(normal, self._pairs.pattern):
                yield from self._pairs.word_ids(word) if len(word) > _LONG_WORD else self._cached_word_ids(word)


def split_words(text: str, pattern: WordPattern) -> Iterator[str]:
    """Yield the words of a text, without leaving out a character."""
    classes, at = "".join(map(_letter_class, text)), 0
    while at < len(text):
        contraction = _CONTRACTION.match(text, at) if pattern.contractions and text[at] == "'" else None
        found = contraction or pattern.runs.match(classes, at)
        yield text[at : found.end() if found else at + 1]
        at = found.end() if found else at + 1


@lru_cache(8192)
def _letter_class(character: str) -> str:
    """Return the class of a character, as in `WordPattern`."""
    if character in _SPACES:
        return {"\r": "R", "\n": "R", " ": "S"}.get(character, "W")
    category = unicodedata.category(character)
    if category[0] == "L":
        return _LETTERS.get(category, "m")
    return "/" if character == "/" else category[0] if category[0] in "MN" else "O"


def read_byte_level(
    folder: Path,
    max_tokens: int,
    *,
    fast: bool = False,  # noqa: ARG001 - both classes of transformers give the same ids
    expands: bool = False,
) -> ByteLevelTokenizer:
    """Read a byte-level tokenizer, with its added tokens.

    Raises:
        ModelFileError: a file is missing or damaged, or has settings that are not supported.
    """
    path = folder / FAST
    content = read_json(path, optional=True)
    pairs = _from_tokenizer_json(content, label(path)) if path.exists() else _from_other_files(folder)

    def known(name: str) -> int | None:
        return pairs.controls.get(name, pairs.vocab.get(name))

    size = len(pairs.vocab) + len(pairs.controls)
    found = read_added_tokens(folder, known, size, fast=True, fast_file=content)
    special = {token.content: token.id for token in found.tokens.values() if token.special}
    controls = {**pairs.controls, **special}
    splitter = TokenSplitter(found.matched(*controls), normalize=pairs.normalize, expands=expands)
    pad, left = _padding_id(found, controls), _pads_left(folder, found)
    return ByteLevelTokenizer(pairs, max_tokens, splitter, pad=pad, controls=controls, pads_left=left)


def _pads_left(folder: Path, found: TokenizerTokens) -> bool | None:
    side = found.config.get("padding_side")
    if side not in (None, "left", "right"):
        raise ModelFileError(f"{folder.name}/{CONFIG}: padding_side must be left or right; got {side!r}")
    return None if side is None else side == "left"


def _padding_id(found: TokenizerTokens, controls: Mapping[str, int]) -> int:
    names = (found.roles.get("pad_token", ""), "<pad>", found.roles.get("eos_token", ""))
    return next((controls[name] for name in names if name in controls), 0)


def _from_other_files(folder: Path) -> BytePairs:
    if (folder / TEKKEN_FILE).exists():
        return _from_tekken(folder / TEKKEN_FILE)
    vocab, lines = read_json(folder / VOCAB), read_text(folder / MERGES).split("\n")
    merges = [line.strip() for at, line in enumerate(lines) if line.strip() and (at or not line.startswith("#version"))]
    rank = _rank_function(merges, label(folder / MERGES))
    return BytePairs(_checked_vocab(vocab, label(folder / VOCAB)), rank, PATTERNS[QWEN2], _nfc)


def _from_tokenizer_json(content: Mapping[str, Any], where: str) -> BytePairs:
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("merges"), list):
        raise ModelFileError(f"{where} must hold a BPE model with vocab and merges")
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout", "byte_fallback"):
        if model.get(key):
            raise ModelFileError(f"{where}: model.{key} must be empty for a byte-level BPE; got {model[key]!r}")
    before, after = _own_controls(content.get("post_processor"))
    return BytePairs(
        _checked_vocab(model.get("vocab"), where),
        _rank_function(model["merges"], where),
        _pattern(content.get("pre_tokenizer"), where),
        _normalization(content.get("normalizer"), where),
        bool(model.get("ignore_merges")),
        before,
        after,
    )


def _checked_vocab(vocab: Any, where: str) -> dict[str, int]:
    if not isinstance(vocab, dict) or not all(isinstance(number, int) and number >= 0 for number in vocab.values()):
        raise ModelFileError(f"{where} must hold a vocabulary of tokens with their ids")
    return vocab


def _rank_function(merges: list[Any], where: str) -> Callable[[tuple[str, str]], int | None]:
    """Return the ranks of merges. One string is kept for each, because there may be 270,000."""
    try:
        ranks = {merge if isinstance(merge, str) else " ".join(merge): rank for rank, merge in enumerate(merges)}
    except TypeError:
        ranks = {"": 0}
    if any(merge.count(" ") != 1 for merge in ranks):
        raise ModelFileError(f"{where} must hold two tokens in each merge")
    return lambda pair: ranks.get(f"{pair[0]} {pair[1]}")


def _pattern(pre_tokenizer: Any, where: str) -> WordPattern:
    """Return the pattern of a file whose words are split by a regular expression, and then into bytes."""
    steps = _steps(pre_tokenizer, "pretokenizers")
    splits = [step for step in steps if step.get("type") == "Split" and step.get("behavior") == "Isolated"]
    source = splits[0].get("pattern", {}).get("Regex") if len(splits) == 1 else None
    if source not in PATTERNS or any(step.get("add_prefix_space") for step in steps):
        names = "Qwen2, Qwen3.5, Llama 3 or tekken"
        raise ModelFileError(f"{where}: pre_tokenizer must split words as {names}; got {source!r}")
    return PATTERNS[source]


def _steps(step: Any, key: str) -> list[dict[str, Any]]:
    """Return the steps of a sequence, or the only step."""
    steps = step.get(key, [step]) if isinstance(step, dict) else []
    return [one for one in steps if isinstance(one, dict)]


def _normalization(normalizer: Any, where: str) -> Callable[[str], str]:
    if normalizer is None:
        return str
    if isinstance(normalizer, dict) and normalizer.get("type") == "NFC":
        return _nfc
    raise ModelFileError(f"{where}: normalizer must be NFC or null; got {normalizer!r}")


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", limit_marks(text))


def _own_controls(processor: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of control tokens before and after every text, from a TemplateProcessing."""
    sides: tuple[list[int], list[int]] = ([], [])
    for step in _steps(processor, "processors"):
        behind = False
        for item in step.get("single", ()):
            name = item.get("SpecialToken", {}).get("id")
            sides[behind].extend(step.get("special_tokens", {}).get(name, {}).get("ids", ()))
            behind = behind or "Sequence" in item
    return tuple(sides[0]), tuple(sides[1])


# Control tokens of files that list none, in the order of their ids (mistral-common's default).
_TEKKEN_CONTROLS = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
)


def _from_tekken(path: Path) -> BytePairs:
    """Read Mistral's own file: base64 tokens in the order of their ranks; ids begin after the control tokens."""
    content, where = read_json(path), label(path)
    try:
        config, source, letters = content["config"], content["config"]["pattern"], byte_letters()
        listed = {token["token_str"]: token["rank"] for token in content.get("special_tokens") or ()}
        first = config.get("default_num_special_tokens") or len(listed)
        kept = content["vocab"][: config["default_vocab_size"] - first if config.get("default_vocab_size") else None]
        words = (base64.b64decode(token["token_bytes"]) for token in kept)
        vocab = {"".join(letters[byte] for byte in word): first + rank for rank, word in enumerate(words)}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{where} is damaged: {error!r}") from error
    if source not in PATTERNS:
        raise ModelFileError(f"{where}: config.pattern must be that of tekken; got {source!r}")
    controls = listed or {name: number for number, name in enumerate(_TEKKEN_CONTROLS.split())}
    before = (controls["<s>"],) if "<s>" in controls else ()

    def rank(pair: tuple[str, str]) -> int | None:
        return vocab.get(pair[0] + pair[1])

    return BytePairs(vocab, rank, PATTERNS[source], str, whole=True, before=before, controls=controls)
