"""Tokenizers by SentencePiece, whose own library (C++) reads the published files: T5 and Gemma.

Control tokens such as `</s>` or `<bos>` typed by a user are text like any other: SentencePiece takes them for words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .files import Fault, label
from .tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class PieceTokenizer:
    """Turns text into ids between the control tokens `before` and `after`, padded to `max_tokens`.

    Raises:
        Fault: the file is no SentencePiece model.
    """

    def __init__(self, path: Path, max_tokens: int, *, before: bool = False, after: bool = False) -> None:
        from sentencepiece import SentencePieceProcessor  # noqa: PLC0415 - only some models need it

        try:
            self._model: Any = SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise Fault(f"{label(path)} can't be read: {error}") from error
        self._before = (self._model.bos_id(),) if before else ()
        self._after = (self._model.eos_id(),) if after else ()
        self._pad = max(self._model.pad_id(), 0)
        self.max_tokens = max_tokens
        self.room = max_tokens - len(self._before) - len(self._after)

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text alone."""
        return list(self._model.encode(text))

    def frame(self, ids: Sequence[int], longer: int = 0) -> Tokens:
        """Put control tokens around ids, at most `room + longer` of them, and padding after."""
        ids = ids[: self.room + longer]
        framed = (*self._before, *ids, *self._after)
        padding = (self._pad,) * (self.max_tokens + longer - len(framed))
        return Tokens(framed + padding, len(ids), len(self._before), len(framed))


def t5(folder: Path, max_tokens: int) -> PieceTokenizer:
    """Read T5's `spiece.model`; `</s>` ends a text."""
    return PieceTokenizer(folder / "spiece.model", max_tokens, after=True)


def gemma(folder: Path, max_tokens: int) -> PieceTokenizer:
    """Read Gemma's `tokenizer.model`; `<bos>` begins a text."""
    return PieceTokenizer(folder / "tokenizer.model", max_tokens, before=True)
