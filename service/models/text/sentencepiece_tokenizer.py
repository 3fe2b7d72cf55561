"""Tokenizers by SentencePiece, whose own library (C++) reads the published files: T5 and Gemma.

Control tokens such as `</s>` or `<bos>` typed by a user are text like any other: SentencePiece takes them for words.
Added tokens are found before SentencePiece sees a text (`added_tokens`).
"""

from __future__ import annotations

import re
from copy import copy
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

from ..files import ModelFileError, label, read_json
from . import added_tokens
from .added_tokens import AddedToken
from .token_splitter import WHITE, Normal, Splitter
from .tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from .added_tokens import Additions

SPACE = "\u2581"
_SEVERAL = re.compile(" {2,}")
# A letter that no normalization joins with another one; it keeps the space that a text begins with.
ANCHOR = ","
CONTROL = ("bos_token", "eos_token", "unk_token", "pad_token")
# What the classes call their control tokens where no file says.
USUAL_T5, USUAL_GEMMA = ("</s>", "<unk>", "<pad>"), ("<bos>", "<eos>", "<unk>", "<pad>")


class PieceTokenizer:
    """Turns text into ids between the control tokens `before` and `after`, padded to `max_tokens`.

    `spaced`: a space before an added token is a token of its own, as in the fast T5.
    """

    def __init__(
        self,
        model: Any,
        max_tokens: int,
        splitter: Splitter,
        *,
        before: tuple[int, ...] = (),
        after: tuple[int, ...] = (),
        pad: int = 0,
        spaced: bool = False,
    ) -> None:
        self._model, self._splitter, self._spaced = model, splitter, spaced
        self._before, self._after, self._pad = before, after, pad
        self.max_tokens = max_tokens
        self.room = max_tokens - len(before) - len(after)

    def extended(self, tokens: Iterable[AddedToken]) -> Self:
        """Return the same tokenizer with further added tokens."""
        other = copy(self)
        other._splitter = self._splitter.extended(tokens)  # noqa: SLF001
        return other

    @property
    def added(self) -> tuple[AddedToken, ...]:
        """The added tokens that are found in a text."""
        return self._splitter.tokens

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text alone."""
        parts = self._splitter(text)
        return [number for part in parts for number in ((part,) if isinstance(part, int) else self._encoded(part))]

    def _encoded(self, text: str) -> list[int]:
        ids = list(self._model.encode(text.replace(SPACE, " ") if isinstance(text, Normal) else text))
        spaced = self._spaced and isinstance(text, Normal) and text.endswith((SPACE, " "))
        return [*ids, self._model.piece_to_id(SPACE)] if spaced else ids

    def frame(self, ids: Sequence[int], longer: int = 0) -> Tokens:
        """Put control tokens around ids, at most `room + longer` of them, and padding after."""
        ids = ids[: self.room + longer]
        framed = (*self._before, *ids, *self._after)
        padding = (self._pad,) * (self.max_tokens + longer - len(framed))
        return Tokens(framed + padding, len(ids), len(self._before), len(framed))


def t5(folder: Path, max_tokens: int, *, fast: bool = False, expands: bool = False) -> PieceTokenizer:
    """Read T5's `spiece.model`; `</s>` ends a text. Raises ModelFileError."""
    model = _model(folder / "spiece.model")
    found = _added(folder, model, fast=fast, implied=lambda: _extra_ids(folder, model.get_piece_size()))
    _check_t5(folder, found, fast=fast)

    splitter = _splitter(found, USUAL_T5, _Normalizer(model) if fast else None, expands=expands)
    after, pad = (_role(found, "eos_token", model.eos_id()),), _role(found, "pad_token", model.pad_id())
    return PieceTokenizer(model, max_tokens, splitter, after=after, pad=pad, spaced=fast)


def gemma(folder: Path, max_tokens: int, *, fast: bool = False, expands: bool = False) -> PieceTokenizer:
    """Read Gemma's `tokenizer.model`; `<bos>` begins a text. Raises ModelFileError."""
    model = _model(folder / "tokenizer.model")
    found = _added(folder, model, fast=fast)
    if found.config.get("sp_model_kwargs"):
        raise ModelFileError(f"{folder.name}/{added_tokens.CONFIG}: sp_model_kwargs must be empty")
    splitter = _splitter(found, USUAL_GEMMA, (lambda text: text.replace(" ", SPACE)) if fast else None, expands=expands)
    bos, eos = _role(found, "bos_token", model.bos_id()), _role(found, "eos_token", model.eos_id())
    before = (bos,) if found.config.get("add_bos_token", True) else ()
    after = (eos,) if found.config.get("add_eos_token", False) else ()
    pad = _role(found, "pad_token", model.pad_id())
    return PieceTokenizer(model, max_tokens, splitter, before=before, after=after, pad=pad)


def _model(path: Path) -> Any:
    from sentencepiece import SentencePieceProcessor  # noqa: PLC0415 - only some models need it

    try:
        return SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f"{label(path)} can't be read: {error}") from error


def _added(folder: Path, model: Any, *, fast: bool, implied: Callable[[], Iterable[AddedToken]] = tuple) -> Additions:
    def known(content: str) -> int | None:
        number = int(model.piece_to_id(content))
        return None if number == model.unk_id() and content != model.id_to_piece(number) else number

    return added_tokens.read(folder, known, model.get_piece_size(), fast=fast, implied=implied())


def _extra_ids(folder: Path, size: int) -> list[AddedToken]:
    """Return the sentinels that the slow class adds.

    It adds them where the folder has a configuration; `<extra_id_0>` has the last id.
    """
    config = read_json(folder / added_tokens.CONFIG, optional=True)
    count = config.get("extra_ids", 100) if config else 0
    if not isinstance(count, int) or not 0 <= count <= 10_000:
        raise ModelFileError(f"{folder.name}/{added_tokens.CONFIG}: extra_ids must be a whole number, not {count!r}")
    ids = range(size - 1 + count, size - 1, -1)
    return [
        AddedToken(f"<extra_id_{n}>", number, lstrip=True, rstrip=True, normalized=False, special=True)
        for n, number in enumerate(ids)
    ]


class _Normalizer:
    """The text normalization of the fast T5 class.

    It is the model's own map of letters, no space at the end, and U+2581 for several spaces. The library gives the map
    together with a rule for spaces, so each letter is tested by itself.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._letter = lru_cache(8192)(self._mapped)

    def __call__(self, text: str) -> str:
        runs = groupby(text, self._letter)
        spaced = "".join(self._run(kind, "".join(letters)) for kind, letters in runs)
        return _SEVERAL.sub(SPACE, spaced.rstrip(WHITE))

    def _run(self, kind: str, letters: str) -> str:
        return kind * len(letters) if kind in ("", " ") else self._normal(letters)

    def _mapped(self, letter: str) -> str:
        """Return what a letter becomes: nothing, a space, or a marker.

        The marker stands for anything else.
        """
        made = self._normal(letter + ANCHOR)
        return {ANCHOR: "", SPACE + ANCHOR: " "}.get(made, ANCHOR) if letter != SPACE else ANCHOR

    def _normal(self, text: str) -> str:
        normal: str = self._model.normalize(ANCHOR + text)
        return normal.removeprefix(SPACE).removeprefix(ANCHOR)


def _check_t5(folder: Path, found: Additions, *, fast: bool) -> None:
    """Refuse settings that SentencePiece can't follow.

    Without `legacy` no space is put before a text.
    """
    usual: dict[str, Any] = {"padding_side": "right", "add_prefix_space": True, "sp_model_kwargs": {}}
    if not fast or any(not token.special for token in found.tokens.values()):
        usual["legacy"] = True
    for key, only in usual.items():
        if found.config.get(key, only) not in (only, None):
            raise ModelFileError(
                f"{folder.name}/{added_tokens.CONFIG}: {key} must be {only!r}, not {found.config[key]!r}"
            )


def _splitter(
    found: Additions, usual: Iterable[str], normalize: Callable[[str], str] | None, *, expands: bool
) -> Splitter:
    control = [found.roles[role] for role in CONTROL if role in found.roles]
    return Splitter(found.matched(*usual, *control), normalize=normalize, expands=expands)


def _role(found: Additions, role: str, usual: int) -> int:
    """Return the id of a control token.

    It is the model's own where the folder does not say.
    """
    name = found.roles.get(role, "")
    return found.tokens[name].id if name in found.tokens else max(usual, 0)
