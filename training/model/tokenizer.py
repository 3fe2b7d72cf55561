"""A byte-level BPE tokenizer like CLIP's, trained on the captions.

Every byte is in the vocabulary, so any prompt can be tokenized; unknown words become single letters.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import TYPE_CHECKING

import regex
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
MAX_TOKENS = 32
MERGES = 1200
VOCAB, RULES = "vocab.json", "merges.txt"
# CLIP's rule for splitting a text into words.
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)

Word = tuple[str, ...]
Pair = tuple[str, str]


def train_tokenizer(texts: Iterable[str], folder: Path, merges: int = MERGES) -> CLIPTokenizer:
    """Learn merges from `texts`, and write the tokenizer to `folder`."""
    letters = bytes_to_unicode()
    learned = _learn_merges(_count_words(texts, letters), merges)
    alphabet = list(letters.values())
    vocabulary = alphabet + [letter + WORD_END for letter in alphabet] + [a + b for a, b in learned] + [BEGIN, END]
    return _write(folder, vocabulary, learned)


def extend_tokenizer(old_folder: Path, texts: Iterable[str], new_folder: Path, merges: int = MERGES) -> CLIPTokenizer:
    """Learn up to `merges` more merges from `texts`, and write the larger tokenizer to `new_folder`.

    Every token of the old vocabulary keeps its id, BEGIN and END too; new tokens follow. The old merges come first, so
    a word that was one token stays one token.
    """
    vocabulary, old = _read(old_folder)
    words = _count_words(texts, bytes_to_unicode())
    for merge in old:
        words = _merge_words(words, merge)
    learned = _learn_merges(words, merges)
    # Two merges can give the same token, which has one id.
    tokens = dict.fromkeys([*vocabulary, *(a + b for a, b in learned)])
    return _write(new_folder, list(tokens), [*old, *learned])


def former_pieces(old_folder: Path, new_folder: Path) -> list[list[int]]:
    """Return for every token of the new tokenizer, by its id, the ids of the old one that it consists of.

    The embedding of a new token can start as the mean of those rows. A token that the old one has is that id alone.
    """
    known = {token: place for place, token in enumerate(_read(old_folder)[0])}
    vocabulary, merges = _read(new_folder)
    parts = {a + b: (a, b) for a, b in reversed(merges)}

    def split(token: str) -> list[int]:
        return [known[token]] if token in known else [piece for part in parts[token] for piece in split(part)]

    return [split(token) for token in vocabulary]


def _count_words(texts: Iterable[str], letters: dict[int, str]) -> Counter[Word]:
    counts = Counter(word for text in texts for word in WORDS.findall(text.lower()))
    return Counter({_spell(word, letters): count for word, count in counts.items()})


def _spell(word: str, letters: dict[int, str]) -> Word:
    spelled = [letters[byte] for byte in word.encode()]
    return (*spelled[:-1], spelled[-1] + WORD_END)


def _learn_merges(words: Counter[Word], limit: int) -> list[Pair]:
    learned: list[Pair] = []
    while len(learned) < limit:
        pairs: Counter[Pair] = Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        # Among equal counts the alphabet decides, so that the order of the captions has no effect.
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        learned.append(best)
        words = _merge_words(words, best)
    return learned


def _merge_words(words: Counter[Word], pair: Pair) -> Counter[Word]:
    merged: Counter[Word] = Counter()
    for word, count in words.items():
        merged[_apply_merge(word, pair)] += count
    return merged


def _apply_merge(word: Word, pair: Pair) -> Word:
    out: list[str] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return tuple(out)


def _read(folder: Path) -> tuple[list[str], list[Pair]]:
    """Read the vocabulary in the order of its ids, which must be 0, 1, 2, …, and the merges."""
    vocab: dict[str, int] = json.loads((folder / VOCAB).read_text("utf-8"))
    vocabulary = sorted(vocab, key=lambda token: vocab[token])
    if [vocab[token] for token in vocabulary] != list(range(len(vocab))):
        raise ValueError(f"the ids of {folder / VOCAB} must be 0 to {len(vocab) - 1}, each once")
    lines = (folder / RULES).read_text("utf-8").split("\n")[1:]
    return vocabulary, [(a, b) for a, b in (line.split() for line in lines if line)]


def _write(folder: Path, vocabulary: list[str], merges: list[Pair]) -> CLIPTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    vocab, rules = folder / VOCAB, folder / RULES
    vocab.write_text(json.dumps({token: place for place, token in enumerate(vocabulary)}, ensure_ascii=False), "utf-8")
    rules.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), "utf-8")
    controls = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", **controls, "model_max_length": MAX_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> list[list[int]]:
    """Tokenize texts: token ids [n][32], padded and truncated."""
    return tokenizer(texts, padding="max_length", truncation=True, max_length=MAX_TOKENS).input_ids
