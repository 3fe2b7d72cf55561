"""The text encoder and the UNet, built by transformers and diffusers, and their noise schedule."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .latents import CHANNELS, GRID

WIDTH = 128
BLOCKS = (128, 96, 128)
# The width of the embedding of timesteps.
TIME_WIDTH = 256
HEADS = 4
# Zero terminal SNR with v-prediction and trailing spacing (Lin et al., "Common diffusion noise schedules and sample
# steps are flawed", 2023): otherwise a night is never dark and snow is never bright.
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}


def make_noise_schedule() -> DDIMScheduler:
    """Return the noise schedule of the model as an object of diffusers."""
    return DDIMScheduler(**NOISE)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained text encoder: three layers, 128 wide."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModel(config)
    with torch.no_grad():  # from a deviation of 0.02, which suits far larger models, to 0.5
        model.embeddings.token_embedding.weight.mul_(25)
    return model


def make_unet() -> UNet2DConditionModel:
    """Return an untrained UNet with levels of 16x16, 8x8 and 4x4.

    The two lower levels attend to the words of the text; every block also receives the text as a whole.
    A summary of the text (a night, a blue background) is added to the embedding of the timestep: diffusers calls it
    `addition_embed_type="text"`. It is learned far sooner than the attention.
    Every residual branch starts at zero.
    """
    model = UNet2DConditionModel(
        sample_size=GRID,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=BLOCKS,
        time_embedding_dim=TIME_WIDTH,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        attention_head_dim=HEADS,
        norm_num_groups=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    _zero_weights(model, ("conv2.weight", "proj_out.weight", "conv_out.weight", "add_embedding.norm2.weight"))
    return model


def _zero_weights(model: nn.Module, endings: tuple[str, ...]) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith(endings):
            nn.init.zeros_(parameter)
