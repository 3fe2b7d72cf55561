"""Images as Qwen2.5-VL reads them: patches, windows, places, and the text encoder around its two graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.byte_level import write_qwen
from tests.support.models.graphs import NONE, as_session
from tintype.service.models import Prompt
from tintype.service.models.family import Padding, TextEncoderSpec
from tintype.service.models.files import ModelFileError
from tintype.service.models.model import Reference
from tintype.service.models.text.byte_level_tokenizer import read_byte_level
from tintype.service.models.text.chat_templates import QWEN_IMAGE_EDIT_PLUS
from tintype.service.models.text.combine import masked_embeds
from tintype.service.models.text.encoder import TextEncoder
from tintype.service.models.text.encoders import TextEncoders
from tintype.service.models.text.tokenizers import QWEN
from tintype.service.models.text.vision import DEVIATION, MEAN, read_image, token_places, vision_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

PAD = "<|image_pad|>"


class VisionGraph:
    """A vision graph whose embedding of a token is the place of its first patch, and whose calls are counted."""

    label = "vision_encoder/model.onnx"

    def __init__(self) -> None:
        self.calls = 0

    def require(self, **_: object) -> None:
        pass

    def run(self, output: str, **inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        assert output == "image_embeds"
        self.calls += 1
        return np.asarray(inputs["position_ids"][::4], np.float32)


class LanguageGraph:
    """A language graph that keeps its inputs and gives the ids as embeddings."""

    label = "text_encoder/model.onnx"
    outputs = ("prompt_embeds",)
    widths: Mapping[str, int] = {"image_embeds": 2}
    inputs = dict.fromkeys(("input_ids", "attention_mask", "position_ids", "image_embeds"), (np.int64, 2))

    def __init__(self) -> None:
        self.given: list[Mapping[str, npt.NDArray[Any]]] = []

    def require(self, **_: object) -> None:
        pass

    def compute(self, _: Sequence[str], inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[np.float32]]:
        self.given.append(inputs)
        return [inputs["input_ids"][..., None].astype(np.float32)]


def levels(rows: int, columns: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return an image of so many tokens."""
    return np.random.default_rng(seed).integers(0, 256, (3, 28 * rows, 28 * columns), np.uint8)


def test_patches_are_normalised_and_belong_to_tokens() -> None:
    """The four patches of a token follow each other, twice for two frames, with CLIP's mean and deviation."""
    image = levels(1, 2)
    inputs = vision_inputs(image)
    assert inputs.position_ids.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]]
    patch = image[:, 14:28, 42:56].transpose(1, 2, 0) / 255
    wanted = ((patch - MEAN) / DEVIATION).transpose(2, 0, 1)[:, None]
    assert np.allclose(inputs.pixel_values[7], np.repeat(wanted, 2, 1).ravel(), atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(4, 8), (5, 9), (1, 1), (3, 13)])
def test_windows_have_four_by_four_tokens(rows: int, columns: int) -> None:
    """Every patch is in one window, with those of the same 4 x 4 tokens; smaller windows are filled up with -1."""
    inputs = vision_inputs(levels(rows, columns))
    patches, windows = 4 * rows * columns, inputs.window_patches
    assert windows.shape == (-(-rows // 4) * -(-columns // 4), 64)
    assert np.array_equal(windows.ravel()[inputs.patch_slots], np.arange(patches))
    assert (windows >= 0).sum() == patches
    for window in windows:
        places = {tuple(place) for place in (inputs.position_ids[window[window >= 0]] // 8).tolist()}
        assert len(places) == 1


def test_embeddings_come_row_by_row() -> None:
    """The order of windows is undone; a graph that gives another number is of another model."""
    embeds = read_image(as_session(VisionGraph()), levels(5, 6))
    assert embeds.tolist() == [[2 * row, 2 * column] for row in range(5) for column in range(6)]
    short: Any = VisionGraph()
    short.run = lambda *_, **__: np.zeros((29, 2), np.float32)
    with pytest.raises(ModelFileError, match="gives 29 embeddings for an image of 30 tokens"):
        read_image(short, levels(5, 6))


def test_places_of_text_and_images() -> None:
    """Images have a frame, rows and columns; text goes on behind their longer side."""
    places = token_places([1, 9, 9, 9, 9, 9, 9, 2, 9, 3], 9, [(2, 3), (1, 1)])
    assert places.tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 4, 5, 6],
        [0, 1, 1, 1, 2, 2, 2, 4, 5, 6],
        [0, 1, 2, 3, 1, 2, 3, 4, 5, 6],
    ]
    assert token_places([4, 5], 9, []).tolist() == [[0, 1]] * 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_qwen(tmp_path)


def encoder(folder: Path, language: LanguageGraph, vision: VisionGraph | None) -> TextEncoder:
    spec = TextEncoderSpec(
        tokenizer_kind=QWEN,
        embeds="prompt_embeds",
        template=QWEN_IMAGE_EDIT_PLUS,
        drop=5,
        padding=Padding(block=8),
        empty_negative=" ",
    )
    seeing = as_session(vision) if vision else None
    return TextEncoder(read_byte_level(folder, 400), as_session(language), spec, NONE, vision=seeing)


def references(*grids: tuple[int, int], seed: int = 0) -> tuple[Reference, ...]:
    images = (levels(*grid, seed=seed) for grid in grids)
    return tuple(Reference(image, image, f"{seed}{image.shape}".encode()) for image in images)


def test_a_prompt_with_images(folder: Path) -> None:
    """Each image stands before the prompt with its number and a token for each embedding, and is not cut off."""
    language, vision = LanguageGraph(), VisionGraph()
    encode = encoder(folder, language, vision)
    pad = read_byte_level(folder, 400).controls[PAD]
    (chunk,) = encode.read(Prompt("a cat", images=references((2, 3), (5, 9))))
    assert chunk.tokens.ids.count(pad) == 6 + 45
    made = encode.encode([chunk])
    given = language.given[0]
    assert len(made.embeds) == len(chunk.tokens.ids) - 5
    assert given["image_embeds"].shape == (51, 2)
    assert np.array_equal(given["position_ids"][0], token_places(chunk.tokens.ids, pad, [(2, 3), (5, 9)]))
    assert len(made.embeds) % 8 == 0


def test_images_are_read_once_for_both_prompts(folder: Path) -> None:
    """The negative prompt, and another prompt with the same images, read their embeddings again."""
    language, vision = LanguageGraph(), VisionGraph()
    encoders, images = TextEncoders([encoder(folder, language, vision)], masked_embeds), references((2, 3))
    encoders.encode([Prompt("a", images=images), Prompt("", negative=True, images=images)])
    encoders.encode([Prompt("b", images=images)])
    assert (vision.calls, len(language.given)) == (1, 3)


def test_other_images_are_another_conditioning(folder: Path) -> None:
    """The cache tells prompts with different images apart, and finds the same again."""
    language, vision = LanguageGraph(), VisionGraph()
    encoders = TextEncoders([encoder(folder, language, vision)], masked_embeds)
    for seed in (0, 1, 0):
        encoders.encode([Prompt("a", images=references((2, 3), seed=seed))])
    assert (vision.calls, len(language.given)) == (2, 2)


def test_a_prompt_without_images(folder: Path) -> None:
    """The language graph gets zeros that no token reads, with and without a vision graph."""
    for vision in (VisionGraph(), None):
        language = LanguageGraph()
        encode = encoder(folder, language, vision)
        encode.encode(encode.read(Prompt("a cat")))
        assert language.given[0]["image_embeds"].tolist() == [[0, 0]]
        assert np.array_equal(language.given[0]["position_ids"][0, 0], np.arange(language.given[0]["input_ids"].size))


def test_a_typed_image_token_is_text(folder: Path) -> None:
    """It is spelled out, and reads no embedding."""
    encode = encoder(folder, LanguageGraph(), VisionGraph())
    (chunk,) = encode.read(Prompt(PAD))
    assert read_byte_level(folder, 400).controls[PAD] not in chunk.tokens.ids
