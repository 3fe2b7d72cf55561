"""One text encoder: a prompt's pieces, and what the graph makes of them.

CLIP reads 75 tokens at a time. Longer prompts are read in pieces, each between control tokens of its own, whose
embeddings follow each other; a piece ends after a comma where there is one near its end. Other encoders read what they
can hold, and the rest is cut off.

Embeddings of weighted tokens are multiplied, and the piece is brought back to the mean that it had, as published UIs
do it. A pooled embedding is that of the first piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .joins import Encoded
from .parts import PENULTIMATE
from .tokens import Tokens
from .weights import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .adapters import Adapters, Loras
    from .model import Array, Prompt
    from .parts import TextPart
    from .session import Session
    from .tokenizers import Tokenizer

IDS, MASK = "input_ids", "attention_mask"
MAX_PIECES = 10
NEAR = 20  # tokens before a piece's end in which a comma ends it, as in AUTOMATIC1111's web UI

Weighted = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """What the encoder sees at a time; `weights` of the prompt's own tokens, () where none is weighted.

    `skip` positions after the first belong to an instruction, and are left out of the result.
    """

    tokens: Tokens
    weights: tuple[float, ...] = ()
    skip: int = 0

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
    """A tokenizer and a graph. Raises Fault where the graph is not what the family says."""

    def __init__(self, tokenizer: Tokenizer, session: Session, part: TextPart, adapters: Adapters) -> None:
        self._outputs = [_resolved(name, session.outputs) for name in (part.embeds, part.pooled) if name]
        for name in self._outputs:
            session.require(inputs=(IDS,), output=name, optional=(MASK,))
        self._tokenizer, self._session, self._part, self._adapters = tokenizer, session, part, adapters
        self._longer = len(list(tokenizer.ids(part.instruction))) if part.instruction else 0
        self._comma = list(tokenizer.ids(","))[-1:]

    @property
    def chunked(self) -> bool:
        """Whether longer prompts have several pieces."""
        return self._part.kind.chunked

    def read(self, prompt: Prompt) -> list[Piece]:
        """Return the pieces of a prompt, at least one."""
        if self._longer and not prompt.negative:
            return [self._instructed(prompt)]
        room = self._tokenizer.room
        most = MAX_PIECES if self.chunked else 1
        pieces: list[Piece] = []
        ids = list(islice(self._ids(prompt), room * most))
        while len(pieces) < most and (ids or not pieces):
            end = self._end(ids, room) if self.chunked else room
            pieces.append(self._piece(ids[:end]))
            ids = ids[end:]
        return pieces

    def blank(self) -> Piece:
        """Return a piece without words, which fills up."""
        return self._piece([])

    def encode(self, pieces: Sequence[Piece], loras: Loras = ()) -> Encoded:
        """Return embeddings [tokens, dim], pooled [dim] where the part has it, and mask [tokens]."""
        parts = [self._encode(piece, loras) for piece in pieces]
        masks = [part.mask for part in parts if part.mask is not None]
        return Encoded(np.concatenate([part.embeds for part in parts]), parts[0].pooled, np.concatenate(masks))

    def _ids(self, prompt: Prompt, before: str = "") -> Iterator[Weighted]:
        """Yield the ids of a prompt with their weights; weighted texts are read one by one."""
        text = self._part.clean(prompt.text)
        segments = [(before, 1.0), *parse(text)] if prompt.weighted else [(before + text, 1.0)]
        for words, weight in segments:
            yield from ((token, weight) for token in self._tokenizer.ids(words))

    def _instructed(self, prompt: Prompt) -> Piece:
        """Return the instruction and the prompt: of both together as much is read as diffusers' SanaPipeline reads."""
        longer = self._longer - 1
        ids = list(islice(self._ids(prompt, self._part.instruction), self._tokenizer.room + longer))
        return self._piece(ids, longer)

    def _piece(self, ids: list[Weighted], longer: int = 0) -> Piece:
        tokens = self._tokenizer.frame([token for token, _ in ids], longer)
        weights = tuple(weight for _, weight in ids)
        return Piece(tokens, weights if any(weight != 1 for weight in weights) else (), longer)

    def _end(self, ids: list[Weighted], room: int) -> int:
        """Return where a piece ends: full, or after the last comma near its end if more follows."""
        if len(ids) > room:
            commas = (at for at in range(room, room - NEAR, -1) if at > 0 and [ids[at - 1][0]] == self._comma)
            return next(commas, room)
        return room

    def _encode(self, piece: Piece, loras: Loras) -> Encoded:
        feeds: dict[str, Any] = {IDS: np.array([piece.tokens.ids], np.int64)}
        feeds |= self._adapters.feeds(self._part.encoder, [loras])
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
