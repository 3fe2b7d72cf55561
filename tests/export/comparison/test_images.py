"""For the same prompt and seed, tintype's engine and diffusers generate the same image.

Both sides share only the source. One reads the output of `tintype export` and tokenizes, draws noise, samples and
decodes without torch; the other is diffusers in its usual form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch

from tintype.export.image_comparison import diffusers_images
from tintype.service.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.support.export.diffusers_samplers import SAMPLERS

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

MODELS = ("sd15", "sd21", "builtin")
# Samplers whose classes ignore rescale_betas_zero_snr, and would use wrong noise levels for such a model.
WITHOUT_ZERO_SNR = ("plms", "heun", "lms", "deis")
SCHEDULED = ("euler", "dpmpp_2m", "unipc")
PROMPT = "A serene mountain lake at sunset"
NEGATIVE = "blurry, low quality"
SIDES = {"sd15": 128, "sd21": 128, "builtin": 256}
# The built-in model has guidance in its weights. With more, Heun in eight steps magnifies every rounding.
GUIDANCE = {"sd15": 5.0, "sd21": 5.0, "builtin": 1.5}


def job(**settings: Any) -> Job:
    """Return a job of eight steps with these settings."""
    usual: dict[str, Any] = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "steps": 8,
        "seed": 7,
        "guidance_scale": 5.0,
    }
    return Job(**usual | settings)


def theirs(sampler: str, noise: dict[str, Any], **options: Any) -> Any:
    """Return diffusers' sampler with the model's settings `noise`; "" is the model's own sampler."""
    name, settings = SAMPLERS[sampler] if sampler else (noise["_class_name"], {})
    made = getattr(diffusers, name).from_config(noise, **settings, **options)
    if sampler in WITHOUT_ZERO_SNR and noise.get("rescale_betas_zero_snr"):
        made.alphas_cumprod = diffusers.EulerDiscreteScheduler.from_config(noise).alphas_cumprod
    return made


@pytest.fixture
def both_sides(pair: Callable[[str], Any]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that generates a job's images on both sides, in diffusers with the matching sampler."""

    def both(model: str, job: Job, **options: Any) -> tuple[Any, Any]:
        ours = pair(model)
        if job.sampler == "lms":
            pytest.importorskip("scipy", reason="diffusers integrates LMS with it")
        ours.pipeline.scheduler = theirs(job.sampler, ours.training_noise, **options)
        return ours.service.generate(job), diffusers_images(ours.pipeline, job)

    return both


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("model", MODELS)
def test_a_sampler_gives_diffusers_image(
    model: str, sampler: str, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """Each sampler gives diffusers' image, with guidance and a negative prompt."""
    compare(*both_sides(model, job(sampler=sampler, guidance_scale=GUIDANCE[model])))


@pytest.mark.parametrize("sampler", SCHEDULED)
@pytest.mark.parametrize("model", MODELS)
def test_karras_schedule_gives_diffusers_image(
    model: str, sampler: str, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """A schedule with timesteps between the trained ones gives the same image too."""
    compare(*both_sides(model, job(sampler=sampler, schedule="karras"), use_karras_sigmas=True))


@pytest.mark.parametrize("shape", ["wide", "tall"])
@pytest.mark.parametrize("model", MODELS)
def test_an_image_that_is_not_square_equals_diffusers(
    model: str, shape: str, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """An image that is not square is the same, with the model's own sampler."""
    side = SIDES[model]
    width, height = (side * 3 // 2, side) if shape == "wide" else (side, side * 3 // 2)
    ours, theirs = both_sides(model, job(width=width, height=height))
    assert ours.shape == (1, 3, height, width)
    compare(ours, theirs)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 12.0])
@pytest.mark.parametrize("model", MODELS)
def test_a_guidance_scale_gives_diffusers_image(
    model: str, scale: float, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """Guidance off, on, weak and strong gives the same image."""
    compare(*both_sides(model, job(guidance_scale=scale)))


@pytest.mark.parametrize("prompts", ["no negative", "odd"])
@pytest.mark.parametrize("model", MODELS)
def test_unusual_prompts_give_diffusers_image(
    model: str, prompts: str, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """An empty negative prompt, and prompts with unusual characters."""
    texts = {
        "no negative": {"negative_prompt": ""},
        "odd": {"prompt": "Ünï 日\t 12's \u00a0!", "negative_prompt": " \n"},
    }
    compare(*both_sides(model, job(**texts[prompts])))


def encode_chunks(pipeline: Any, chunks: list[str]) -> Any:
    """Return torch's embeddings of chunks that fit the encoder, concatenated."""
    length = pipeline.tokenizer.model_max_length
    ids = [pipeline.tokenizer(text, padding="max_length", max_length=length).input_ids for text in chunks]
    assert all(len(chunk) == length for chunk in ids)
    with torch.no_grad():
        return torch.cat([pipeline.text_encoder(torch.tensor([chunk])).last_hidden_state for chunk in ids], dim=1)


@pytest.mark.parametrize("model", ["sd15", "sd21"])
def test_long_prompts_are_encoded_in_chunks(
    model: str, pair: Callable[[str], Any], compare: Callable[..., None]
) -> None:
    """Over 75 tokens: chunks equal concatenated embeddings in diffusers; the shorter prompt is filled up."""
    here, stop = pair(model), "fog , "
    room = here.pipeline.tokenizer.model_max_length - 2
    tokens = len(here.pipeline.tokenizer(stop).input_ids) - 2
    chunk = stop * (room // tokens)  # ends with the last comma that fits
    ours = here.service.generate(job(prompt=chunk * 2 + "a red house", negative_prompt="mist"))
    embeds, against = (
        encode_chunks(here.pipeline, [chunk, chunk, "a red house"]),
        encode_chunks(here.pipeline, ["mist", "", ""]),
    )
    here.pipeline.scheduler = theirs("", here.training_noise)
    with torch.no_grad():
        images = here.pipeline(
            prompt_embeds=embeds,
            negative_prompt_embeds=against,
            num_inference_steps=8,
            guidance_scale=5.0,
            generator=torch.Generator("cpu").manual_seed(7),
            output_type="np",
        ).images
    compare(ours, np.moveaxis(images, -1, 1))


def encode_chunks_of_both(pipeline: Any, chunks: list[str]) -> tuple[Any, Any]:
    """Return the embeddings of both SDXL encoders, concatenated over chunks, and the first chunk's pooled text."""
    sides, pooled = [], None
    for tokenizer, encoder in ("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"):
        read, encode = getattr(pipeline, tokenizer), getattr(pipeline, encoder)
        ids = [read(text, padding="max_length", max_length=read.model_max_length).input_ids for text in chunks]
        with torch.no_grad():
            answers = [encode(torch.tensor([chunk]), output_hidden_states=True) for chunk in ids]
        sides.append(torch.cat([answer.hidden_states[-2] for answer in answers], dim=1))
        pooled = answers[0][0]
    return torch.cat(sides, dim=2), pooled


def test_long_prompts_are_encoded_in_chunks_by_both_encoders(
    pair: Callable[[str], Any], compare: Callable[..., None]
) -> None:
    """SDXL encodes all chunks of both prompts with both encoders; the pooled text is that of the first chunk."""
    here, stop = pair("sdxl"), "fog , "
    room = here.pipeline.tokenizer.model_max_length - 2
    chunk = stop * (room // (len(here.pipeline.tokenizer(stop).input_ids) - 2))
    ours = here.service.generate(job(prompt=chunk + "a red house", negative_prompt="mist"))
    embeds, pooled = encode_chunks_of_both(here.pipeline, [chunk, "a red house"])
    against, pooled_against = encode_chunks_of_both(here.pipeline, ["mist", ""])
    with torch.no_grad():
        images = here.pipeline(
            prompt_embeds=embeds,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=against,
            negative_pooled_prompt_embeds=pooled_against,
            num_inference_steps=8,
            guidance_scale=5.0,
            generator=torch.Generator("cpu").manual_seed(7),
            output_type="np",
        ).images
    compare(ours, np.moveaxis(images, -1, 1))


@pytest.mark.parametrize("sampler", ["", "euler_ancestral"])
@pytest.mark.parametrize("model", MODELS)
def test_two_images_have_their_own_seeds(
    model: str, sampler: str, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """Image k of a job has the seed `seed + k`, like diffusers with one generator for each image."""
    ours, theirs = both_sides(model, job(count=2, seed=2**32 - 1, sampler=sampler))
    assert np.abs(ours[0] - ours[1]).max() > 0.1
    compare(ours, theirs)


@pytest.mark.parametrize("model", MODELS)
def test_ddim_with_eta_gives_diffusers_image(
    model: str, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """With eta the sampler draws noise at each step, the same on both sides."""
    compare(*both_sides(model, job(sampler="ddim", eta=0.7)))


@pytest.mark.parametrize("other", [{"seed": 8}, {"prompt": "a horse"}, {"guidance_scale": 6.0}, {"steps": 9}])
@pytest.mark.parametrize("model", MODELS)
def test_other_settings_change_the_image(model: str, other: dict[str, Any], pair: Callable[[str], Any]) -> None:
    """The comparison can fail: another value of a single setting exceeds the limit, in every model."""
    service = pair(model).service
    assert np.abs(service.generate(job()) - service.generate(job(**other))).max() * 255 > 2
