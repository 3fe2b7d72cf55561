"""Random pipelines as single files: EDM models of SDXL, and transformers that read language models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import diffusers
import torch

from tests.support.export.single_files import SingleFile, finished, random_vae, sdxl
from tests.support.models import original_files as files
from tests.support.models import original_models as models
from tests.support.models.original_names import prefixed_state, single_stream_state, vae_state
from tintype.export.tiny.pipelines import random_pipeline
from tintype.service.models.checkpoint.recognition import Architecture

if TYPE_CHECKING:
    from collections.abc import Callable

_LATENTS = {"scaling_factor": 0.5, "latents_mean": [-1.5, 1.75, 0.25, -0.5], "latents_std": [8.5, 5.75, 7.5, 6.25]}


def cosxl() -> SingleFile:
    """Return CosXL: v-prediction between two levels that the file states."""
    made = sdxl(transformer_layers_per_block=[1, 1, 2])
    low, high = 0.0078125, 100.0
    made.pipeline.scheduler = diffusers.EDMEulerScheduler(
        sigma_min=low, sigma_max=high, sigma_data=1.0, sigma_schedule="exponential", prediction_type="v_prediction"
    )
    levels = {"edm_vpred.sigma_max": torch.tensor(high), "edm_vpred.sigma_min": torch.tensor(low)}
    return replace(made, state={**made.state, **levels})


def playground() -> SingleFile:
    """Return Playground v2.5: a mean and a deviation of each channel of the latents, which the file states."""
    made = sdxl(transformer_layers_per_block=[1, 1, 2])
    made.pipeline.scheduler = diffusers.EDMDPMSolverMultistepScheduler()
    made.pipeline.vae.register_to_config(**_LATENTS)
    statistics = {
        "edm_mean": torch.tensor(_LATENTS["latents_mean"]).reshape(1, 4, 1, 1),
        "edm_std": torch.tensor(_LATENTS["latents_std"]).reshape(1, 4, 1, 1),
    }
    return replace(made, state={**made.state, **statistics})


def z_image(name: str) -> SingleFile:
    """Return Z-Image as it is published: the transformer alone; the name decides about the shift."""
    source = random_pipeline("z_image")
    sizes = {"dim": 128, "n_heads": 1, "n_kv_heads": 1, "n_layers": 2, "n_refiner_layers": 1}
    transformer = _transformer("z_image", sizes, source)
    state = single_stream_state(transformer)
    return finished(state, name=name, transformer=transformer, vae=_vae(Architecture.Z_IMAGE), **_text(source))


def lumina2() -> SingleFile:
    """Return Lumina-Image 2 as ComfyUI packs it, with its VAE; a key serves two queries."""
    source = random_pipeline("lumina2")
    sizes = {"hidden_size": 192, "num_attention_heads": 2, "num_kv_heads": 1, "num_layers": 2, "num_refiner_layers": 1}
    transformer, vae = _transformer("lumina2", sizes, source), _vae(Architecture.LUMINA2)
    state = {
        **prefixed_state(files.DENOISER, single_stream_state(transformer)),
        **prefixed_state("vae.", vae_state(vae)),
    }
    return finished(state, transformer=transformer, vae=vae, **_text(source))


def qwen_image() -> SingleFile:
    """Return Qwen-Image as it is published: the transformer alone, in diffusers' names."""
    source = random_pipeline("qwen_image")
    return SingleFile(source, source.transformer.state_dict())


def _transformer(name: str, sizes: dict[str, Any], source: Any) -> Any:
    return models.randomize(models.transformer(name, **sizes, cap_feat_dim=source.text_encoder.config.hidden_size))


def _vae(architecture: Architecture) -> Any:
    return random_vae("flux", architecture)


def _text(source: Any) -> dict[str, Any]:
    return {"text_encoder": source.text_encoder, "tokenizer": source.tokenizer}


FILES: dict[str, Callable[[], SingleFile]] = {
    "cosxl": cosxl,
    "playground": playground,
    "z_image": lambda: z_image("z_image"),
    "z_image_turbo": lambda: z_image("z_image_turbo"),
    "lumina2": lumina2,
    "qwen_image": qwen_image,
}
