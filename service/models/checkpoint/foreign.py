"""Files that are not models of a supported architecture: what each one is, and what to do with it.

The rows are tried in order on every name, and the first row that any name fits decides. So the rows that leave no
doubt come first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .header import Header

UNSUPPORTED = "tintype does not serve this architecture"
ADAPTER = "put it into the folder loras/ of the model that it was made for"
EMBEDDING = "put it into the folder embeddings/ of the model that it was made for"
DIFFUSERS = "it has diffusers' names of tensors: serve the folder that it comes from, which has model_index.json"


class ForeignKind(NamedTuple):
    """A kind of file: what it is, what to do, and an expression that the beginning of a name fits.

    `decides` is for a kind that has the same names as a supported model, and more. Other kinds count only in a file
    without a supported model; some models contain a ControlNet, for example.
    """

    what: str
    advice: str
    names: str
    decides: bool = False


_UNET = r"(?:model\.diffusion_model\.)?"
KINDS = (
    ForeignKind(
        "a model quantized by Nunchaku (SVDQuant)",
        "use the model's weights in fp16, bf16 or fp8",
        r".*\.qweight$",
        decides=True,
    ),
    ForeignKind(
        "a model quantized by bitsandbytes",
        "use the model's weights in fp16, bf16 or fp8",
        r".*\.(?:quant_state\.|absmax$|nested_absmax$)",
        decides=True,
    ),
    ForeignKind(
        "a LoRA, not a model",
        ADAPTER,
        r"(?:lora|lycoris)_|.*(?:\.lora[_.]|_lora\.|\.hada_|\.lokr_|\.dora_scale|\.lora_magnitude|\.oft_|\.boft_)",
    ),
    ForeignKind("an IP-Adapter, not a model", UNSUPPORTED, r"(?:image_proj|ip_adapter)\."),
    ForeignKind("a motion module of AnimateDiff, not a model", UNSUPPORTED, r".*motion_modules\."),
    ForeignKind(
        "a video model (Stable Video Diffusion)", UNSUPPORTED, _UNET + r"input_blocks\.\d+\.\d+\.time_", decides=True
    ),
    ForeignKind(
        "Stable Diffusion 2.1 unCLIP", UNSUPPORTED, r"(?:embedder\.model\.visual|noise_augmentor)\.", decides=True
    ),
    ForeignKind("Stable Cascade", UNSUPPORTED, _UNET + r"(?:clip_txt_mapper|down_blocks\.\d+\.\d+\.channelwise)\."),
    ForeignKind("a Chroma Radiance model", UNSUPPORTED, _UNET + r"(?:nerf_|img_in_patch\.)", decides=True),
    ForeignKind("a HiDream model", UNSUPPORTED, _UNET + r"double_stream_blocks\.", decides=True),
    ForeignKind(
        "a HunyuanVideo or HunyuanImage model",
        UNSUPPORTED,
        _UNET + r"(?:txt_in\.individual_token|byt5_in\.)",
        decides=True,
    ),
    ForeignKind("Z-Image-Omni", UNSUPPORTED, _UNET + r"siglip_(?:embedder|refiner)\.", decides=True),
    ForeignKind("a transformer of Z-Image", DIFFUSERS, _UNET + r"all_(?:x_embedder|final_layer)\."),
    ForeignKind("a transformer of Lumina-Image 2", DIFFUSERS, _UNET + r"time_caption_embed\."),
    ForeignKind(
        "a part of a Z-Image or Lumina-Image 2 model",
        "the whole transformer must be in the file",
        _UNET + r"(?:cap_embedder\.|(?:layers|noise_refiner)\.\d+\.adaLN_modulation\.)",
    ),
    ForeignKind("a Wan model", UNSUPPORTED, _UNET + r"(?:head\.modulation$|blocks\.\d+\.self_attn\.norm_q)"),
    ForeignKind("an LTX-Video model", UNSUPPORTED, _UNET + r"patchify_proj\."),
    ForeignKind("a Mochi model", UNSUPPORTED, _UNET + r"blocks\.\d+\.attn\.qkv_x\."),
    ForeignKind("a Cosmos model", UNSUPPORTED, r"net\.(?:x_embedder|blocks)\."),
    ForeignKind(
        "a PixArt or Sana model in its original names",
        "serve the folder that diffusers' conversion of it has",
        _UNET + r"blocks\.\d+\.cross_attn\.",
    ),
    ForeignKind(
        "a ControlNet, not a model",
        UNSUPPORTED,
        r"control[_n]|input_hint_block\.|lllite_",
    ),
    ForeignKind("a T2I-Adapter, not a model", UNSUPPORTED, r"(?:adapter\.)?body\.\d+\.(?:resnets|block1)\."),
    ForeignKind("a transformer of FLUX.1", DIFFUSERS, r"single_transformer_blocks\."),
    ForeignKind("a transformer", DIFFUSERS, r"transformer_blocks\."),
    ForeignKind("a UNet", DIFFUSERS, r"(?:down_blocks|up_blocks|mid_block)\."),
    ForeignKind(
        "a VAE, not a model",
        "name it with --vae when you serve the model that it is for",
        r"(?:first_stage_model\.|vae\.)?(?:encoder|decoder)\.(?:conv_in|down|up|mid|down_blocks|up_blocks|mid_block)\.",
    ),
    ForeignKind(
        "a TAESD decoder or encoder, not a model", UNSUPPORTED, r"(?:taesd_)?(?:en|de)coder\.(?:layers\.)?\d+\."
    ),
    ForeignKind(
        "an upscaler, not a model",
        UNSUPPORTED,
        r"model\.\d+\.(?:sub|weight$)|(?:params\.)?(?:body\.\d+\.rdb\d|conv_first\.|layers\.\d+\.residual_group)",
    ),
    ForeignKind("an image encoder of CLIP, not a model", UNSUPPORTED, r"(?:vision_model|visual|image_encoder)\."),
    ForeignKind("a language model", UNSUPPORTED, r"(?:language_model\.)?(?:model\.)?layers\.\d+\.self_attn\."),
    ForeignKind(
        "a text encoder, not a model",
        "name a folder with text_encoder/ and tokenizer/ with --text-encoders when you serve the model that it is for",
        r"(?:text_model\.|encoder\.(?:block|layers)\.|transformer\.resblocks\.|shared\.weight|text_encoders\.|cond_stage_model"
        r"\.|conditioner\.)",
    ),
)
_EMBEDDING_KIND = ForeignKind("a textual inversion embedding, not a model", EMBEDDING, "")
_ANY = re.compile("|".join(f"(?P<kind{row}>{kind.names})" for row, kind in enumerate(KINDS)))

EMBEDDING_NAMES = {"emb_params", "clip_l", "clip_g", "string_to_param"}
MAX_EMBEDDING = 4  # tensors of a textual inversion


def foreign_kinds(header: Header) -> list[ForeignKind]:
    """Return what a file may be by the names in it, the most certain first. Takes time linear in the names."""
    groups = {found.lastgroup for name in header.entries if (found := _ANY.match(name))}
    kinds = [KINDS[row] for row in sorted(int(str(group).removeprefix("kind")) for group in groups)]
    return kinds or ([_EMBEDDING_KIND] if _is_embedding(header) else [])


def _is_embedding(header: Header) -> bool:
    """Return whether a file has vectors only, and as few as a textual inversion."""
    names = header.entries.keys()
    few = 0 < len(names) <= MAX_EMBEDDING and (len(names) == 1 or bool(EMBEDDING_NAMES & names))
    return few and all(len(entry.shape) in (1, 2) for entry in header.entries.values())
