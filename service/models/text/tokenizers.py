"""The kinds of tokenizers, each a value: how a folder is read, and which files it must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from . import clip_tokenizer, sentencepiece_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .added_tokens import AddedToken
    from .tokens import Tokens


class Tokenizer(Protocol):
    """Text to the ids of one vocabulary; typed control tokens are text."""

    @property
    def room(self) -> int:
        """How many ids of a text fit between the control tokens."""

    @property
    def added(self) -> Sequence[AddedToken]:
        """The added tokens that are found in a text."""

    def extended(self, tokens: Iterable[AddedToken]) -> Tokenizer:
        """Return the same tokenizer with further added tokens."""

    def ids(self, text: str) -> Iterable[int]:
        """Return the ids of a text alone, as many as needed."""

    def frame(self, ids: Sequence[int], longer: int = 0) -> Tokens:
        """Put control tokens around ids, at most `room + longer` of them, and padding after."""


class Reader(Protocol):
    """Reads a folder's tokenizer as transformers' slow or `fast` class does.

    Raises ModelFileError. Where it `expands`, an added token of several vectors stands for all of them.
    """

    def __call__(  # noqa: D102
        self, folder: Path, max_tokens: int, *, fast: bool = False, expands: bool = False
    ) -> Tokenizer: ...


@dataclass(frozen=True, slots=True)
class TokenizerKind:
    """`read` takes a folder and the length of its results; one of `files` must be there, each a set of names.

    Where `chunked`, longer prompts are read in several pieces, of which the encoder sees one at a time.
    """

    read: Reader
    files: tuple[tuple[str, ...], ...]
    chunked: bool = False

    def missing(self, folder: Path) -> list[str]:
        """Return what a folder lacks of the first set of files; [] if it has any set."""
        if any(all((folder / name).exists() for name in names) for names in self.files):
            return []
        return [name for name in self.files[0] if not (folder / name).exists()]


CLIP = TokenizerKind(
    clip_tokenizer.ClipTokenizer.from_folder, (("vocab.json", "merges.txt"), ("tokenizer.json",)), chunked=True
)
T5 = TokenizerKind(sentencepiece_tokenizer.t5, (("spiece.model",),))
GEMMA = TokenizerKind(sentencepiece_tokenizer.gemma, (("tokenizer.model",),))
