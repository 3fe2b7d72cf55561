"""The kinds of tokenizers: for each, how a folder is read and which files it must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from . import added_tokens, byte_level_tokenizer, clip_tokenizer, sentencepiece_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from .tokenizer import Tokenizer


class TokenizerReader(Protocol):
    """Reads the tokenizer in a folder as transformers' slow or `fast` class does.

    With `expands`, an added token of several vectors stands for all of them.

    Raises:
        ModelFileError: a file is missing or damaged.
    """

    def __call__(  # noqa: D102
        self, folder: Path, max_tokens: int, *, fast: bool = False, expands: bool = False
    ) -> Tokenizer: ...


@dataclass(frozen=True, slots=True)
class TokenizerKind:
    """How one kind of tokenizer is read, and its files.

    `read` takes a folder and the length of a prompt. One element of `files`, a set of names, must be in the folder.
    With `chunked`, long prompts are read in several chunks, which the encoder sees one at a time. With `plain_special`,
    all special tokens that a user types are text; otherwise only those that begin, end or pad a text.
    """

    read: TokenizerReader
    files: tuple[tuple[str, ...], ...]
    chunked: bool = False
    plain_special: bool = False

    def missing(self, folder: Path) -> list[str]:
        """Return the missing files of the first set; [] if any set is complete."""
        if any(all((folder / name).exists() for name in names) for names in self.files):
            return []
        return [name for name in self.files[0] if not (folder / name).exists()]


CLIP = TokenizerKind(
    clip_tokenizer.ClipTokenizer.from_folder,
    (("vocab.json", "merges.txt"), ("tokenizer.json",), (clip_tokenizer.SHARED_MERGES,)),
    chunked=True,
)
T5 = TokenizerKind(sentencepiece_tokenizer.read_t5, (("spiece.model",),))
GEMMA = TokenizerKind(sentencepiece_tokenizer.read_gemma, (("tokenizer.model",),))
LLAMA = TokenizerKind(sentencepiece_tokenizer.read_llama, (("tokenizer.model",),))
CHATGLM = TokenizerKind(sentencepiece_tokenizer.read_chatglm, (("tokenizer.model",),), plain_special=True)
QWEN = TokenizerKind(
    byte_level_tokenizer.read_byte_level,
    ((added_tokens.FAST,), (byte_level_tokenizer.VOCAB, byte_level_tokenizer.MERGES)),
    plain_special=True,
)
MISTRAL = TokenizerKind(
    byte_level_tokenizer.read_byte_level,
    ((added_tokens.FAST,), (byte_level_tokenizer.TEKKEN_FILE,)),
    plain_special=True,
)
