"""Small byte-level tokenizers: `tokenizer.json` as the tokenizers library writes it, and Mistral's `tekken.json`."""

from __future__ import annotations

import base64
import json
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.support.models.odd import odd_strings
from tintype.service.models.text.byte_level_tokenizer import PATTERNS, QWEN2, TEKKEN, split_words
from tintype.service.models.text.clip_tokenizer import byte_letters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

LINES = (
    "a photo of an astronaut riding a horse, highly detailed, don't we'll they're 3.14 caf\xe9",
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial",
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\nassistant think",
    "You are an AI that reasons about image descriptions. a serene mountain lake at sunset; the quick brown fox\n\n",
)
QWEN_CONTROLS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
)
MISTRAL_CONTROLS = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[IMG]",
    "<pad>",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
)
THINK = ("<think>", "</think>")
Merges = list[tuple[str, str]]


@cache
def trained(pattern: str = QWEN2, merges: int = 200, lines: tuple[str, ...] = LINES) -> tuple[dict[str, int], Merges]:
    """Return the vocabulary and the merges of byte pairs, the most frequent pair first."""
    letters = byte_letters()
    found = Counter(word for line in lines for word in split_words(line, PATTERNS[pattern]))
    words = {word: [letters[byte] for byte in word.encode()] for word in found}
    vocab, joined = sorted(letters), Merges()
    while len(joined) < merges:
        pairs = Counter[tuple[str, str]]()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += found[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        joined.append(best)
        vocab += ["".join(best)] * ("".join(best) not in vocab)
        words = {word: _merged(symbols, best) for word, symbols in words.items()}
    return {token: number for number, token in enumerate(vocab)}, joined


def _merged(symbols: Sequence[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def learnt(pattern: str, *, nfc: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a vocabulary of 4,000 tokens and its merges, which the tokenizers library learns from odd strings."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers  # noqa: PLC0415

    learner = Tokenizer(models.BPE())
    if nfc:
        learner.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(pattern), "isolated")
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, show_progress=False, initial_alphabet=alphabet)
    learner.train_from_iterator(odd_strings(600), trainer)
    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def added(vocab: Mapping[str, int], controls: Iterable[str], plain: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return the entries of added tokens, control tokens first, with the ids behind the vocabulary."""
    named = [*((name, True) for name in controls), *((name, False) for name in plain)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": len(vocab) + number, "content": name, **flags, "special": special}
        for number, (name, special) in enumerate(named)
    ]


def tokenizer_json(
    vocab: Mapping[str, int],
    merges: Merges,
    tokens: Sequence[Mapping[str, Any]],
    *,
    pattern: str = QWEN2,
    nfc: bool = True,
    whole: bool = False,
    begin: str = "",
) -> dict[str, Any]:
    """Return the content of tokenizer.json. With `begin`, this control token begins every text."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    ids = {token["content"]: token["id"] for token in tokens}
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {begin: {"id": begin, "ids": [ids.get(begin)], "tokens": [begin]}},
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [dict(token) for token in tokens],
        "normalizer": {"type": "NFC"} if nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": template if begin else byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": whole,
            "vocab": dict(vocab),
            "merges": [list(pair) for pair in merges],
        },
    }


def write_qwen(folder: Path, vocab: Mapping[str, int] | None = None, merges: Merges | None = None) -> Path:
    """Write Qwen's tokenizer of a vocabulary, by default a small one, and return its folder."""
    if vocab is None or merges is None:
        vocab, merges = trained()
    tokens = added(vocab, QWEN_CONTROLS, THINK)
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return _write(folder, tokenizer_json(vocab, merges, tokens), config | {"model_max_length": 131072})


def write_mistral(folder: Path, vocab: Mapping[str, int] | None = None, merges: Merges | None = None) -> Path:
    """Write Mistral's tokenizer of a vocabulary, by default a small one, and return its folder."""
    if vocab is None or merges is None:
        vocab, merges = trained(TEKKEN)
    tokens = added(vocab, MISTRAL_CONTROLS)
    content = tokenizer_json(vocab, merges, tokens, pattern=TEKKEN, nfc=False, whole=True, begin="<s>")
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return _write(folder, content, names | {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "left"})


def _write(folder: Path, content: Mapping[str, Any], config: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


def tekken_json(vocab: Mapping[str, int], *, listed: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of tekken.json for a vocabulary in byte letters; ids begin after 1,000 control tokens."""
    bytes_ = {letter: byte for byte, letter in enumerate(byte_letters())}
    words = sorted(vocab, key=vocab.__getitem__)
    entries = [
        {"rank": rank, "token_bytes": base64.b64encode(bytes(bytes_[letter] for letter in word)).decode()}
        for rank, word in enumerate(words)
    ]
    config = {"pattern": TEKKEN, "default_vocab_size": 1000 + len(words), "default_num_special_tokens": 1000}
    special = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(listed)]
    return {"config": config, "vocab": entries} | ({"special_tokens": special} if special else {})
