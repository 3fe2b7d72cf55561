"""The same prompt and the same seed: tintype's engine and diffusers draw the same picture.

Nothing is shared but the source: one side reads what `tintype export` wrote, tokenizes, draws noise, samples and
decodes without torch; the other is diffusers as its users know it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch

from tintype.export.image_comparison import by_diffusers
from tintype.service.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.support.export.peers import SAMPLERS

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

MODELS = ("sd15", "sd21", "builtin")
# Those whose classes do not know rescale_betas_zero_snr, and would sample such a model as if it were another.
DEAF = ("plms", "heun", "lms", "deis")
SCHEDULED = ("euler", "dpmpp_2m", "unipc")
PROMPT = "A serene mountain lake at sunset"
NEGATIVE = "blurry, low quality"
SIDES = {"sd15": 128, "sd21": 128, "builtin": 256}


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
    """Return diffusers' sampler of the model whose own settings are `noise`; "" is the model's own."""
    name, settings = SAMPLERS[sampler] if sampler else (noise["_class_name"], {})
    made = getattr(diffusers, name).from_config(noise, **settings, **options)
    if sampler in DEAF and noise.get("rescale_betas_zero_snr"):
        made.alphas_cumprod = diffusers.EulerDiscreteScheduler.from_config(noise).alphas_cumprod
    return made


@pytest.fixture
def drawn(pair: Callable[[str], Any]) -> Callable[..., tuple[Any, Any]]:
    """Give what draws a job on both sides; diffusers with its class for `sampler`, from the model's own settings."""

    def both(model: str, job: Job, **options: Any) -> tuple[Any, Any]:
        ours = pair(model)
        if job.sampler == "lms":
            pytest.importorskip("scipy", reason="diffusers integrates LMS with it")
        ours.pipeline.scheduler = theirs(job.sampler, ours.training_noise, **options)
        return ours.studio.draw(job), by_diffusers(ours.pipeline, job)

    return both


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("model", MODELS)
def test_sampler(model: str, sampler: str, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """Each sampler draws diffusers' picture, with guidance and a negative prompt."""
    compare(*drawn(model, job(sampler=sampler)))


@pytest.mark.parametrize("sampler", SCHEDULED)
@pytest.mark.parametrize("model", MODELS)
def test_karras(model: str, sampler: str, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """Timesteps between the trained ones, as a schedule of its own gives them, are the same too."""
    compare(*drawn(model, job(sampler=sampler, schedule="karras"), use_karras_sigmas=True))


@pytest.mark.parametrize("shape", ["wide", "tall"])
@pytest.mark.parametrize("model", MODELS)
def test_shape(model: str, shape: str, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """A picture that is not square is laid out in the same way, with the model's own sampler."""
    side = SIDES[model]
    width, height = (side * 3 // 2, side) if shape == "wide" else (side, side * 3 // 2)
    ours, theirs = drawn(model, job(width=width, height=height))
    assert ours.shape == (1, 3, height, width)
    compare(ours, theirs)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 12.0])
@pytest.mark.parametrize("model", MODELS)
def test_guidance(model: str, scale: float, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """Guidance off, on, weak and strong: the same, whatever it costs."""
    compare(*drawn(model, job(guidance_scale=scale)))


@pytest.mark.parametrize("prompts", ["no negative", "odd"])
@pytest.mark.parametrize("model", MODELS)
def test_prompt(model: str, prompts: str, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """Prompts with nothing against, and of signs that no one expects."""
    texts = {
        "no negative": {"negative_prompt": ""},
        "odd": {"prompt": "Ünï &amp; “q” 日\t 12's \u00a0!", "negative_prompt": " \n"},
    }
    compare(*drawn(model, job(**texts[prompts])))


def embedded(pipeline: Any, pieces: list[str]) -> Any:
    """Return torch's embeddings of texts that the encoder can hold, one after the other."""
    length = pipeline.tokenizer.model_max_length
    ids = [pipeline.tokenizer(text, padding="max_length", max_length=length).input_ids for text in pieces]
    assert all(len(piece) == length for piece in ids)
    with torch.no_grad():
        return torch.cat([pipeline.text_encoder(torch.tensor([piece])).last_hidden_state for piece in ids], dim=1)


@pytest.mark.parametrize("model", ["sd15", "sd21"])
def test_long_prompts(model: str, pair: Callable[[str], Any], compare: Callable[..., None]) -> None:
    """Longer than 75 tokens: in pieces, as if diffusers were given the embeddings of all; the shorter is filled up."""
    here, stop = pair(model), "fog , "
    room = here.pipeline.tokenizer.model_max_length - 2
    tokens = len(here.pipeline.tokenizer(stop).input_ids) - 2
    piece = stop * (room // tokens)  # the first comma after which nothing more fits
    ours = here.studio.draw(job(prompt=piece * 2 + "a red house", negative_prompt="mist"))
    embeds, against = embedded(here.pipeline, [piece, piece, "a red house"]), embedded(here.pipeline, ["mist", "", ""])
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


def embedded_by_two(pipeline: Any, pieces: list[str]) -> tuple[Any, Any]:
    """Return the embeddings of both of SDXL's encoders side by side, pieces in a row; and the first piece's pooled."""
    sides, pooled = [], None
    for tokenizer, encoder in ("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"):
        read, encode = getattr(pipeline, tokenizer), getattr(pipeline, encoder)
        ids = [read(text, padding="max_length", max_length=read.model_max_length).input_ids for text in pieces]
        with torch.no_grad():
            answers = [encode(torch.tensor([piece]), output_hidden_states=True) for piece in ids]
        sides.append(torch.cat([answer.hidden_states[-2] for answer in answers], dim=1))
        pooled = answers[0][0]
    return torch.cat(sides, dim=2), pooled


def test_long_prompts_of_two_encoders(pair: Callable[[str], Any], compare: Callable[..., None]) -> None:
    """SDXL reads both prompts on in both encoders; what is pooled is the first piece's."""
    here, stop = pair("sdxl"), "fog , "
    room = here.pipeline.tokenizer.model_max_length - 2
    piece = stop * (room // (len(here.pipeline.tokenizer(stop).input_ids) - 2))
    ours = here.studio.draw(job(prompt=piece + "a red house", negative_prompt="mist"))
    embeds, pooled = embedded_by_two(here.pipeline, [piece, "a red house"])
    against, pooled_against = embedded_by_two(here.pipeline, ["mist", ""])
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
def test_two_images(model: str, sampler: str, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """Image k of a request is the picture of seed + k: diffusers with one generator for each."""
    ours, theirs = drawn(model, job(count=2, seed=2**32 - 1, sampler=sampler))
    assert np.abs(ours[0] - ours[1]).max() > 0.1
    compare(ours, theirs)


@pytest.mark.parametrize("model", MODELS)
def test_stochastic_ddim(model: str, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """With eta the sampler draws noise at each step, the same in both."""
    compare(*drawn(model, job(sampler="ddim", eta=0.7)))


@pytest.mark.parametrize("other", [{"seed": 8}, {"prompt": "a horse"}, {"guidance_scale": 6.0}, {"steps": 9}])
@pytest.mark.parametrize("model", MODELS)
def test_another_picture_is_another(model: str, other: dict[str, Any], pair: Callable[[str], Any]) -> None:
    """The comparison can fail: what differs in a single setting differs by more than the bound, in every model."""
    studio = pair(model).studio
    assert np.abs(studio.draw(job()) - studio.draw(job(**other))).max() * 255 > 2
