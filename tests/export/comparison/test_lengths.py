"""CLIP text encoders with other limits than 77 tokens, such as LongCLIP's 248, give diffusers' images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from diffusers import DiffusionPipeline

from tintype import export
from tintype.export.image_comparison import LocalService, diffusers_images
from tintype.export.tiny.pipelines import scale_weights
from tintype.service.job import Job
from tintype.service.models.folder.reader import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from tests.support.export.link_model import link_model

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

LONG = "a serene mountain lake at sunset, watercolor, " * 12


def make_pipeline(source: Path, out: Path, positions: int, tokens: int) -> Path:
    """Write a pipeline whose encoder has `positions` positions, and whose tokenizer has a limit of `tokens`."""
    pipeline = DiffusionPipeline.from_pretrained(source)
    config = transformers.CLIPTextConfig(
        **pipeline.text_encoder.config.to_dict() | {"max_position_embeddings": positions}
    )
    torch.manual_seed(0)
    pipeline.text_encoder = transformers.CLIPTextModel(config).eval()
    pipeline.tokenizer.model_max_length = tokens
    scale_weights(pipeline)
    pipeline.save_pretrained(out)
    return out


def job(prompt: str) -> Job:
    return Job(prompt=prompt, negative_prompt="fog", steps=3, seed=3, guidance_scale=5.0, width=128, height=128)


def encode_chunks(pipeline: Any, chunks: list[str]) -> Any:
    """Return torch's embeddings of chunks that fit the encoder, concatenated."""
    length = pipeline.tokenizer.model_max_length
    ids = [pipeline.tokenizer(text, padding="max_length", max_length=length).input_ids for text in chunks]
    assert all(len(chunk) == length for chunk in ids)
    with torch.no_grad():
        return torch.cat([pipeline.text_encoder(torch.tensor([chunk])).last_hidden_state for chunk in ids], dim=1)


@pytest.mark.parametrize(("positions", "tokens"), [(248, 248), (64, 64), (248, 77)])
def test_prompts_are_cut_at_the_tokenizers_limit(
    positions: int, tokens: int, pipelines: Callable[[str], Path], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """A prompt that fits is encoded at once, as in diffusers; a longer one in chunks of that length."""
    source = make_pipeline(pipelines("sd15"), tmp_path / "source", positions, tokens)
    assert export.main([str(source), str(tmp_path / "out")]) == 0
    assert read_manifest(tmp_path / "out").spec.max_tokens == tokens
    pipeline = DiffusionPipeline.from_pretrained(source)
    count = (tokens - 2) // (len(pipeline.tokenizer("fog , ").input_ids) - 2)
    chunk = "fog , " * count  # ends with the last comma that fits
    fits = LONG[: max(end for end in range(len(LONG)) if len(pipeline.tokenizer(LONG[:end]).input_ids) <= tokens)]
    with LocalService([link_model(tmp_path / "out", tmp_path / "small")]) as service:
        ours, longer = service.generate(job(fits)), service.generate(job(chunk + "a red house"))
    compare(ours, diffusers_images(pipeline, job(fits)))
    with torch.no_grad():
        images = pipeline(
            prompt_embeds=encode_chunks(pipeline, [chunk, "a red house"]),
            negative_prompt_embeds=encode_chunks(pipeline, ["fog", ""]),
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
    """Diffusers cannot use such a pipeline; it is refused before weights are read, with both numbers."""
    source = make_pipeline(pipelines("sd15"), tmp_path / "source", 77, 248)
    assert export.main([str(source), str(tmp_path / "out")]) == 2
    assert "tokenizer: model_max_length 248 exceeds the 77 positions of text_encoder" in capsys.readouterr().err
