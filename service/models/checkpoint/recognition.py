"""Recognizing the architecture of a single file, and where its components are, from names and shapes alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from .foreign import foreign_kinds
from .text_names import T5_TABLES
from .unet_config import is_edm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .header import Header

PREFIXES = ("model.diffusion_model.", "model.model.", "")
VAE_PREFIXES = ("first_stage_model.", "vae.")
REFINER_NUMBERS = 5  # numbers in a refiner's `time_ids`; SDXL has 6
NUMBER_WIDTH = 256
FLUX_CHANNELS = {
    96: "FLUX.1 with an extra image (such as inpainting)",
    128: "FLUX.1 Depth or Canny",
}
FILL_CHANNELS, INPAINTING_CHANNELS = 384, 9
UNET_CHANNELS = {5: "a depth-to-image model", 7: "an upscaler (x4)", 8: "an editing model (InstructPix2Pix)"}


class Architecture(StrEnum):
    """The architectures of single files; an inpainting model has the architecture of its base."""

    SD1 = "Stable Diffusion 1"
    SD2 = "Stable Diffusion 2"
    SDXL = "SDXL"
    REFINER = "SDXL refiner"
    FLUX = "FLUX.1"
    FLUX2_KLEIN = "FLUX.2 klein"
    FLUX2 = "FLUX.2 dev"
    SD3 = "Stable Diffusion 3"
    QWEN_IMAGE = "Qwen-Image"
    QWEN_IMAGE_EDIT = "Qwen-Image-Edit"
    QWEN_IMAGE_EDIT_PLUS = "Qwen-Image-Edit-2509 or -2511"
    Z_IMAGE = "Z-Image"
    LUMINA2 = "Lumina-Image 2"
    CHROMA = "Chroma"
    AURA_FLOW = "AuraFlow"


class Scheme(StrEnum):
    """How a text encoder's tensors are named."""

    TRANSFORMERS = "transformers"
    ROOTLESS = "transformers without `text_model.`"  # as transformers 4.2 had it; a few old files have it
    OPEN_CLIP = "OpenCLIP"
    T5 = "T5"


class EncoderPlace(NamedTuple):
    """Where a text encoder is in a file: its scheme of names, and the prefix of its tensors."""

    scheme: Scheme
    prefix: str

    @property
    def anchors(self) -> tuple[str, ...]:
        """The tensors one of which is there if the encoder is."""
        return tuple(self.prefix + name for name in _ANCHORS[self.scheme])


_ANCHORS = {
    Scheme.TRANSFORMERS: ("text_model.embeddings.token_embedding.weight",),
    Scheme.ROOTLESS: ("embeddings.token_embedding.weight",),
    Scheme.OPEN_CLIP: ("token_embedding.weight",),
    Scheme.T5: T5_TABLES,
}
_CLIP_L = EncoderPlace(Scheme.TRANSFORMERS, "text_encoders.clip_l.transformer.")
_T5 = EncoderPlace(Scheme.T5, "text_encoders.t5xxl.transformer.")
QWEN_ARCHITECTURES = (Architecture.QWEN_IMAGE, Architecture.QWEN_IMAGE_EDIT, Architecture.QWEN_IMAGE_EDIT_PLUS)
# The tensor by which ComfyUI knows Edit-2511, whose images to edit have time 0; nothing else tells it.
TIME_ZERO_MARKER = "__index_timestep_zero__"
_QWEN_EDIT_NAME = re.compile(r"(?<![a-z])edit(?![a-z])", re.IGNORECASE)
_QWEN_PLUS_NAME = re.compile(r"(?<!\d)25(?:09|11)(?!\d)|(?<![a-z])plus(?![a-z])", re.IGNORECASE)
# For each architecture its text encoders, and for each of these the places where files have it.
ENCODERS: dict[Architecture, dict[str, tuple[EncoderPlace, ...]]] = {
    Architecture.SD1: {
        "text_encoder": (
            EncoderPlace(Scheme.TRANSFORMERS, "cond_stage_model.transformer."),
            EncoderPlace(Scheme.ROOTLESS, "cond_stage_model.transformer."),
            EncoderPlace(Scheme.TRANSFORMERS, "conditioner.embedders.0.transformer."),
        )
    },
    Architecture.SD2: {
        "text_encoder": (
            EncoderPlace(Scheme.OPEN_CLIP, "cond_stage_model.model."),
            EncoderPlace(Scheme.OPEN_CLIP, "conditioner.embedders.0.model."),
        )
    },
    Architecture.SDXL: {
        "text_encoder": (EncoderPlace(Scheme.TRANSFORMERS, "conditioner.embedders.0.transformer."),),
        "text_encoder_2": (EncoderPlace(Scheme.OPEN_CLIP, "conditioner.embedders.1.model."),),
    },
    Architecture.REFINER: {
        "text_encoder_2": (EncoderPlace(Scheme.OPEN_CLIP, "conditioner.embedders.0.model."),),
    },
    Architecture.FLUX: {"text_encoder": (_CLIP_L,), "text_encoder_2": (_T5,)},
    Architecture.CHROMA: {"text_encoder": (_T5,)},
    Architecture.AURA_FLOW: {"text_encoder": (EncoderPlace(Scheme.T5, "text_encoders.pile_t5xl.transformer."),)},
    Architecture.FLUX2_KLEIN: {},  # files of FLUX.2 hold the transformer alone
    Architecture.FLUX2: {},
    **{architecture: {} for architecture in QWEN_ARCHITECTURES},  # as of Qwen-Image
    Architecture.SD3: {
        "text_encoder": (_CLIP_L,),
        "text_encoder_2": (EncoderPlace(Scheme.TRANSFORMERS, "text_encoders.clip_g.transformer."),),
        "text_encoder_3": (_T5,),
    },
    # Language models come from a folder, with their tokenizers, also if a file holds them.
    Architecture.Z_IMAGE: {},
    Architecture.LUMINA2: {},
}


# Architectures without a model that takes a mask.
UNMASKED = (
    Architecture.SD3,
    Architecture.FLUX2_KLEIN,
    Architecture.FLUX2,
    Architecture.Z_IMAGE,
    Architecture.LUMINA2,
    *(Architecture.CHROMA, Architecture.AURA_FLOW),
    *QWEN_ARCHITECTURES,
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A single file: its architecture, and the prefixes of its denoiser, text encoders and VAE.

    `vae` is None for a file without a VAE; `encoders` has the text encoders that the file contains.
    """

    header: Header
    architecture: Architecture
    prefix: str
    encoders: Mapping[str, EncoderPlace]
    vae: str | None
    inpaints: bool = False

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path


def recognize(header: Header) -> Checkpoint:
    """Return what a file contains.

    Raises:
        ModelFileError: it is not a model that single files are served of; the message says what it is, if that is
            known, and what to do.
    """
    kinds = foreign_kinds(header)
    found = _denoiser(header)
    foreign = next((kind for kind in kinds if kind.decides or not found), None)
    if foreign:
        raise header.fault(f"it is {foreign.what}; {foreign.advice}")
    if not found:
        raise header.fault(
            "its architecture is unknown: single files of Stable Diffusion 1 and 2, SDXL, Stable Diffusion 3, FLUX.1, "
            "FLUX.2, Qwen-Image, Z-Image, Lumina-Image 2, Chroma and AuraFlow are served; other models may be served "
            "or exported from their folder in diffusers' layout"
        )
    architecture, prefix = found
    if architecture is not Architecture.SDXL and is_edm(header):
        raise header.fault(f"it is an EDM model of {architecture}; of EDM models tintype serves those of SDXL only")
    return Checkpoint(
        header,
        architecture,
        prefix,
        encoders={
            component: place
            for component, places in ENCODERS[architecture].items()
            if (place := next((p for p in places if any(name in header for name in p.anchors)), None))
        },
        vae=next((p for p in VAE_PREFIXES if f"{p}decoder.conv_in.weight" in header), None),
        inpaints=_inpaints(header, architecture, prefix),
    )


def _denoiser(header: Header) -> tuple[Architecture, str] | None:
    """Return the architecture and the prefix of the file's denoiser; None if it has none that is supported."""
    for prefix in PREFIXES:
        for names, architecture in DENOISERS:
            if all(f"{prefix}{name}" in header for name in names):
                found = architecture if isinstance(architecture, Architecture) else architecture(header, prefix)
                return found, prefix
    return None


def _flux2_architecture(header: Header, prefix: str) -> Architecture:
    """Return the architecture of a FLUX.2 transformer: dev takes the guidance scale, klein does not."""
    guided = f"{prefix}guidance_in.in_layer.weight" in header
    return Architecture.FLUX2 if guided else Architecture.FLUX2_KLEIN


def _qwen_architecture(header: Header, prefix: str) -> Architecture:
    """Return the architecture of a Qwen-Image transformer: by its marker, otherwise by the file's name.

    Models for text and for editing have the same tensors.
    """
    name = header.path.stem
    if prefix + TIME_ZERO_MARKER in header:
        return Architecture.QWEN_IMAGE_EDIT_PLUS
    if not _QWEN_EDIT_NAME.search(name):
        return Architecture.QWEN_IMAGE
    return Architecture.QWEN_IMAGE_EDIT_PLUS if _QWEN_PLUS_NAME.search(name) else Architecture.QWEN_IMAGE_EDIT


def _unet_architecture(header: Header, prefix: str) -> Architecture:
    """Return the architecture of a UNet.

    SDXL embeds sizes. Stable Diffusion 2 has linear layers where the first version has convolutions of one pixel.
    """
    if f"{prefix}label_emb.0.0.weight" in header:
        return Architecture.REFINER if _is_refiner(header, prefix) else Architecture.SDXL
    blocks = (f"{prefix}input_blocks.{number}.1.proj_in.weight" for number in range(1, 20))
    shape = next((header.entries[block].shape for block in blocks if block in header), ())
    return Architecture.SD2 if len(shape) == 2 else Architecture.SD1


def _is_refiner(header: Header, prefix: str) -> bool:
    """Return whether a UNet that embeds sizes is the refiner's, which reads one text encoder and five numbers."""
    base, refiner = (ENCODERS[kind]["text_encoder_2"][0] for kind in (Architecture.SDXL, Architecture.REFINER))
    if any(any(name in header for name in place.anchors) for place in (base, refiner)):
        return not any(name in header for name in base.anchors)
    blocks = (f"{prefix}input_blocks.{number}.1.transformer_blocks.0.attn2.to_k.weight" for number in range(1, 20))
    block = next((block for block in blocks if block in header), "")
    text, sizes = header.dims(block, 2)[1], header.dims(f"{prefix}label_emb.0.0.weight", 2)[1]
    return sizes == text + REFINER_NUMBERS * NUMBER_WIDTH


def _inpaints(header: Header, architecture: Architecture, prefix: str) -> bool:
    """Return whether the denoiser takes a mask and a masked image.

    Raises:
        ModelFileError: it takes another image that tintype does not feed.
    """
    if architecture in UNMASKED:
        return False
    flux = architecture is Architecture.FLUX
    name = f"{prefix}{'img_in' if flux else 'input_blocks.0.0'}.weight"
    channels = header.dims(name, 2 if flux else 4)[1]
    others = FLUX_CHANNELS if flux else UNET_CHANNELS
    if channels in others:
        raise header.fault(f"it is {others[channels]}, which takes {channels} channels; tintype does not serve it")
    return channels == (FILL_CHANNELS if flux else INPAINTING_CHANNELS)


_LAST, _FLUX = "final_layer.linear.weight", "double_blocks.0.img_attn.norm.key_norm.scale"
# Tensors that identify a denoiser, and its architecture or the function that tells it. The first row that fits counts.
DENOISERS: tuple[tuple[tuple[str, ...], Architecture | Callable[[Header, str], Architecture]], ...] = (
    (("input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"), _unet_architecture),
    (("transformer_blocks.0.img_mod.1.weight", "img_in.weight"), _qwen_architecture),
    ((_LAST, "double_stream_modulation_img.lin.weight"), _flux2_architecture),
    (("double_layers.0.attn.w2q.weight", "positional_encoding"), Architecture.AURA_FLOW),
    ((_LAST, _FLUX, "distilled_guidance_layer.in_proj.weight"), Architecture.CHROMA),
    ((_LAST, _FLUX), Architecture.FLUX),
    ((_LAST, "joint_blocks.0.context_block.adaLN_modulation.1.weight"), Architecture.SD3),
    ((_LAST, "layers.0.attention.qkv.weight", "layers.0.adaLN_modulation.0.weight"), Architecture.Z_IMAGE),
    ((_LAST, "layers.0.attention.qkv.weight", "layers.0.adaLN_modulation.1.weight"), Architecture.LUMINA2),
)
