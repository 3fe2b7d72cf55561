"""One text encoder: reading a prompt as chunks, and computing their embeddings.

CLIP reads 75 tokens at a time. A longer prompt is read in chunks, each between its own control tokens, and the
embeddings of the chunks follow each other. A chunk ends after a comma if there is one near its end, and at a BREAK of
a weighted prompt. Other encoders read one chunk; the rest of the prompt is cut off, and a BREAK is left out.

Embeddings of weighted tokens are multiplied by their weights, and the chunk is then scaled back to its former mean, as
published UIs do it. The pooled embedding is that of the first chunk.

Encoders with a chat template, or with padding of their own, read one chunk (`chat_templates`).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...errors import InvalidField
from ..adapters.embeddings import FIRST_ID, INPUT
from ..family import TO_LENGTH
from .chat_templates import check_template, frame_prompt, images_text
from .combine import EncoderOutput, output_name, skipped_output
from .prompt_weights import PromptSyntaxError, parse_weights
from .repair import limit_marks
from .tokenizer import Tokens
from .vision import IMAGES, POSITIONS, ImageReader, grids_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..adapters.adapters import Adapters, AdapterWeights
    from ..adapters.embeddings import Embeddings
    from ..family import TextEncoderSpec
    from ..model import Array, Prompt, Reference
    from ..runtime.session import Session
    from .prompt_weights import WeightedText
    from .tokenizer import Tokenizer

IDS, MASK = "input_ids", "attention_mask"
MAX_CHUNKS = 10
CACHED_TOKENIZERS = 16  # one for each choice of embeddings
COMMA_DISTANCE = 20  # tokens before a chunk's end in which a comma ends it, as in AUTOMATIC1111's web UI

WeightedToken = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part of a prompt that the encoder sees in one call.

    `prompt_weights` are those of the prompt's own tokens; () if all are 1. The first `skip` positions after the first
    token belong to an instruction and are left out of the result. `embeddings` are the files whose vectors the ids from
    `FIRST_ID` on name; () if there is no such id. `images` are those that it reads with the text.
    """

    tokens: Tokens
    prompt_weights: tuple[float, ...] = ()
    skip: int = 0
    embeddings: tuple[str, ...] = ()
    images: tuple[Reference, ...] = ()

    @property
    def prompt_tokens(self) -> int:
        """Return the number of the prompt's own tokens."""
        return max(self.tokens.count - (self.skip + 1 if self.skip else 0), 0)


class Encoder(Protocol):
    """One text encoder of a model. With `chunked`, prompts may have several chunks."""

    @property
    def chunked(self) -> bool: ...  # noqa: D102
    def read(self, prompt: Prompt) -> list[Chunk]: ...  # noqa: D102
    def empty_chunk(self) -> Chunk: ...  # noqa: D102
    def encode(  # noqa: D102
        self, chunks: Sequence[Chunk], adapters: AdapterWeights = (), clip_skip: int = 0
    ) -> EncoderOutput: ...


class TextEncoder:
    """A tokenizer and a graph.

    Raises:
        ModelFileError: the graph does not have the inputs and outputs of the family.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        session: Session,
        spec: TextEncoderSpec,
        adapters: Adapters,
        embeddings: Embeddings | None = None,
        vision: Session | None = None,
    ) -> None:
        self._outputs = [output_name(name, session.outputs) for name in (spec.embeds, spec.pooled) if name]
        for name in self._outputs:
            session.require(inputs=(IDS,), output=name, optional=(MASK, POSITIONS, IMAGES))
        if spec.template:
            check_template(spec, tokenizer)
        self._framed = spec.template is not None or spec.padding != TO_LENGTH
        self._tokenizer, self._session, self._spec, self._adapters = tokenizer, session, spec, adapters
        self._images = ImageReader(session, vision, tokenizer.controls) if IMAGES in session.inputs else None
        self._instruction_tokens = len(list(tokenizer.ids(spec.instruction))) if spec.instruction else 0
        self._comma = list(tokenizer.ids(","))[-1:]
        self._embeddings = embeddings
        self._chosen: tuple[str, ...] = ()
        self._cached_with_embeddings = lru_cache(CACHED_TOKENIZERS)(self._with_embeddings)

    @property
    def chunked(self) -> bool:
        """Return whether longer prompts have several chunks."""
        return self._spec.tokenizer_kind.chunked

    def read(self, prompt: Prompt) -> list[Chunk]:
        """Return the chunks of a prompt, at least one.

        Raises:
            InvalidField: brackets are nested too deeply, a weight is too large, or an embedding does not fit.
        """
        if prompt.embeddings:
            return self._cached_with_embeddings(prompt.embeddings).read(replace(prompt, embeddings=()))
        if prompt.negative and not prompt.text:
            prompt = replace(prompt, text=self._spec.empty_negative)
        if self._framed:
            return [self._framed_chunk(prompt)]
        if self._instruction_tokens and not prompt.negative:
            return [self._instructed_chunk(prompt)]
        sections = self._sections(prompt)
        if not self.chunked:
            return [self._chunk(list(islice(chain.from_iterable(sections), self._tokenizer.room)))]
        chunks: list[Chunk] = []
        for number, section in enumerate(sections, 1):
            own = self._section_chunks(section, MAX_CHUNKS - len(chunks))
            chunks += own if number < len(sections) or own[0].prompt_tokens or not chunks else []
            if len(chunks) == MAX_CHUNKS:
                break
        return chunks

    def _section_chunks(self, section: Iterator[WeightedToken], most: int) -> list[Chunk]:
        """Return the chunks of the section between two BREAKs, at least one and at most `most`."""
        room = self._tokenizer.room
        ids = list(islice(section, room * most))
        chunks: list[Chunk] = []
        while len(chunks) < most and (ids or not chunks):
            end = self._chunk_end(ids, room)
            chunks.append(self._chunk(ids[:end]))
            ids = ids[end:]
        return chunks

    def _with_embeddings(self, chosen: tuple[str, ...]) -> TextEncoder:
        """Return this encoder with a tokenizer that knows the names of the chosen embeddings.

        Raises:
            InvalidField: an embedding does not fit this model.
        """
        assert self._embeddings  # noqa: S101 - the engine's plan has checked the names against the folder
        other = copy(self)
        other._tokenizer = self._tokenizer.extended(self._embeddings.tokens(self._spec.encoder, chosen))  # noqa: SLF001
        other._chosen = chosen  # noqa: SLF001
        return other

    def empty_chunk(self) -> Chunk:
        """Return a chunk without words, used as padding."""
        return self._chunk([])

    def encode(self, chunks: Sequence[Chunk], adapters: AdapterWeights = (), clip_skip: int = 0) -> EncoderOutput:
        """Return embeddings [tokens, dim], pooled [dim] if the encoder has it, and mask [tokens] of all chunks.

        Raises:
            InvalidField: a CLIP's graph does not give the layer before the last `clip_skip` ones.
        """
        names = self._outputs
        if clip_skip and self.chunked:
            names = [skipped_output(names[0], clip_skip, self._session.outputs), *names[1:]]
        outputs = [self._encode_chunk(chunk, adapters, names) for chunk in chunks]
        masks = [output.mask for output in outputs if output.mask is not None]
        embeds = np.concatenate([output.embeds for output in outputs])
        return EncoderOutput(embeds, outputs[0].pooled, np.concatenate(masks))

    def _sections(self, prompt: Prompt, before: str = "") -> list[Iterator[WeightedToken]]:
        """Return the ids of a prompt with their weights, one iterator for each section between BREAKs."""
        first, *more = self._segments(prompt)
        first = [(before, 1.0), *first] if prompt.weighted else [(before + first[0][0], 1.0)]
        return [self._weighted_ids(section) for section in (first, *more)]

    def _segments(self, prompt: Prompt) -> list[list[WeightedText]]:
        """Return the texts of a prompt with their weights, one list for each section between BREAKs."""
        text = limit_marks(prompt.text)
        if not prompt.weighted:
            return [[(self._spec.clean(text), 1.0)]]
        try:
            sections = parse_weights(text.strip())
        except PromptSyntaxError as error:
            raise InvalidField("negative_prompt" if prompt.negative else "prompt", str(error)) from error
        return [[(self._clean_segment(words), weight) for words, weight in section] for section in sections]

    def _clean_segment(self, words: str) -> str:
        """Clean a part of a prompt, but keep the space around it, which separates words."""
        inner = words.strip()
        return words.replace(inner, self._spec.clean(inner), 1) if inner else words

    def _weighted_ids(self, segments: Sequence[tuple[str, float]]) -> Iterator[WeightedToken]:
        for words, weight in segments:
            yield from ((token, weight) for token in self._tokenizer.ids(words))

    def _instructed_chunk(self, prompt: Prompt) -> Chunk:
        """Return a chunk of the instruction and the prompt, as long as diffusers' SanaPipeline reads."""
        longer = self._instruction_tokens - 1
        sections = self._sections(prompt, self._spec.instruction)
        ids = list(islice(chain.from_iterable(sections), self._tokenizer.room + longer))
        return self._chunk(ids, longer)

    def _framed_chunk(self, prompt: Prompt) -> Chunk:
        """Return a chunk of the prompt in its chat template."""
        images, segments = images_text(self._spec, grids_of(prompt.images)), self._segments(prompt)
        if self._spec.instruction and not prompt.negative:
            segments[0] = [(self._spec.instruction, 1.0), *segments[0]]
        framed = frame_prompt(self._spec, self._tokenizer, segments, negative=prompt.negative, images=images)
        return replace(self._made_chunk(*framed), images=prompt.images)

    def _chunk(self, ids: list[WeightedToken], longer: int = 0) -> Chunk:
        tokens = self._tokenizer.frame([token for token, _ in ids], longer)
        return self._made_chunk(tokens, tuple(weight for _, weight in ids), longer)

    def _made_chunk(self, tokens: Tokens, weights: tuple[float, ...], longer: int = 0) -> Chunk:
        chosen = self._chosen if any(token >= FIRST_ID for token in tokens.ids) else ()
        return Chunk(tokens, weights if any(weight != 1 for weight in weights) else (), longer, chosen)

    def _chunk_end(self, ids: list[WeightedToken], room: int) -> int:
        """Return where the chunk ends: when it is full, or after the last comma near its end if more follows."""
        if len(ids) > room:
            commas = (at for at in range(room, room - COMMA_DISTANCE, -1) if at > 0 and [ids[at - 1][0]] == self._comma)
            return next(commas, room)
        return room

    def _encode_chunk(self, chunk: Chunk, adapters: AdapterWeights, names: Sequence[str]) -> EncoderOutput:
        inputs: dict[str, Any] = {IDS: np.array([chunk.tokens.ids], np.int64)}
        inputs |= self._adapters.graph_inputs(self._spec.encoder, [adapters])
        if chunk.embeddings and self._embeddings:
            inputs[INPUT] = self._embeddings.vectors(self._spec.encoder, chunk.embeddings)
        if MASK in self._session.inputs:
            inputs[MASK] = chunk.tokens.mask[None]
        if self._images:
            inputs |= self._images.inputs(chunk.tokens.ids, chunk.images)
        elif POSITIONS in self._session.inputs:
            inputs[POSITIONS] = chunk.tokens.position_ids[None]
        embeds, *pooled = self._session.compute(names, inputs)
        drop, end = self._ends(chunk.tokens)
        kept = np.r_[0, chunk.skip + 1 : end - drop]
        weighted = _apply_weights(embeds[0][drop:], chunk, chunk.tokens.first - drop)[kept]
        return EncoderOutput(weighted, pooled[0][0] if pooled else None, chunk.tokens.mask[drop:][kept])

    def _ends(self, tokens: Tokens) -> tuple[int, int]:
        """Return the first of the tokens that are in the result, and the first behind these."""
        if self._spec.bare and tokens.padded_at is not None:
            return tokens.first, len(tokens.ids) - (tokens.used - tokens.padded_at)
        return self._spec.drop, len(tokens.ids)


class AbsentEncoder:
    """Replaces an optional encoder that the folder does not have; returns zeros [length, dim]."""

    chunked = False

    def __init__(self, length: int, dim: int) -> None:
        self._zeros = np.zeros((length, dim), np.float32)

    def read(self, prompt: Prompt) -> list[Chunk]:  # noqa: ARG002 - every prompt gives the same
        """Return one empty chunk."""
        return [self.empty_chunk()]

    def empty_chunk(self) -> Chunk:
        """Return a chunk without tokens."""
        return Chunk(Tokens((), 0))

    def encode(
        self,
        chunks: Sequence[Chunk],  # noqa: ARG002 - as above
        adapters: AdapterWeights = (),  # noqa: ARG002
        clip_skip: int = 0,  # noqa: ARG002
    ) -> EncoderOutput:
        """Return zeros."""
        return EncoderOutput(self._zeros)


def _apply_weights(embeds: Array, chunk: Chunk, first: int) -> Array:
    """Multiply embeddings [length, dim] by the weights of the tokens from `first` on, and keep their mean."""
    if not chunk.prompt_weights:
        return embeds
    weights = np.ones((len(embeds), 1), np.float32)
    weights[first : first + len(chunk.prompt_weights), 0] = chunk.prompt_weights
    weighted = embeds * weights
    mean = weighted.mean()
    return weighted * (embeds.mean() / mean) if mean else weighted
