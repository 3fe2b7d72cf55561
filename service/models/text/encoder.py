"""One text encoder: a prompt's pieces, and what the graph makes of them.

CLIP reads 75 tokens at a time. Longer prompts are read in pieces, each between control tokens of its own, whose
embeddings follow each other; a piece ends after a comma where there is one near its end, and at a BREAK of a weighted
prompt. Other encoders read what they can hold, the rest is cut off, and a BREAK is left out.

Embeddings of weighted tokens are multiplied, and the piece is brought back to the mean that it had, as published UIs
do it. A pooled embedding is that of the first piece.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...errors import InvalidField
from ..family import PENULTIMATE
from .combine import Encoded
from .embeddings import FIRST_ID, INPUT
from .prompt_weights import Malformed, parse
from .repair import stream_safe
from .tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..family import TextPart
    from ..model import Array, Prompt
    from ..pipeline.lora import Adapters, Loras
    from ..runtime.session import Session
    from .embeddings import Embeddings
    from .tokenizers import Tokenizer

IDS, MASK = "input_ids", "attention_mask"
MAX_PIECES = 10
KEPT_TOKENIZERS = 16  # of choices of embeddings
NEAR = 20  # tokens before a piece's end in which a comma ends it, as in AUTOMATIC1111's web UI

Weighted = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """What the encoder sees at a time; `weights` of the prompt's own tokens, () where none is weighted.

    `skip` positions after the first belong to an instruction, and are left out of the result. `embeddings` are the
    files that ids from `FIRST_ID` on are vectors of, () where there is no such id.
    """

    tokens: Tokens
    weights: tuple[float, ...] = ()
    skip: int = 0
    embeddings: tuple[str, ...] = ()

    @property
    def words(self) -> int:
        """How many tokens are the prompt's own."""
        return max(self.tokens.count - (self.skip + 1 if self.skip else 0), 0)


class Encoder(Protocol):
    """One text encoder of a model. Where `chunked`, prompts may have several pieces."""

    @property
    def chunked(self) -> bool: ...  # noqa: D102
    def read(self, prompt: Prompt) -> list[Piece]: ...  # noqa: D102
    def blank(self) -> Piece: ...  # noqa: D102
    def encode(self, pieces: Sequence[Piece], loras: Loras = ()) -> Encoded: ...  # noqa: D102


class TextEncoder:
    """A tokenizer and a graph. Raises ModelFileError where the graph is not what the family says."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        session: Session,
        part: TextPart,
        adapters: Adapters,
        embeddings: Embeddings | None = None,
    ) -> None:
        self._outputs = [_resolved(name, session.outputs) for name in (part.embeds, part.pooled) if name]
        for name in self._outputs:
            session.require(inputs=(IDS,), output=name, optional=(MASK,))
        self._tokenizer, self._session, self._part, self._adapters = tokenizer, session, part, adapters
        self._longer = len(list(tokenizer.ids(part.instruction))) if part.instruction else 0
        self._comma = list(tokenizer.ids(","))[-1:]
        self._embeddings = embeddings
        self._chosen: tuple[str, ...] = ()
        self._knowing = lru_cache(KEPT_TOKENIZERS)(self._with)

    @property
    def chunked(self) -> bool:
        """Whether longer prompts have several pieces."""
        return self._part.kind.chunked

    def read(self, prompt: Prompt) -> list[Piece]:
        """Return the pieces of a prompt, at least one.

        Raises InvalidField if its brackets can't be read.
        """
        if prompt.embeddings:
            return self._knowing(prompt.embeddings).read(replace(prompt, embeddings=()))
        if self._longer and not prompt.negative:
            return [self._instructed(prompt)]
        sections = self._sections(prompt)
        if not self.chunked:
            return [self._piece(list(islice(chain.from_iterable(sections), self._tokenizer.room)))]
        pieces: list[Piece] = []
        for number, section in enumerate(sections, 1):
            own = self._chunks(section, MAX_PIECES - len(pieces))
            pieces += own if number < len(sections) or own[0].words or not pieces else []
            if len(pieces) == MAX_PIECES:
                break
        return pieces

    def _chunks(self, section: Iterator[Weighted], most: int) -> list[Piece]:
        """Return the pieces of what stands between two BREAKs, at least one."""
        room = self._tokenizer.room
        ids = list(islice(section, room * most))
        pieces: list[Piece] = []
        while len(pieces) < most and (ids or not pieces):
            end = self._end(ids, room)
            pieces.append(self._piece(ids[:end]))
            ids = ids[end:]
        return pieces

    def _with(self, chosen: tuple[str, ...]) -> TextEncoder:
        """Return the same encoder, whose tokenizer knows the names of some embeddings.

        Raises InvalidField.
        """
        assert self._embeddings  # noqa: S101 - a request that names some has been planned by what the folder lists
        other = copy(self)
        other._tokenizer = self._tokenizer.extended(self._embeddings.tokens(self._part.encoder, chosen))  # noqa: SLF001
        other._chosen = chosen  # noqa: SLF001
        return other

    def blank(self) -> Piece:
        """Return a piece without words, which fills up."""
        return self._piece([])

    def encode(self, pieces: Sequence[Piece], loras: Loras = ()) -> Encoded:
        """Return embeddings [tokens, dim], pooled [dim] where the part has it, and mask [tokens]."""
        parts = [self._encode(piece, loras) for piece in pieces]
        masks = [part.mask for part in parts if part.mask is not None]
        return Encoded(np.concatenate([part.embeds for part in parts]), parts[0].pooled, np.concatenate(masks))

    def _sections(self, prompt: Prompt, before: str = "") -> list[Iterator[Weighted]]:
        """Return the ids of a prompt with their weights, section by section.

        Weighted texts are read one by one.
        """
        text = stream_safe(prompt.text)
        if not prompt.weighted:
            return [self._ids([(before + self._part.clean(text), 1.0)])]
        try:
            sections = parse(text.strip())
        except Malformed as error:
            raise InvalidField("negative_prompt" if prompt.negative else "prompt", str(error)) from error
        cleaned = [[(self._cleaned(words), weight) for words, weight in section] for section in sections]
        return [self._ids(section) for section in ([(before, 1.0), *cleaned[0]], *cleaned[1:])]

    def _cleaned(self, words: str) -> str:
        """Clean a part of a prompt.

        The space around it stays: it separates two words.
        """
        inner = words.strip()
        return words.replace(inner, self._part.clean(inner), 1) if inner else words

    def _ids(self, segments: Sequence[tuple[str, float]]) -> Iterator[Weighted]:
        for words, weight in segments:
            yield from ((token, weight) for token in self._tokenizer.ids(words))

    def _instructed(self, prompt: Prompt) -> Piece:
        """Return the instruction and the prompt: of both together as much is read as diffusers' SanaPipeline reads."""
        longer = self._longer - 1
        sections = self._sections(prompt, self._part.instruction)
        ids = list(islice(chain.from_iterable(sections), self._tokenizer.room + longer))
        return self._piece(ids, longer)

    def _piece(self, ids: list[Weighted], longer: int = 0) -> Piece:
        tokens = self._tokenizer.frame([token for token, _ in ids], longer)
        weights = tuple(weight for _, weight in ids)
        chosen = self._chosen if any(token >= FIRST_ID for token in tokens.ids) else ()
        return Piece(tokens, weights if any(weight != 1 for weight in weights) else (), longer, chosen)

    def _end(self, ids: list[Weighted], room: int) -> int:
        """Return where a piece ends: full, or after the last comma near its end if more follows."""
        if len(ids) > room:
            commas = (at for at in range(room, room - NEAR, -1) if at > 0 and [ids[at - 1][0]] == self._comma)
            return next(commas, room)
        return room

    def _encode(self, piece: Piece, loras: Loras) -> Encoded:
        feeds: dict[str, Any] = {IDS: np.array([piece.tokens.ids], np.int64)}
        feeds |= self._adapters.feeds(self._part.encoder, [loras])
        if piece.embeddings and self._embeddings:
            feeds[INPUT] = self._embeddings.vectors(self._part.encoder, piece.embeddings)
        if MASK in self._session.inputs:
            feeds[MASK] = piece.tokens.mask[None]
        embeds, *pooled = self._session.compute(self._outputs, feeds)
        kept = np.r_[0, piece.skip + 1 : len(piece.tokens.ids)]
        return Encoded(_weighted(embeds[0], piece)[kept], pooled[0][0] if pooled else None, piece.tokens.mask[kept])


class AbsentEncoder:
    """Stands for an optional encoder that is not there: zeros [length, dim]."""

    chunked = False

    def __init__(self, length: int, dim: int) -> None:
        self._zeros = np.zeros((length, dim), np.float32)

    def read(self, prompt: Prompt) -> list[Piece]:  # noqa: ARG002 - it reads nothing
        """Return the only piece."""
        return [self.blank()]

    def blank(self) -> Piece:
        """Return the only piece."""
        return Piece(Tokens((), 0))

    def encode(self, pieces: Sequence[Piece], loras: Loras = ()) -> Encoded:  # noqa: ARG002 - all are alike
        """Return zeros."""
        return Encoded(self._zeros)


def _resolved(name: str, outputs: Sequence[str]) -> str:
    """Return the name of a graph's output; the last layer but one has a number."""
    if name != PENULTIMATE:
        return name
    layers = [int(output.split(".")[1]) for output in outputs if output.startswith("hidden_states.")]
    return f"hidden_states.{max(layers, default=0) - 1}"


def _weighted(embeds: Array, piece: Piece) -> Array:
    """Multiply embeddings [length, dim] by their tokens' weights, and keep their mean."""
    if not piece.weights:
        return embeds
    weights = np.ones((len(embeds), 1), np.float32)
    first = piece.tokens.first
    weights[first : first + len(piece.weights), 0] = piece.weights
    weighted = embeds * weights
    mean = weighted.mean()
    return weighted * (embeds.mean() / mean) if mean else weighted
