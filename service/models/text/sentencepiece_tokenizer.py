"""SentencePiece tokenizers of T5, Gemma and ChatGLM3, by SentencePiece's own library (C++).

Control tokens such as `</s>` or `<bos>` typed by a user are text: SentencePiece reads them as words.
Added tokens are found before SentencePiece sees a text (`token_splitter`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..files import ModelFileError, label, read_json
from . import added_tokens
from .added_tokens import AddedToken, read_added_tokens
from .token_splitter import WHITE_SPACE, NormalizedText, TokenSplitter
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from .added_tokens import TokenizerTokens

SPACE = "\u2581"
_SEVERAL_SPACES = re.compile(" {2,}")
# A letter that no normalization joins with another one; it keeps the space at the beginning of a text.
ANCHOR = ","
# Llama's classes put it before a text that continues another one, and leave its tokens out.
UNKNOWN = "<unk>"
CONTROL_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
# The classes' names of their control tokens, where no file names them.
T5_CONTROLS, GEMMA_CONTROLS = ("</s>", "<unk>", "<pad>"), ("<bos>", "<eos>", "<unk>", "<pad>")
LLAMA_CONTROLS = ("<s>", "</s>", UNKNOWN)

# ChatGLM3's control tokens, whose ids follow those of its model. A text begins with the second and the fourth.
CHATGLM_CONTROLS = (
    *("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
)


class SentencePieceTokenizer(Tokenizer):
    """Turns text into ids by a SentencePiece model."""

    def __init__(
        self,
        model: Any,
        max_tokens: int,
        splitter: TokenSplitter,
        *,
        before: tuple[int, ...] = (),
        after: tuple[int, ...] = (),
        pad: int = 0,
    ) -> None:
        super().__init__(splitter, max_tokens, before=before, after=after, pad=pad)
        self._model = model

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text, without control tokens."""
        parts = self._splitter(text)
        return [number for part in parts for number in ((part,) if isinstance(part, int) else self._text_ids(part))]

    def _text_ids(self, text: str) -> list[int]:
        normalized = isinstance(text, NormalizedText)
        return list(self._model.encode(text.replace(SPACE, " ") if normalized else text))


class LlamaTokenizer(SentencePieceTokenizer):
    """Puts a space before a text, but not before the parts of it that follow added tokens.

    `merged`: a space at the beginning of a text is that space, as in the fast class.
    """

    def __init__(self, *values: Any, merged: bool, **options: Any) -> None:
        super().__init__(*values, **options)
        self._merged = merged
        self._anchor_ids = len(self._model.encode(UNKNOWN))

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text, without control tokens."""
        first, *rest = self._splitter(text) or [""]
        ids = [first] if isinstance(first, int) else self._first_ids(first)
        for part in rest:
            ids += [part] if isinstance(part, int) else self._model.encode(UNKNOWN + part)[self._anchor_ids :]
        return ids

    def _first_ids(self, text: str) -> list[int]:
        if not self._merged or not text.startswith((" ", SPACE)):
            return self._text_ids(text)
        return self._text_ids(text[1:]) if text[1:] else [int(self._model.piece_to_id(SPACE))]


def read_t5(folder: Path, max_tokens: int, *, fast: bool = False, expands: bool = False) -> SentencePieceTokenizer:
    """Read T5's `spiece.model`; `</s>` ends a text.

    Raises:
        ModelFileError: a file is damaged, or has settings that are not supported.
    """
    model = _model(folder / "spiece.model")
    found = _added_tokens(folder, model, fast=fast, implied=lambda: _extra_ids(folder, model.get_piece_size()))
    _check_t5(folder, found, fast=fast)

    splitter = _splitter(found, T5_CONTROLS, _T5Normalizer(model) if fast else None, expands=expands)
    after, pad = (_control_id(found, "eos_token", model.eos_id()),), _control_id(found, "pad_token", model.pad_id())
    return SentencePieceTokenizer(model, max_tokens, splitter, after=after, pad=pad)


def read_gemma(folder: Path, max_tokens: int, *, fast: bool = False, expands: bool = False) -> SentencePieceTokenizer:
    """Read Gemma's `tokenizer.model`; `<bos>` begins a text.

    Raises:
        ModelFileError: a file is damaged, or has settings that are not supported.
    """
    model = _model(folder / "tokenizer.model")
    found = _added_tokens(folder, model, fast=fast)
    if found.config.get("sp_model_kwargs"):
        raise ModelFileError(f"{folder.name}/{added_tokens.CONFIG}: sp_model_kwargs must be empty")
    normalize = (lambda text: text.replace(" ", SPACE)) if fast else None
    splitter = _splitter(found, GEMMA_CONTROLS, normalize, expands=expands)
    bos, eos = _control_id(found, "bos_token", model.bos_id()), _control_id(found, "eos_token", model.eos_id())
    before = (bos,) if found.config.get("add_bos_token", True) else ()
    after = (eos,) if found.config.get("add_eos_token", False) else ()
    pad = _control_id(found, "pad_token", model.pad_id())
    return SentencePieceTokenizer(model, max_tokens, splitter, before=before, after=after, pad=pad)


def read_llama(folder: Path, max_tokens: int, *, fast: bool = False, expands: bool = False) -> LlamaTokenizer:
    """Read Llama's `tokenizer.model`, whose configuration says what begins and ends a text: AuraFlow's Pile-T5.

    Raises:
        ModelFileError: a file is damaged, or has settings that are not supported.
    """
    model = _model(folder / "tokenizer.model")
    found = _added_tokens(folder, model, fast=fast)
    _check_settings(folder, found, {"padding_side": "right", "sp_model_kwargs": {}, "legacy": False})
    splitter = _splitter(found, LLAMA_CONTROLS, None, expands=expands)
    bos, eos = _control_id(found, "bos_token", model.bos_id()), _control_id(found, "eos_token", model.eos_id())
    before = (bos,) if found.config.get("add_bos_token", True) else ()
    after = (eos,) if found.config.get("add_eos_token", False) else ()
    pad = _control_id(found, "pad_token", model.pad_id())
    return LlamaTokenizer(model, max_tokens, splitter, before=before, after=after, pad=pad, merged=fast)


def read_chatglm(folder: Path, max_tokens: int, *, fast: bool = False, expands: bool = False) -> SentencePieceTokenizer:
    """Read ChatGLM3's `tokenizer.model`, as diffusers' ChatGLMTokenizer; `[gMASK]` and `sop` begin a text.

    Raises:
        ModelFileError: a file is damaged.
    """
    model = _model(folder / "tokenizer.model")
    found = _added_tokens(folder, model, fast=fast)
    controls = {name: model.get_piece_size() + number for number, name in enumerate(CHATGLM_CONTROLS)}
    splitter = _splitter(found, controls, None, expands=expands)
    before = (controls["[gMASK]"], controls["sop"])
    return SentencePieceTokenizer(model, max_tokens, splitter, before=before, pad=max(model.unk_id(), 0))


def _model(path: Path) -> Any:
    from sentencepiece import SentencePieceProcessor  # noqa: PLC0415 - only some models need it

    if not path.exists():
        raise ModelFileError(
            f"{label(path)} is missing: transformers 5 does not save it; copy it from the published model"
        )
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f"{label(path)} cannot be read: {error}") from error


def _added_tokens(
    folder: Path, model: Any, *, fast: bool, implied: Callable[[], Iterable[AddedToken]] = tuple
) -> TokenizerTokens:
    def known(content: str) -> int | None:
        number = int(model.piece_to_id(content))
        return None if number == model.unk_id() and content != model.id_to_piece(number) else number

    return read_added_tokens(folder, known, model.get_piece_size(), fast=fast, implied=implied())


def _extra_ids(folder: Path, size: int) -> list[AddedToken]:
    """Return the sentinels that the slow class adds if the folder has a configuration.

    `<extra_id_0>` has the last id.
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


class _T5Normalizer:
    """The text normalization of the fast T5 class.

    It applies the model's map of letters, removes space at the end, and replaces several spaces by U+2581. The library
    applies the map together with a rule for spaces, so each letter is tested by itself.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._letter_class = lru_cache(8192)(self._classify)

    def __call__(self, text: str) -> str:
        runs = groupby(text, self._letter_class)
        spaced = "".join(self._run(class_, "".join(letters)) for class_, letters in runs)
        return _SEVERAL_SPACES.sub(SPACE, spaced.rstrip(WHITE_SPACE))

    def _run(self, class_: str, letters: str) -> str:
        return class_ * len(letters) if class_ in ("", " ") else self._normal(letters)

    def _classify(self, letter: str) -> str:
        """Return "" or " " for a letter that is mapped to nothing or to a space, otherwise ANCHOR."""
        normal = self._normal(letter + ANCHOR)
        return {ANCHOR: "", SPACE + ANCHOR: " "}.get(normal, ANCHOR) if letter != SPACE else ANCHOR

    def _normal(self, text: str) -> str:
        normal: str = self._model.normalize(ANCHOR + text)
        return normal.removeprefix(SPACE).removeprefix(ANCHOR)


def _check_t5(folder: Path, found: TokenizerTokens, *, fast: bool) -> None:
    """Reject settings that SentencePiece cannot follow.

    Without `legacy`, transformers puts no space before a text.
    """
    required: dict[str, Any] = {"padding_side": "right", "add_prefix_space": True, "sp_model_kwargs": {}}
    if not fast or any(not token.special for token in found.tokens.values()):
        required["legacy"] = True
    _check_settings(folder, found, required)


def _check_settings(folder: Path, found: TokenizerTokens, required: Mapping[str, Any]) -> None:
    """Reject other values of these settings; absent ones are right."""
    for key, value in required.items():
        found_value = found.config.get(key, value)
        if found_value not in (value, None):
            where = f"{folder.name}/{added_tokens.CONFIG}"
            raise ModelFileError(f"{where}: {key} must be {value!r}, not {found_value!r}")


def _splitter(
    found: TokenizerTokens, controls: Iterable[str], normalize: Callable[[str], str] | None, *, expands: bool
) -> TokenSplitter:
    named = [found.roles[role] for role in CONTROL_ROLES if role in found.roles]
    return TokenSplitter(found.matched(*controls, *named), normalize=normalize, expands=expands)


def _control_id(found: TokenizerTokens, role: str, usual: int) -> int:
    """Return the id of a control token; `usual`, the model's own, if the folder does not name it."""
    name = found.roles.get(role, "")
    return found.tokens[name].id if name in found.tokens else max(usual, 0)
