"""A prompt is read as chunks with weights, and their embeddings are concatenated."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.complexity import check_linear
from tests.support.models.graphs import NONE, TextGraph, as_session
from tintype.service.errors import InvalidField
from tintype.service.models import Prompt
from tintype.service.models.family import TextEncoderSpec
from tintype.service.models.text.clip_tokenizer import ClipTokenizer
from tintype.service.models.text.combine import PENULTIMATE
from tintype.service.models.text.encoder import MAX_CHUNKS, TextEncoder
from tintype.service.models.text.tokenizer import Tokens
from tintype.service.models.text.tokenizers import CLIP, GEMMA, T5

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ROOM = 14


class Letters:
    """A tokenizer of letters by their code points, between 1 and 2, padded with 0; spaces are dropped."""

    room = ROOM

    def ids(self, text: str) -> Iterator[int]:
        return (ord(letter) for letter in text if letter != " ")

    def frame(self, ids: Sequence[int], longer: int = 0) -> Tokens:
        ids = ids[: self.room + longer]
        padding = (0,) * (self.room + longer - len(ids))
        return Tokens((1, *ids, 2, *padding), len(ids), 1, len(ids) + 2)


def encoder(part: TextEncoderSpec, graph: TextGraph | None = None) -> TextEncoder:
    tokenizer: Any = Letters()
    return TextEncoder(tokenizer, as_session(graph or TextGraph()), part, NONE)


def texts(encoder: TextEncoder, prompt: str, *, weighted: bool = False) -> list[str]:
    """Return the words of each chunk."""
    chunks = encoder.read(Prompt(prompt, weighted=weighted))
    return ["".join(map(chr, chunk.tokens.ids[1 : chunk.tokens.count + 1])) for chunk in chunks]


def test_long_prompts_have_several_chunks() -> None:
    """Every chunk except the last is full, or ends after a comma near its end; no token is lost."""
    clip = encoder(TextEncoderSpec())
    assert texts(clip, "") == [""]
    assert texts(clip, "a" * ROOM) == ["a" * ROOM]
    assert texts(clip, "a" * ROOM + "bc") == ["a" * ROOM, "bc"]
    assert texts(clip, "a cat, black, with a hat, sits") == ["acat,black,", "withahat,sits"]
    assert texts(clip, "abc," * 3 + "d") == ["abc,abc,abc,d"]


def test_the_number_of_chunks_is_bounded() -> None:
    """Tokens beyond the last chunk are not read."""
    assert texts(encoder(TextEncoderSpec()), "a" * 32_000) == ["a" * ROOM] * MAX_CHUNKS


def test_other_encoders_read_one_chunk() -> None:
    """T5 and Gemma cut a longer prompt off."""
    assert texts(encoder(TextEncoderSpec(tokenizer_kind=T5)), "a" * 20) == ["a" * ROOM]


def test_chunks_are_concatenated() -> None:
    """Embeddings and masks are those of both chunks, the pooled embedding that of the first."""
    part = TextEncoderSpec(pooled="pooler_output")
    clip = encoder(part)
    made = clip.encode(clip.read(Prompt("a" * ROOM + "b")))
    assert made.embeds.ravel().tolist() == [1, *[97] * ROOM, 2, 1, 98, 2, *[0] * (ROOM - 1)]
    assert made.pooled is not None
    assert made.pooled.tolist() == [3 + 97 * ROOM]
    assert made.mask is not None
    assert made.mask.tolist() == [1] * (ROOM + 2) + [1] * 3 + [0] * (ROOM - 1)


def test_the_penultimate_layer_is_found_by_its_number() -> None:
    """SDXL reads the layer before the last; graphs number their layers from 0."""
    graph = TextGraph()
    encoder(TextEncoderSpec(embeds=PENULTIMATE), graph).encode(encoder(TextEncoderSpec()).read(Prompt("a")))
    assert graph.asked == ["hidden_states.1"]


def test_graphs_with_a_mask_input_get_the_mask() -> None:
    """The mask excludes padding."""
    made = encoder(TextEncoderSpec(tokenizer_kind=T5), TextGraph(masked=True))
    embeds = made.encode(made.read(Prompt("ab"))).embeds.ravel()
    assert embeds.tolist() == [1, 97, 98, 2, *[100] * (ROOM - 2)]


def test_weights_multiply_and_the_mean_is_kept() -> None:
    """Only the prompt's own tokens are weighted, in each chunk separately; a weight of 1 changes no bit."""
    clip = encoder(TextEncoderSpec())
    plain = clip.encode(clip.read(Prompt("abc"))).embeds
    heavy = clip.encode(clip.read(Prompt("a(b:3)c", weighted=True))).embeds
    weights = np.ones((ROOM + 2, 1))
    weights[2] = 3
    expected = plain * weights * plain.mean() / (plain * weights).mean()
    assert heavy == pytest.approx(expected, rel=1e-6)
    same = clip.encode(clip.read(Prompt("a(b:1)c", weighted=True))).embeds
    assert np.array_equal(same, plain)


def test_brackets_are_text_without_weighting() -> None:
    """In a weighted prompt brackets are removed; in a plain one they are text."""
    clip = encoder(TextEncoderSpec())
    assert texts(clip, "a(b:3)c") == ["a(b:3)c"]
    assert texts(clip, "a(b:3)c", weighted=True) == ["abc"]


@pytest.mark.parametrize(
    ("prompt", "chunks"),
    [
        ("a BREAK b", ["a", "b"]),
        ("BREAK a BREAK BREAK b BREAK", ["", "a", "", "b"]),
        ("a" * (ROOM + 1) + " BREAK (b:1.3)", ["a" * ROOM, "a", "b"]),
        ("a" * ROOM + " BREAK b", ["a" * ROOM, "b"]),
        ("(a BREAK b:1.3)c", ["a", "bc"]),
        ("BREAK", [""]),
        ("a BREAK " * 32, ["a"] * MAX_CHUNKS),
    ],
)
def test_break_begins_a_chunk(prompt: str, chunks: list[str]) -> None:
    """The text after BREAK is read in a new chunk; in a plain prompt BREAK is a word."""
    clip = encoder(TextEncoderSpec())
    assert texts(clip, prompt, weighted=True) == chunks
    assert "BREAK" in "".join(texts(clip, "a BREAK b"))


def test_break_is_left_out_without_chunks() -> None:
    """An encoder of one chunk leaves BREAK out, also if its text is made lower case."""
    t5 = encoder(TextEncoderSpec(tokenizer_kind=T5, clean=lambda text: text.lower().strip()))
    assert texts(t5, " A BREAK (B) ", weighted=True) == ["ab"]


@pytest.mark.parametrize("negative", [False, True])
def test_wrong_brackets_name_the_field(negative: bool) -> None:  # noqa: FBT001
    """The error says which of both prompts is wrong."""
    field = "negative_prompt" if negative else "prompt"
    with pytest.raises(InvalidField, match=f"^{field}: must not nest brackets"):
        encoder(TextEncoderSpec()).read(Prompt("(" * 100, negative=negative, weighted=True))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("worst", ["a(", "a,", "()", "\u0301\u0323", "BREAK ", " "])
def test_the_worst_prompt_takes_linear_work(tokenizer_folder: Path, worst: str, weighted: bool) -> None:  # noqa: FBT001
    """Reading twice the prompt takes at most about twice the work, for any content."""
    clip = TextEncoder(
        ClipTokenizer.from_folder(tokenizer_folder), as_session(TextGraph()), TextEncoderSpec(tokenizer_kind=CLIP), NONE
    )

    def read(text: str) -> None:
        with suppress(InvalidField):
            clip.read(Prompt(text, weighted=weighted))

    check_linear(read, lambda n: worst * (n // len(worst)))


def test_texts_are_cleaned_before_they_are_read() -> None:
    """The family's cleaning function is applied."""
    assert texts(encoder(TextEncoderSpec(clean=str.lower)), "ABC") == ["abc"]


def test_instructions_are_read_and_left_out() -> None:
    """Negative prompts have no instruction; of its output the last token is kept, as in diffusers' SanaPipeline."""
    part = TextEncoderSpec(tokenizer_kind=GEMMA, instruction="xyz")
    gemma = encoder(part)
    (chunk,) = gemma.read(Prompt("ab"))
    assert chunk.tokens.ids[:7] == (1, *map(ord, "xyzab"), 2)
    made = gemma.encode([chunk])
    assert made.embeds.ravel().tolist()[:5] == [1, *map(ord, "zab"), 2]
    assert len(made.embeds) == len(gemma.encode(gemma.read(Prompt("ab", negative=True))).embeds) == ROOM + 2
    assert chunk.prompt_tokens == 2


def test_chunks_count_as_the_tokenizer_does(tokenizer_folder: Path) -> None:
    """CLIP's tokenizer and the chunks agree on the number of the prompt's tokens."""
    clip = TextEncoder(
        ClipTokenizer.from_folder(tokenizer_folder), as_session(TextGraph()), TextEncoderSpec(tokenizer_kind=CLIP), NONE
    )
    assert [chunk.prompt_tokens for chunk in clip.read(Prompt("cat " * 20))] == [14, 6]
