"""The configurations that a single file lacks, as the publishers' folders have them.

Sources: model_index.json and scheduler_config.json of the repositories named below, as of 2025.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..folder.layout import ABSENT
from .recognition import QWEN_ARCHITECTURES, Architecture
from .unet_config import edm_latents, edm_scheduler, is_edm

if TYPE_CHECKING:
    from .header import Header
    from .recognition import Checkpoint

PREDICTION = "modelspec.prediction_type"  # of Stability AI's ModelSpec, which trainers write into the metadata
V_PRED, ZERO_SNR = "v_pred", "ztsnr"  # empty tensors that mark how an SDXL model was trained
# A Stable Diffusion 2 model that was trained to predict v has a larger bias here: a standard deviation above 0.09. It
# is the one trace in the weights; ComfyUI and its relatives decide by it too.
V_TRACE = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
V_DEVIATION = 0.09

_LATENT_NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
# stable-diffusion-v1-5, stable-diffusion-inpainting, stable-diffusion-2-1-base, stable-diffusion-2-inpainting
_PNDM = {"_class_name": "PNDMScheduler", **_LATENT_NOISE, "skip_prk_steps": True, "prediction_type": "epsilon"}
# stabilityai/stable-diffusion-2-1, of 768 pixels
_DDIM = {"_class_name": "DDIMScheduler", **_LATENT_NOISE, "prediction_type": "v_prediction"}
# stable-diffusion-xl-base-1.0, stable-diffusion-xl-refiner-1.0, stable-diffusion-xl-1.0-inpainting-0.1, SSD-1B
_EULER = {
    "_class_name": "EulerDiscreteScheduler",
    **_LATENT_NOISE,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "use_karras_sigmas": False,
}
# stabilityai/sd-turbo, stabilityai/sdxl-turbo: known by the file's name only. Other models with "turbo" in their names
# take more steps.
_SD_TURBO = {**_EULER, "timestep_spacing": "trailing"}
_SDXL_TURBO = {**_SD_TURBO, "_class_name": "EulerAncestralDiscreteScheduler"}
_TURBO_NAME = re.compile(r"(?:sd|sd[_-]?xl)[_-]turbo(?![a-z])", re.IGNORECASE)
_FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
_FLUX_SHIFTS = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
# FLUX.1-dev, FLUX.1-schnell; stable-diffusion-3-medium, stable-diffusion-3.5-medium, stable-diffusion-3.5-large
_FLUX_DEV = {**_FLOW, **_FLUX_SHIFTS, "shift": 3.0, "use_dynamic_shifting": True}
_FLUX_SCHNELL = {**_FLOW, **_FLUX_SHIFTS, "shift": 1.0, "use_dynamic_shifting": False}
_SD3 = {**_FLOW, "shift": 3.0}
_Z_IMAGE_TURBO = {**_FLOW, "shift": 3.0}
_Z_IMAGE = {**_FLOW, "shift": 6.0}
# Z-Image itself, as its publishers name its file; files of other names are made of Z-Image-Turbo, as diffusers takes
# all of them.
_Z_IMAGE_NAME = re.compile(r"z[_-]?image(?!.*turbo)", re.IGNORECASE)
# Qwen-Image, and all of its kind
_QWEN_SHIFTS = {**_FLUX_DEV, "shift": 1.0, "max_shift": 0.9, "max_image_seq_len": 8192, "shift_terminal": 0.02}
# Chroma: as other software that serves it samples; AuraFlow-v0.3
_CHROMA, _AURA_FLOW = ({**_FLOW, "shift": shift} for shift in (1.0, 1.73))
# Of architectures whose models all have one.
_SCHEDULERS: dict[Architecture, dict[str, Any]] = {
    Architecture.FLUX2_KLEIN: _FLUX_DEV,
    Architecture.FLUX2: _FLUX_DEV,
    Architecture.SD3: _SD3,
    Architecture.LUMINA2: {**_FLOW, "shift": 6.0},
    **dict.fromkeys(QWEN_ARCHITECTURES, _QWEN_SHIFTS),
    Architecture.CHROMA: _CHROMA,
    Architecture.AURA_FLOW: _AURA_FLOW,
}
# FLUX.1-Kontext-dev and fine-tunes of it: the architecture of dev.
_KONTEXT_NAME = re.compile(r"kontext", re.IGNORECASE)
# FLUX.2-klein-base-4B and others that are not distilled; distilled ones and dev have no such word.
_BASE_NAME = re.compile(r"(?:^|[^a-z])base(?![a-z])", re.IGNORECASE)

_FLUX_VAE = {"scaling_factor": 0.3611, "shift_factor": 0.1159, "sample_size": 1024, "force_upcast": True}
VAE_VALUES: dict[Architecture, dict[str, Any]] = {
    Architecture.SD1: {"scaling_factor": 0.18215, "sample_size": 512},
    Architecture.SD2: {"scaling_factor": 0.18215, "sample_size": 768},
    Architecture.SDXL: {"scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True},
    Architecture.REFINER: {"scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True},
    Architecture.FLUX: _FLUX_VAE,
    Architecture.CHROMA: _FLUX_VAE,
    Architecture.AURA_FLOW: {"scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True},
    Architecture.FLUX2_KLEIN: {"sample_size": 1024, "force_upcast": True},
    Architecture.FLUX2: {"sample_size": 1024, "force_upcast": True},
    **{architecture: {} for architecture in QWEN_ARCHITECTURES},
    Architecture.SD3: {"scaling_factor": 1.5305, "shift_factor": 0.0609, "sample_size": 1024, "force_upcast": True},
    Architecture.Z_IMAGE: _FLUX_VAE,
    Architecture.LUMINA2: _FLUX_VAE,
}

_CLIP, _CLIP_TOKENIZER = ["transformers", "CLIPTextModel"], ["transformers", "CLIPTokenizer"]
_PROJECTED = ["transformers", "CLIPTextModelWithProjection"]
_T5, _T5_TOKENIZER = ["transformers", "T5EncoderModel"], ["transformers", "T5TokenizerFast"]
_UNET, _VAE = ["diffusers", "UNet2DConditionModel"], ["diffusers", "AutoencoderKL"]
_SD = {"text_encoder": _CLIP, "tokenizer": _CLIP_TOKENIZER, "unet": _UNET, "vae": _VAE}
_SECOND = {"text_encoder_2": _PROJECTED, "tokenizer_2": _CLIP_TOKENIZER}
_FLUX2 = {"transformer": ["diffusers", "Flux2Transformer2DModel"], "vae": ["diffusers", "AutoencoderKLFlux2"]}
_QWEN_IMAGE = {
    "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "transformer": ["diffusers", "QwenImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLQwenImage"],
}
_INDEXES: dict[Architecture, dict[str, Any]] = {
    Architecture.SD1: {"_class_name": "StableDiffusionPipeline", **_SD},
    Architecture.SD2: {"_class_name": "StableDiffusionPipeline", **_SD},
    Architecture.SDXL: {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        **_SD,
        **_SECOND,
    },
    Architecture.REFINER: {
        "_class_name": "StableDiffusionXLImg2ImgPipeline",
        "force_zeros_for_empty_prompt": False,
        "requires_aesthetics_score": True,
        "text_encoder": ABSENT,
        "tokenizer": ABSENT,
        "unet": _UNET,
        "vae": _VAE,
        **_SECOND,
    },
    Architecture.FLUX: {
        "_class_name": "FluxPipeline",
        "text_encoder": _CLIP,
        "tokenizer": _CLIP_TOKENIZER,
        "text_encoder_2": _T5,
        "tokenizer_2": _T5_TOKENIZER,
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": _VAE,
    },
    Architecture.CHROMA: {
        "_class_name": "ChromaPipeline",
        "text_encoder": _T5,
        "tokenizer": _T5_TOKENIZER,
        "transformer": ["diffusers", "ChromaTransformer2DModel"],
        "vae": _VAE,
    },
    Architecture.AURA_FLOW: {
        "_class_name": "AuraFlowPipeline",
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "LlamaTokenizerFast"],
        "transformer": ["diffusers", "AuraFlowTransformer2DModel"],
        "vae": _VAE,
    },
    Architecture.FLUX2_KLEIN: {
        "_class_name": "Flux2KleinPipeline",
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],
        **_FLUX2,
    },
    Architecture.FLUX2: {
        "_class_name": "Flux2Pipeline",
        "text_encoder": ["transformers", "Mistral3ForConditionalGeneration"],
        "tokenizer": ["transformers", "PixtralProcessor"],
        **_FLUX2,
    },
    Architecture.QWEN_IMAGE: {"_class_name": "QwenImagePipeline", **_QWEN_IMAGE},
    Architecture.QWEN_IMAGE_EDIT: {"_class_name": "QwenImageEditPipeline", **_QWEN_IMAGE},
    Architecture.QWEN_IMAGE_EDIT_PLUS: {"_class_name": "QwenImageEditPlusPipeline", **_QWEN_IMAGE},
    Architecture.SD3: {
        "_class_name": "StableDiffusion3Pipeline",
        "text_encoder": _PROJECTED,
        "tokenizer": _CLIP_TOKENIZER,
        **_SECOND,
        "text_encoder_3": _T5,
        "tokenizer_3": _T5_TOKENIZER,
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": _VAE,
    },
    Architecture.Z_IMAGE: {
        "_class_name": "ZImagePipeline",
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": _VAE,
    },
    Architecture.LUMINA2: {
        "_class_name": "Lumina2Pipeline",
        "text_encoder": ["transformers", "Gemma2Model"],
        "tokenizer": ["transformers", "GemmaTokenizerFast"],
        "transformer": ["diffusers", "Lumina2Transformer2DModel"],
        "vae": _VAE,
    },
}
_INPAINTING = {
    "FluxPipeline": "FluxFillPipeline",
    "StableDiffusionPipeline": "StableDiffusionInpaintPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLInpaintPipeline",
    "StableDiffusionXLImg2ImgPipeline": "StableDiffusionXLInpaintPipeline",
}


def model_index(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return model_index.json: the pipeline's class, and the class of each component."""
    index = _INDEXES[checkpoint.architecture]
    class_name = "FluxKontextPipeline" if is_kontext(checkpoint) else index["_class_name"]
    own = {"is_distilled": is_distilled(checkpoint)} if checkpoint.architecture is Architecture.FLUX2_KLEIN else {}
    return {**index, **own, "_class_name": _INPAINTING[class_name] if checkpoint.inpaints else class_name}


def scheduler_config(checkpoint: Checkpoint, prediction: str, *, guided: bool) -> dict[str, Any]:
    """Return scheduler_config.json.

    Args:
        checkpoint: The file.
        prediction: What a diffusion predicts, as `prediction_type`.
        guided: Whether a FLUX.1 model takes the guidance scale, as dev does and schnell does not.
    """
    if is_turbo(checkpoint):
        return dict(_SD_TURBO if checkpoint.architecture is Architecture.SD2 else _SDXL_TURBO)
    if known := _SCHEDULERS.get(checkpoint.architecture):
        return dict(known)
    match checkpoint.architecture:
        case Architecture.FLUX:
            return dict(_FLUX_DEV if guided else _FLUX_SCHNELL)
        case Architecture.Z_IMAGE:
            return dict(_Z_IMAGE if _Z_IMAGE_NAME.match(checkpoint.path.stem) else _Z_IMAGE_TURBO)
        case Architecture.SDXL | Architecture.REFINER:
            return {**_sdxl_scheduler(checkpoint.header, prediction), "prediction_type": prediction}
        case _:
            large = checkpoint.architecture is Architecture.SD2 and prediction != "epsilon"
            return {**(_DDIM if large else _PNDM), "prediction_type": prediction}


def _sdxl_scheduler(header: Header, prediction: str) -> dict[str, Any]:
    """Return the scheduler of an SDXL model by its markers."""
    if is_edm(header):
        return edm_scheduler(header)
    marked = ZERO_SNR in header and prediction != "epsilon"
    return {**_EULER, **({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if marked else {})}


def vae_values(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the fields of the VAE's configuration that its own tensors do not show.

    Raises:
        ModelFileError: a marker of an EDM model is damaged.
    """
    return {**VAE_VALUES[checkpoint.architecture], **edm_latents(checkpoint.header)}


def is_kontext(checkpoint: Checkpoint) -> bool:
    """Return whether a file of FLUX.1 edits images: known by the file's name only."""
    edits = checkpoint.architecture is Architecture.FLUX and not checkpoint.inpaints
    return edits and bool(_KONTEXT_NAME.search(checkpoint.path.stem))


def is_distilled(checkpoint: Checkpoint) -> bool:
    """Return whether a file of FLUX.2 klein is distilled to few steps: known by the file's name only."""
    return not _BASE_NAME.search(checkpoint.path.stem)


def is_turbo(checkpoint: Checkpoint) -> bool:
    """Return whether a file is SD-Turbo or SDXL-Turbo, as Stability AI names them."""
    distilled = (Architecture.SD2, Architecture.SDXL)
    named = checkpoint.architecture in distilled and bool(_TURBO_NAME.match(checkpoint.path.stem))
    return named and not is_edm(checkpoint.header)


def prediction_type(checkpoint: Checkpoint) -> str:
    """Return what a diffusion predicts: by SDXL's markers, the metadata, or the trace in Stable Diffusion 2.

    Raises:
        ModelFileError: the file cannot be read.
    """
    header, architecture = checkpoint.header, checkpoint.architecture
    if is_edm(header):
        return str(edm_scheduler(header)["prediction_type"])
    if is_turbo(checkpoint):
        return "epsilon"
    if architecture is Architecture.SDXL and V_PRED in header:
        return "v_prediction"
    if named := {"v": "v_prediction", "epsilon": "epsilon"}.get(header.metadata.get(PREDICTION, "")):
        return named
    if architecture is Architecture.SD2 and not checkpoint.inpaints:
        trace = header.entries.get(checkpoint.prefix + V_TRACE)
        # Without the trace, in a reduced model, the prediction is that of 2.1, as in diffusers.
        known = trace is not None and len(trace.shape) == 1
        if not known or float(np.std(header.read(checkpoint.prefix + V_TRACE))) > V_DEVIATION:
            return "v_prediction"
    return "epsilon"
