"""Random pipelines of ERNIE-Image and Krea 2."""

from __future__ import annotations

import diffusers

from . import flux2, qwen_image, tokenizers
from .language_models import ministral3_model, qwen3_vl
from .parts import WIDTH, enlarge


def ernie_image() -> diffusers.ErnieImagePipeline:
    """ERNIE-Image: Ministral 3, whose layer before the last is read, and FLUX.2's autoencoder."""
    tokenizer = tokenizers.mistral()
    transformer = diffusers.ErnieImageTransformer2DModel(
        hidden_size=40,
        num_attention_heads=2,
        num_layers=2,
        ffn_hidden_size=56,
        in_channels=4 * flux2.LATENTS,
        out_channels=4 * flux2.LATENTS,
        text_in_dim=WIDTH,
        rope_axes_dim=(4, 8, 8),
    )
    qwen_image.stir(transformer)
    enlarge(transformer, {"text_proj": 12.0, "adaLN_modulation": 2.0, "self_attention.to": 2.0, "final_linear": 2.5})
    return diffusers.ErnieImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=flux2.autoencoder(),
        text_encoder=ministral3_model(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
        pe=None,
        pe_tokenizer=None,
    )


def krea2() -> diffusers.Krea2Pipeline:
    """Krea 2: twelve layers of Qwen3-VL, which the transformer fuses, and Qwen-Image's autoencoder."""
    tokenizer = tokenizers.qwen()
    transformer = diffusers.Krea2Transformer2DModel(
        num_layers=2,
        attention_head_dim=20,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=56,
        timestep_embed_dim=32,
        text_hidden_dim=WIDTH,
        text_num_attention_heads=4,
        text_num_key_value_heads=2,
        text_intermediate_size=48,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 8, 8),
    )
    qwen_image.stir(transformer)
    gains = {"txt_in.linear_2": 12.0, "to_v": 4.0, "final_layer.linear": 2.0, "time_mod_proj": 2.0}
    enlarge(transformer, gains | {f"transformer_blocks.{number}.attn.to_out": 3.0 for number in (0, 1)})
    autoencoder = qwen_image.autoencoder()
    enlarge(autoencoder, {"decoder.conv_out": 0.5})
    return diffusers.Krea2Pipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            shift=1.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=6400,
        ),
        vae=autoencoder,
        text_encoder=qwen3_vl(len(tokenizer), layers=36).model,
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )
