"""Headers of single files, with as few tensors as recognition and configurations need."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tintype.service.models.checkpoint.header import Header
from tintype.service.models.safetensors import TensorEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

Shapes = dict[str, tuple[int, ...]]
FILE = Path("models/dreamshaper.safetensors")
DENOISER = "model.diffusion_model."


def header(
    shapes: Mapping[str, tuple[int, ...]], path: Path = FILE, metadata: Mapping[str, str] | None = None
) -> Header:
    return Header(path, {name: TensorEntry("F16", shape, 0, 0) for name, shape in shapes.items()}, metadata or {})


def below(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def unet(*, channels: int = 4, linear: bool = False, text: int = 768, sizes: int = 0) -> Shapes:
    """Return a UNet of two levels, the first with attention; `sizes` is the width of what SDXL embeds."""
    shapes: Shapes = {
        "time_embed.0.weight": (1280, 320),
        "input_blocks.0.0.weight": (320, channels, 3, 3),
        "input_blocks.2.0.op.weight": (320, 320, 3, 3),
        "middle_block.0.in_layers.0.weight": (640,),
        "output_blocks.1.1.conv.weight": (640, 640, 3, 3),
        "out.2.weight": (4, 320, 3, 3),
    }
    for block, width, attends in (
        ("input_blocks.1", 320, True),
        ("input_blocks.3", 640, False),
        ("output_blocks.0", 640, False),
        ("output_blocks.1", 640, False),
        ("output_blocks.2", 320, True),
        ("output_blocks.3", 320, True),
    ):
        shapes |= {f"{block}.0.in_layers.0.weight": (width,), f"{block}.0.out_layers.0.weight": (width,)}
        if attends:
            transformer = f"{block}.1.transformer_blocks.0"
            shapes |= {f"{transformer}.norm1.weight": (width,), f"{transformer}.attn2.to_k.weight": (width, text)}
            shapes[f"{block}.1.proj_in.weight"] = (width, width) if linear else (width, width, 1, 1)
    if sizes:
        shapes["label_emb.0.0.weight"] = (1280, sizes)
    return shapes


def vae(channels: int = 4) -> Shapes:
    return {
        "encoder.conv_in.weight": (128, 3, 3, 3),
        "decoder.conv_in.weight": (128, channels, 3, 3),
        "decoder.conv_out.weight": (3, 128, 3, 3),
        "decoder.mid.attn_1.q.weight": (128, 128, 1, 1),
        "decoder.up.0.block.0.norm1.weight": (128,),
        "decoder.up.0.block.1.norm1.weight": (128,),
        "decoder.up.0.block.0.conv2.weight": (128, 128, 3, 3),
        "quant_conv.weight": (2 * channels, 2 * channels, 1, 1),
        "post_quant_conv.weight": (channels, channels, 1, 1),
    }


def clip(width: int = 768, tokens: int = 49408, *, root: str = "text_model.") -> Shapes:
    return {
        f"{root}embeddings.token_embedding.weight": (tokens, width),
        f"{root}embeddings.position_embedding.weight": (77, width),
        f"{root}encoder.layers.0.layer_norm1.weight": (width,),
        f"{root}encoder.layers.0.mlp.fc1.weight": (4 * width, width),
    }


def open_clip(width: int, *, layers: int = 2, projection: int = 0) -> Shapes:
    norms = {f"transformer.resblocks.{layer}.ln_1.weight": (width,) for layer in range(layers)}
    return {
        "token_embedding.weight": (49408, width),
        "positional_embedding": (77, width),
        "transformer.resblocks.0.mlp.c_fc.weight": (4 * width, width),
        **norms,
        **({"text_projection": (width, projection)} if projection else {}),
    }


def t5() -> Shapes:
    block = "encoder.block.0.layer."
    return {
        "shared.weight": (32128, 4096),
        f"{block}0.layer_norm.weight": (4096,),
        f"{block}0.SelfAttention.q.weight": (4096, 4096),
        f"{block}0.SelfAttention.relative_attention_bias.weight": (32, 64),
        f"{block}1.DenseReluDense.wi_0.weight": (10240, 4096),
    }


def flux(*, channels: int = 64, guided: bool = True) -> Shapes:
    return {
        "img_in.weight": (3072, channels),
        "txt_in.weight": (3072, 4096),
        "vector_in.in_layer.weight": (3072, 768),
        "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        "double_blocks.0.img_mod.lin.weight": (18432, 3072),
        "single_blocks.0.modulation.lin.weight": (9216, 3072),
        "final_layer.linear.weight": (64, 3072),
        **({"guidance_in.in_layer.weight": (3072, 256)} if guided else {}),
    }


def qwen_image(*, marked: bool = False, prefix: str = "") -> Shapes:
    own: Shapes = {
        "img_in.weight": (3072, 64),
        "txt_in.weight": (3072, 3584),
        "proj_out.weight": (64, 3072),
        "transformer_blocks.0.attn.norm_q.weight": (128,),
        "transformer_blocks.0.img_mod.1.weight": (18432, 3072),
        **({"__index_timestep_zero__": ()} if marked else {}),
    }
    return below(prefix, own)


def chroma() -> Shapes:
    return {
        "img_in.weight": (3072, 64),
        "txt_in.weight": (3072, 4096),
        "distilled_guidance_layer.in_proj.weight": (5120, 64),
        "distilled_guidance_layer.layers.0.in_layer.weight": (5120, 5120),
        "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        "double_blocks.0.img_attn.qkv.weight": (9216, 3072),
        "single_blocks.0.linear1.weight": (21504, 3072),
        "final_layer.linear.weight": (64, 3072),
    }


def aura_flow() -> Shapes:
    return {
        "positional_encoding": (1, 9216, 3072),
        "init_x_linear.weight": (3072, 16),
        "cond_seq_linear.weight": (3072, 2048),
        "final_linear.weight": (16, 3072),
        "double_layers.0.attn.w2q.weight": (3072, 3072),
        "single_layers.0.attn.w1q.weight": (3072, 3072),
    }


def flux2(*, guided: bool = False, prefix: str = "") -> Shapes:
    own = {
        "img_in.weight": (3072, 128),
        "txt_in.weight": (3072, 7680),
        "time_in.in_layer.weight": (3072, 256),
        "double_stream_modulation_img.lin.weight": (18432, 3072),
        "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        "double_blocks.0.img_attn.qkv.weight": (9216, 3072),
        "double_blocks.0.img_mlp.2.weight": (3072, 9216),
        "single_blocks.0.linear1.weight": (27648, 3072),
        "final_layer.linear.weight": (128, 3072),
        **({"guidance_in.in_layer.weight": (3072, 256)} if guided else {}),
    }
    return below(prefix, own)


def single_stream(width: int, head: int, joined: int, modulation: str, text: int) -> Shapes:
    """Return a transformer of Z-Image or Lumina-Image 2; `joined` are the rows of query, key and value."""
    return {
        "x_embedder.weight": (width, 64),
        "cap_embedder.1.weight": (width, text),
        "layers.0.attention.q_norm.weight": (head,),
        "layers.0.attention.qkv.weight": (joined, width),
        f"layers.0.{modulation}.weight": (4 * width, 256),
        "noise_refiner.0.attention.qkv.weight": (joined, width),
        "final_layer.linear.weight": (64, width),
        "norm_final.weight": (width,),
    }


def sd3() -> Shapes:
    return {
        "x_embedder.proj.weight": (1536, 16, 2, 2),
        "pos_embed": (1, 192 * 192, 1536),
        "context_embedder.weight": (1536, 4096),
        "y_embedder.mlp.0.weight": (1536, 2048),
        "joint_blocks.0.context_block.adaLN_modulation.1.weight": (9216, 1536),
        "joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536),
        "final_layer.linear.weight": (64, 1536),
    }


_SD = below("first_stage_model.", vae())
_XL_CLIPS = below("conditioner.embedders.0.transformer.", clip()) | below(
    "conditioner.embedders.1.model.", open_clip(1280, projection=1280)
)
_CLIPS = below("text_encoders.clip_l.transformer.", clip())
_T5 = below("text_encoders.t5xxl.transformer.", t5())
_SD3 = below(DENOISER, sd3()) | below("first_stage_model.", vae(16))
FILES: dict[str, Shapes] = {
    "sd1": below(DENOISER, unet()) | _SD | below("cond_stage_model.transformer.", clip()),
    "sd1 without root": below(DENOISER, unet()) | _SD | below("cond_stage_model.transformer.", clip(root="")),
    "sd1 inpainting": below(DENOISER, unet(channels=9)) | _SD | below("cond_stage_model.transformer.", clip()),
    "sd1 unet": unet(),
    "sd2": below(DENOISER, unet(linear=True, text=1024))
    | _SD
    | below("cond_stage_model.model.", open_clip(1024, projection=1024)),
    "sd2 sgm": below(DENOISER, unet(linear=True, text=1024))
    | _SD
    | below("conditioner.embedders.0.model.", open_clip(1024, projection=1024)),
    "sdxl": below(DENOISER, unet(linear=True, text=2048, sizes=2816)) | _SD | _XL_CLIPS,
    "sdxl unet": unet(linear=True, text=2048, sizes=2816),
    "refiner": below(DENOISER, unet(linear=True, text=1280, sizes=2560))
    | _SD
    | below("conditioner.embedders.0.model.", open_clip(1280, projection=1280)),
    "refiner unet": unet(linear=True, text=1280, sizes=2560),
    "flux": flux(),
    "flux schnell": below(DENOISER, flux(guided=False)),
    "flux whole": below(DENOISER, flux()) | below("vae.", vae(16)) | _CLIPS | _T5,
    "flux_fill inpainting": below(DENOISER, flux(channels=384)),
    "chroma": chroma(),
    "chroma whole": below(DENOISER, chroma()) | below("vae.", vae(16)) | _T5,
    "aura_flow": aura_flow(),
    "aura_flow whole": below("model.model.", aura_flow())
    | below("vae.", vae())
    | below("text_encoders.pile_t5xl.transformer.", t5()),
    "flux2_klein": flux2(),
    "flux2": flux2(guided=True, prefix=DENOISER),
    "qwen_image": qwen_image(),
    "qwen_edit": qwen_image(marked=True, prefix=DENOISER),
    "z_image": below(DENOISER, single_stream(3840, 128, 3 * 3840, "adaLN_modulation.0", 2560)),
    "lumina2 whole": below(DENOISER, single_stream(2304, 96, 2304 + 2 * 768, "adaLN_modulation.1", 2304))
    | below("vae.", vae(16))
    | {"text_encoders.gemma2_2b.transformer.model.embed_tokens.weight": (256000, 2304)},
    "sd3": _SD3,
    "sd3 with clips": _SD3 | _CLIPS | below("text_encoders.clip_g.transformer.", clip(1280)),
    "sd3 whole": _SD3 | _CLIPS | below("text_encoders.clip_g.transformer.", clip(1280)) | _T5,
}
"""Small files of each arrangement that is published."""


def write_file(path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a safetensors file with tensors of these shapes; its numbers are a hole in the file."""
    fields: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, shape in shapes.items():
        fields[name] = {"dtype": "F8_E4M3", "shape": list(shape), "data_offsets": [at, at + prod(shape)]}
        at += prod(shape)
    text = json.dumps(fields).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return path
