"""Tokenizers of the random pipelines, trained here on a few lines: CLIP's, T5's, Gemma's, Qwen's and Mistral's.

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
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import sentencepiece
import transformers
from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

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
# The published patterns of words of Qwen2 and Qwen3, and of Mistral (tekken).
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MISTRAL_WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
MISTRAL_CONTROLS = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[IMG]", "<pad>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
)  # fmt: skip
# What the published templates make of the messages of diffusers' pipelines.
QWEN_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for block in message.content %}"
    "{{- block.text if block.type == 'text' else '<|vision_start|><|image_pad|><|vision_end|>' }}{%- endfor %}"
    "{%- endif %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
MISTRAL_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{%- set name = 'SYSTEM_PROMPT' if message.role == 'system' else 'INST' %}"
    "{{- '[' + name + ']' }}{%- for block in message.content %}{{- block.text if block.type == 'text' else '[IMG]' }}"
    "{%- endfor %}{{- '[/' + name + ']' }}{%- endfor %}"
)
# Classes of transformers 5 -> their names in published model_index.json; others end in Fast there.
PUBLISHED_NAMES = {
    "CLIPTokenizer": "CLIPTokenizer",
    "ChatGLMTokenizer": "ChatGLMTokenizer",
    "TokenizersBackend": "PreTrainedTokenizerFast",
}
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
    lines = ("#version: 0.2", *map(" ".join, merges))
    files = {"vocab.json": json.dumps(vocab).encode(), "merges.txt": "".join(f"{line}\n" for line in lines).encode()}
    controls = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    return _read(transformers.CLIPTokenizer, files, **controls, model_max_length=length)


def t5(*, length: int = 512) -> transformers.T5Tokenizer:
    """A small T5 tokenizer: unigrams, pad 0, end 1, unknown 2, and the hundred extra tokens."""
    model = _sentencepiece(model_type="unigram", vocab_size=400, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    controls = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 100}
    return _read(transformers.T5Tokenizer, {"spiece.model": model}, **controls, model_max_length=length)


def gemma() -> transformers.GemmaTokenizer:
    """A small Gemma tokenizer: BPE with byte fallback, pad 0, end 1, begin 2, unknown 3, spaces kept."""
    model = _sentencepiece(
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
        eos_piece="<eos>",
        bos_piece="<bos>",
        control_symbols=["<mask>"],
    )
    controls = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    options = {"add_bos_token": True, "padding_side": "right", "model_max_length": 300}
    return _read(transformers.GemmaTokenizer, {"tokenizer.model": model}, **controls, **options)


def llama() -> transformers.LlamaTokenizer:
    """A small tokenizer of Pile-T5: BPE with byte fallback, unknown 0, begin and padding 1, end 2."""
    model = _sentencepiece(
        model_type="bpe",
        vocab_size=600,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )
    controls = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<s>"}
    options = {"add_bos_token": False, "add_eos_token": True, "legacy": False, "padding_side": "right"}
    return _read(transformers.LlamaTokenizer, {"tokenizer.model": model}, **controls, **options, model_max_length=512)


def chatglm() -> ChatGLMTokenizer:
    """A small tokenizer of ChatGLM3: BPE with byte fallback, unknown 0, which pads, begin 1, end 2."""
    model = _sentencepiece(model_type="bpe", vocab_size=600, byte_fallback=True, split_digits=True)
    return _read(ChatGLMTokenizer, {"tokenizer.model": model}, model_max_length=256)


def qwen() -> transformers.Qwen2Tokenizer:
    """A small tokenizer of Qwen2.5 and Qwen3, with its chat template and its tokens for images and thoughts."""
    backend = _byte_level(QWEN_WORDS, QWEN_CONTROLS, ("<think>", "</think>"))
    backend.normalizer = normalizers.NFC()
    content = json.loads(backend.to_str())
    vocab, merges = content["model"]["vocab"], content["model"]["merges"]
    lines = ("#version: 0.2", *map(" ".join, merges))
    files = {
        "tokenizer.json": backend.to_str(pretty=True).encode(),
        "vocab.json": json.dumps(vocab).encode(),
        "merges.txt": "".join(f"{line}\n" for line in lines).encode(),
    }
    tokens = {str(token.pop("id")): token for token in content["added_tokens"]}
    controls = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "bos_token": None}
    options = {"added_tokens_decoder": tokens, "chat_template": QWEN_TEMPLATE, "model_max_length": 131072}
    return _read(transformers.Qwen2Tokenizer, files, **controls, **options)


def mistral() -> transformers.PreTrainedTokenizerFast:
    """A small tokenizer of Mistral Small 3 (tekken), with its chat template, padded on the left."""
    backend = _byte_level(MISTRAL_WORDS, MISTRAL_CONTROLS, whole=True)
    template = {"single": "<s> $A", "pair": "<s> $A $B", "special_tokens": [("<s>", backend.token_to_id("<s>"))]}
    backend.post_processor = processors.TemplateProcessing(**template)
    controls = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    options = {"padding_side": "left", "chat_template": MISTRAL_TEMPLATE, "model_max_length": 131072}
    files = {"tokenizer.json": backend.to_str(pretty=True).encode()}
    return _read(transformers.PreTrainedTokenizerFast, files, **controls, **options)


def _byte_level(
    words: str, controls: tuple[str, ...], added: tuple[str, ...] = (), *, whole: bool = False
) -> Tokenizer:
    """Learn a byte-level BPE on the corpus, for a pattern of words; control tokens follow its vocabulary."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole))
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), letters])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in controls])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in added])
    return tokenizer


def _read(kind: Any, files: Mapping[str, bytes], **config: Any) -> Any:
    """Return a tokenizer of a class, read from a folder with the files of published models."""
    folder = Path(mkdtemp(dir=_temporary_folder()))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    text = json.dumps({"tokenizer_class": kind.__name__, **config}, indent=2)
    (folder / "tokenizer_config.json").write_text(text, "utf-8")
    return kind.from_pretrained(folder)


def write_as_published(tokenizer: Any, folder: Path) -> str:
    """Write a tokenizer of this module with the files of published models; return the class that these name.

    transformers 5 saves no vocabulary files, and has only fast classes, with the names of the former slow ones.
    """
    shutil.rmtree(folder)
    shutil.copytree(tokenizer.name_or_path, folder)
    name = type(tokenizer).__name__
    return PUBLISHED_NAMES.get(name, f"{name}Fast")


def _sentencepiece(**options: Any) -> bytes:
    """Train a model on the corpus and return its file."""
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * REPEATS),
        model_writer=model,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


@cache
def _temporary_folder() -> Path:
    """Return a folder that is deleted when the process ends."""
    folder = mkdtemp(prefix="tintype-tokenizers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
