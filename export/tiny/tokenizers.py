"""Tokenizers of the random pipelines, trained here on a few lines: CLIP's, T5's and Gemma's.

Word boundaries, the encoding of spaces and bytes, and the tokens for begin, end and padding equal those of the
published tokenizers.
"""

from __future__ import annotations

import atexit
import json
import shutil
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import sentencepiece
import transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import convert_slow_tokenizer

CORPUS = (
    "a photograph of an astronaut riding a horse on the moon , highly detailed , 4k , trending",
    "a serene mountain lake at sunset , watercolor , soft colours , wide angle lens , 35mm film photo",
    "the quick brown fox jumps over the lazy dog ! a cat holding a sign that says hello world .",
    "it's isn't we're they'll i've i'd don't café naïve straße 日本語 привет γειά 1girl 2024",
    "low quality , blurry , bad anatomy , extra fingers , watermark , text , signature , jpeg artifacts",
)
# What OpenAI's CLIP takes for one word: https://github.com/openai/CLIP/blob/main/clip/simple_tokenizer.py
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
START, END = "<|startoftext|>", "<|endoftext|>"
# Copies of the corpus: sentencepiece needs more lines than tokens to learn.
REPEATS = 20


def learn_merges(corpus: tuple[str, ...], count: int) -> list[tuple[str, str]]:
    """Learn byte-level BPE merges in the form of CLIP's tokenizer: `</w>` ends a word."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=512 + count,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]][:count]


def clip(*, pad: str = END, length: int = 77) -> transformers.CLIPTokenizer:
    """A small CLIP tokenizer: every byte, every byte that ends a word, the merges, start and end."""
    merges = learn_merges(CORPUS, 400)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(a + "</w>" for a in alphabet), *map("".join, merges), START, END]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    with TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocab_file.write_text(json.dumps(vocab), encoding="utf-8")
        lines = ("#version: 0.2", *map(" ".join, merges))
        merges_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return transformers.CLIPTokenizer(str(vocab_file), str(merges_file), model_max_length=length, pad_token=pad)


def t5(*, length: int = 512) -> transformers.T5TokenizerFast:
    """A small T5 tokenizer: unigrams, pad 0, end 1, unknown 2, and the hundred extra tokens.

    It is converted from the slow class: the fast one, made from a file alone, omits the space before the first word.
    """
    file = _sentencepiece("spiece.model", model_type="unigram", vocab_size=400, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    fast = convert_slow_tokenizer(transformers.T5Tokenizer(file, extra_ids=100, legacy=True))
    return transformers.T5TokenizerFast(file, tokenizer_object=fast, extra_ids=100, model_max_length=length)


def gemma() -> transformers.GemmaTokenizerFast:
    """A small Gemma tokenizer: BPE with byte fallback, pad 0, end 1, begin 2, unknown 3, spaces kept."""
    file = _sentencepiece(
        "tokenizer.model",
        model_type="bpe",
        vocab_size=600,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
    )
    return transformers.GemmaTokenizerFast(file, padding_side="right", model_max_length=300)


def _sentencepiece(name: str, **options: Any) -> str:
    """Train a model on the corpus and return its file; tokenizers copy it when they are saved."""
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * REPEATS),
        model_writer=model,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    file = _temporary_folder() / name
    file.write_bytes(model.getvalue())
    return str(file)


@cache
def _temporary_folder() -> Path:
    """Return a folder that is deleted when the process ends."""
    folder = mkdtemp(prefix="tintype-tokenizers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
