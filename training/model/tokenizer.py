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
# CLIP's rule for splitting a text into words.
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)

Word = tuple[str, ...]
Pair = tuple[str, str]


def train_tokenizer(texts: Iterable[str], folder: Path, merges: int = MERGES) -> CLIPTokenizer:
    """Learn merges from `texts`, and write the tokenizer to `folder`."""
    letters = bytes_to_unicode()
    counts = Counter(word for text in texts for word in WORDS.findall(text.lower()))
    learned = _learn_merges({_spell(word, letters): count for word, count in counts.items()}, merges)
    alphabet = list(letters.values())
    vocabulary = alphabet + [letter + WORD_END for letter in alphabet] + [a + b for a, b in learned] + [BEGIN, END]
    return _write(folder, vocabulary, learned)


def _spell(word: str, letters: dict[int, str]) -> Word:
    spelled = [letters[byte] for byte in word.encode()]
    return (*spelled[:-1], spelled[-1] + WORD_END)


def _learn_merges(words: dict[Word, int], limit: int) -> list[Pair]:
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
        words = {_apply_merge(word, best): count for word, count in words.items()}
    return learned


def _apply_merge(word: Word, pair: Pair) -> Word:
    out: list[str] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return tuple(out)


def _write(folder: Path, vocabulary: list[str], merges: list[Pair]) -> CLIPTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    vocab, rules = folder / "vocab.json", folder / "merges.txt"
    vocab.write_text(json.dumps({token: place for place, token in enumerate(vocabulary)}, ensure_ascii=False), "utf-8")
    rules.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), "utf-8")
    controls = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", **controls, "model_max_length": MAX_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> list[list[int]]:
    """Tokenize texts: token ids [n][32], padded and truncated."""
    return tokenizer(texts, padding="max_length", truncation=True, max_length=MAX_TOKENS).input_ids
