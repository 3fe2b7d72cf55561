"""CLIP text encoders that read more or fewer than 77 tokens, such as LongCLIP's 248, draw what diffusers draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from diffusers import DiffusionPipeline

from tintype import export
from tintype.export.image_comparison import Studio, by_diffusers
from tintype.export.tiny.lively import enliven
from tintype.service.job import Job
from tintype.service.models.folder.manifest import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from tests.support.export.linked import linked

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

LONG = "a serene mountain lake at sunset, watercolor, " * 12


def changed(source: Path, out: Path, places: int, tokens: int) -> Path:
    """Write a pipeline whose encoder has so many places, and whose tokenizer asks for so many tokens."""
    pipeline = DiffusionPipeline.from_pretrained(source)
    config = transformers.CLIPTextConfig(**pipeline.text_encoder.config.to_dict() | {"max_position_embeddings": places})
    torch.manual_seed(0)
    pipeline.text_encoder = transformers.CLIPTextModel(config).eval()
    pipeline.tokenizer.model_max_length = tokens
    enliven(pipeline)
    pipeline.save_pretrained(out)
    return out


def job(prompt: str) -> Job:
    return Job(prompt=prompt, negative_prompt="fog", steps=3, seed=3, guidance_scale=5.0, width=128, height=128)


def embedded(pipeline: Any, pieces: list[str]) -> Any:
    """Return torch's embeddings of texts that the encoder can hold, one after the other."""
    length = pipeline.tokenizer.model_max_length
    ids = [pipeline.tokenizer(text, padding="max_length", max_length=length).input_ids for text in pieces]
    assert all(len(piece) == length for piece in ids)
    with torch.no_grad():
        return torch.cat([pipeline.text_encoder(torch.tensor([piece])).last_hidden_state for piece in ids], dim=1)


@pytest.mark.parametrize(("places", "tokens"), [(248, 248), (64, 64), (248, 77)])
def test_lengths(
    places: int, tokens: int, pipelines: Callable[[str], Path], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """A prompt that fits is read at once, as diffusers reads it; a longer one in pieces of that length."""
    source = changed(pipelines("sd15"), tmp_path / "source", places, tokens)
    assert export.main([str(source), str(tmp_path / "out")]) == 0
    assert read(tmp_path / "out").spec.max_tokens == tokens
    pipeline = DiffusionPipeline.from_pretrained(source)
    count = (tokens - 2) // (len(pipeline.tokenizer("fog , ").input_ids) - 2)
    piece = "fog , " * count  # the first comma after which nothing more fits
    fits = LONG[: max(end for end in range(len(LONG)) if len(pipeline.tokenizer(LONG[:end]).input_ids) <= tokens)]
    with Studio([linked(tmp_path / "out", tmp_path / "small")]) as studio:
        ours, longer = studio.draw(job(fits)), studio.draw(job(piece + "a red house"))
    compare(ours, by_diffusers(pipeline, job(fits)))
    with torch.no_grad():
        images = pipeline(
            prompt_embeds=embedded(pipeline, [piece, "a red house"]),
            negative_prompt_embeds=embedded(pipeline, ["fog", ""]),
            num_inference_steps=3,
            guidance_scale=5.0,
            height=128,
            width=128,
            generator=torch.Generator("cpu").manual_seed(3),
            output_type="np",
        ).images
    compare(longer, np.moveaxis(images, -1, 1))


def test_a_tokenizer_longer_than_its_encoder_is_refused(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What diffusers could not draw is refused before weights are read, with both numbers."""
    source = changed(pipelines("sd15"), tmp_path / "source", 77, 248)
    assert export.main([str(source), str(tmp_path / "out")]) == 2
    assert "tokenizer: model_max_length 248 is more than the 77 places of text_encoder" in capsys.readouterr().err
