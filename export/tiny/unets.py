"""Random pipelines with a UNet as the denoiser: Stable Diffusion, LCM and SDXL."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from . import tokenizers
from .flux import shifted_by_size
from .language_models import chatglm_text_encoder, qwen3_vl
from .parts import WIDTH, autoencoder, clip_text_encoder, enlarge, unet

# As in the published scheduler_config.json; each pipeline's scheduler adds its own settings.
TRAINING_NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}
SD_NOISE = TRAINING_NOISE | {"set_alpha_to_one": False}
# SDXL: width of the second text encoder, of its pooled text, and of each embedded number in `time_ids`.
SECOND_WIDTH, POOLED_WIDTH, NUMBER_WIDTH = 64, 32, 8


def sd(
    unet: diffusers.UNet2DConditionModel,
    noise: Any,
    *,
    pad: str = tokenizers.END,
    activation: str = "quick_gelu",
    kind: Any = diffusers.StableDiffusionPipeline,
) -> Any:
    """Return a Stable Diffusion pipeline without a safety checker."""
    tokenizer = tokenizers.clip(pad=pad)
    return kind(
        vae=autoencoder(),
        text_encoder=clip_text_encoder(len(tokenizer), activation=activation),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=noise,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd15() -> diffusers.StableDiffusionPipeline:
    """Stable Diffusion 1.x: predicts epsilon, PNDM."""
    return sd(unet(), diffusers.PNDMScheduler(**SD_NOISE, skip_prk_steps=True))


def sd21() -> diffusers.StableDiffusionPipeline:
    """Stable Diffusion 2.x: predicts v, DDIM, pads with `!`, linear projections, heads of one width."""
    noise = diffusers.DDIMScheduler(**SD_NOISE, clip_sample=False, prediction_type="v_prediction")
    return sd(unet(use_linear_projection=True, attention_head_dim=(4, 8)), noise, pad="!", activation="gelu")


def sd_inpaint() -> diffusers.StableDiffusionInpaintPipeline:
    """Stable Diffusion trained for inpainting: the UNet also reads the mask and the masked image."""
    noise = diffusers.DDIMScheduler(**SD_NOISE, clip_sample=False)
    return sd(unet(in_channels=9), noise, kind=diffusers.StableDiffusionInpaintPipeline)


def lcm() -> diffusers.LatentConsistencyModelPipeline:
    """A latent consistency model: guidance is an input of the UNet, embedded."""
    noise = TRAINING_NOISE | {"steps_offset": 0, "set_alpha_to_one": True}
    sampler = diffusers.LCMScheduler(**noise, original_inference_steps=50, clip_sample=False)
    return sd(unet(time_cond_proj_dim=32), sampler, kind=diffusers.LatentConsistencyModelPipeline)


def sdxl() -> diffusers.StableDiffusionXLPipeline:
    """SDXL: two text encoders, with pooled text and sizes as further conditions."""
    noise = diffusers.EulerDiscreteScheduler(**TRAINING_NOISE, timestep_spacing="leading", interpolation_type="linear")
    return _sdxl(xl_unet(), noise, force_zeros_for_empty_prompt=True)


def sdxl_turbo() -> diffusers.StableDiffusionXLPipeline:
    """SDXL Turbo: SDXL distilled to few steps without guidance."""
    noise = diffusers.EulerAncestralDiscreteScheduler(**TRAINING_NOISE, timestep_spacing="trailing")
    return _sdxl(xl_unet(), noise, force_zeros_for_empty_prompt=True)


def playground() -> diffusers.StableDiffusionXLPipeline:
    """Playground v2.5: EDM, with a mean and a deviation of each channel of the latents."""
    vae = autoencoder(scaling=0.5, latents_mean=[-1.6, 1.4, 0.2, -0.3], latents_std=[8.4, 5.9, 7.5, 6.1])
    return _sdxl(xl_unet(), diffusers.EDMDPMSolverMultistepScheduler(), vae=vae, force_zeros_for_empty_prompt=True)


def cosxl() -> diffusers.StableDiffusionXLPipeline:
    """CosXL: EDM with v-prediction."""
    noise = diffusers.EDMEulerScheduler(
        sigma_max=120.0, sigma_data=1.0, sigma_schedule="exponential", prediction_type="v_prediction"
    )
    return _sdxl(xl_unet(), noise, force_zeros_for_empty_prompt=True)


def kolors() -> diffusers.KolorsPipeline:
    """Kolors: SDXL's UNet, which projects the states of ChatGLM3."""
    tokenizer = tokenizers.chatglm()
    noise = diffusers.EulerDiscreteScheduler(
        **TRAINING_NOISE | {"beta_end": 0.014, "num_train_timesteps": 1100}, timestep_spacing="leading"
    )
    denoiser = xl_unet(
        width=24,
        encoder_hid_dim=POOLED_WIDTH,
        encoder_hid_dim_type="text_proj",
    )
    return diffusers.KolorsPipeline(
        vae=autoencoder(scaling=0.13025),
        text_encoder=chatglm_text_encoder(tokenizer.vocab_size, width=POOLED_WIDTH),
        tokenizer=tokenizer,
        unet=denoiser,
        scheduler=noise,
    )


def dreamlite() -> diffusers.DreamLitePipeline:
    """DreamLite: one key for all queries, depthwise convolutions, flow matching, AutoencoderTiny."""
    tokenizer = tokenizers.qwen()
    denoiser = diffusers.DreamLiteUNetModel(
        sample_size=16,
        block_out_channels=(16, 32, 48),
        layers_per_block=1,
        cross_attention_dim=40,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="text_proj_rms",
        attention_head_dim=(2, 4, 4),
        addition_embed_type="time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16,
        norm_num_groups=8,
        use_linear_projection=True,
        ff_mult=3,
    )
    enlarge(denoiser, {"encoder_hid_proj": 3.0, "to_v": 4.0, "to_out": 3.0})
    autoencoder = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(16,) * 4, decoder_block_out_channels=(16,) * 4, latent_channels=4
    )
    enlarge(autoencoder, {"decoder.layers.18": 0.9, "decoder": 1.5})
    last = autoencoder.decoder.layers[-1]
    torch.nn.init.constant_(last.bias, 0.5)  # the middle of 0..1
    return diffusers.DreamLitePipeline(
        text_encoder=qwen3_vl(len(tokenizer), layers=2),
        tokenizer=tokenizer,
        processor=None,
        vae=autoencoder.eval(),
        unet=denoiser.eval(),
        scheduler=shifted_by_size(),
    )


def sdxl_inpaint() -> diffusers.StableDiffusionXLInpaintPipeline:
    """SDXL trained for inpainting."""
    noise = diffusers.EulerDiscreteScheduler(**TRAINING_NOISE, timestep_spacing="leading")
    return _sdxl(xl_unet(in_channels=9), noise, kind=diffusers.StableDiffusionXLInpaintPipeline)


def sdxl_refiner() -> diffusers.StableDiffusionXLImg2ImgPipeline:
    """SDXL's refiner: only the second text encoder; one of the five numbers in `time_ids` is an aesthetic score."""
    noise = diffusers.EulerDiscreteScheduler(**TRAINING_NOISE, timestep_spacing="leading")
    pipeline = _sdxl(
        xl_unet(width=SECOND_WIDTH, numbers=5),
        noise,
        kind=diffusers.StableDiffusionXLImg2ImgPipeline,
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )
    pipeline.register_modules(text_encoder=None, tokenizer=None)
    return pipeline


def xl_unet(*, width: int = WIDTH + SECOND_WIDTH, numbers: int = 6, **options: Any) -> diffusers.UNet2DConditionModel:
    """SDXL's UNet for prompt_embeds of `width`, with `numbers` entries in `time_ids`."""
    return unet(
        cross_attention_dim=width,
        addition_embed_type="text_time",
        addition_time_embed_dim=NUMBER_WIDTH,
        projection_class_embeddings_input_dim=POOLED_WIDTH + numbers * NUMBER_WIDTH,
        use_linear_projection=True,
        attention_head_dim=(4, 8),
        transformer_layers_per_block=(1, 2),
        **options,
    )


def _sdxl(
    unet: diffusers.UNet2DConditionModel, noise: Any, kind: Any = diffusers.StableDiffusionXLPipeline, **options: Any
) -> Any:
    first, second = tokenizers.clip(), tokenizers.clip(pad="!")
    parts = {"vae": autoencoder(scaling=0.13025), **options}
    return kind(
        text_encoder=clip_text_encoder(len(first)),
        text_encoder_2=clip_text_encoder(len(second), width=SECOND_WIDTH, activation="gelu", pooled=POOLED_WIDTH),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=noise,
        add_watermarker=False,
        **parts,
    )
