"""Random pipelines of published architectures, written as single files in their original names.

Widths and depths are reduced. Text encoders have CLIP's whole vocabulary, since single files have no tokenizer.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from safetensors.torch import save_file
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.support.models import original_files as files
from tests.support.models import original_models as models
from tests.support.models.original_names import flux2_state, vae_state
from tintype.export.templates import kinds, making
from tintype.export.templates.folder import write
from tintype.export.templates.pipelines import graph_configs
from tintype.export.tiny import tokenizers
from tintype.export.tiny.language_models import qwen3_text_encoder
from tintype.service.models.checkpoint.elsewhere import TOKENIZERS
from tintype.service.models.checkpoint.published_values import VAE_VALUES, model_index, scheduler_config
from tintype.service.models.checkpoint.recognition import Architecture, recognize
from tintype.service.models.templates.archive import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WIDTH = 64  # of a text encoder: one head
T5 = {"d_model": 160, "d_ff": 128, "num_layers": 2, "num_heads": 2, "d_kv": 16}
CLIP = models.REDUCED_CLIP
_VAE = {"block_out_channels": [32, 64, 64, 64], "norm_num_groups": 32}
_LEVELS = {**_VAE, "layers_per_block": 1}
_HEADS = {"attention_head_dim": 1}
_XL = {**_HEADS, "layers_per_block": 1, "block_out_channels": [32, 64, 64], "cross_attention_dim": 2 * WIDTH}
_SMALL_SSD: dict[str, Any] = {
    "transformer_layers_per_block": [1, [1], [2]],
    "reverse_transformer_layers_per_block": [[2, 3], [2, 1], 1],
}
_TRANSFORMER = {"joint_attention_dim": T5["d_model"]}
_SD3 = {"num_layers": 3, "num_attention_heads": 2, "caption_projection_dim": 128, "pos_embed_max_size": 32}


@dataclass(frozen=True)
class SingleFile:
    """A pipeline of diffusers, and its tensors in original names."""

    pipeline: Any
    state: Mapping[str, torch.Tensor]
    vae_state: Mapping[str, torch.Tensor] | None = None

    def write(self, path: Path, dtype: torch.dtype = torch.float32) -> Path:
        """Write the file."""
        return _write(self.state, path, dtype)

    def write_vae(self, path: Path) -> Path | None:
        """Write the VAE's own file, if it has one, in its original names."""
        return _write(self.vae_state, path, torch.float32) if self.vae_state else None


def _write(state: Mapping[str, torch.Tensor], path: Path, dtype: torch.dtype) -> Path:
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in state.items()
    }
    save_file(tensors, path)
    return path


class TemplateFolder:
    """A folder with templates of the pipelines that were given to `add`, in float32 and without adapters only."""

    def __init__(self, path: Path) -> None:
        self.path, self._names = path, set[str]()

    def add(self, pipeline_folder: Path) -> None:
        """Make the templates of a pipeline that are not there yet."""
        configs = graph_configs(pipeline_folder)
        write(self.path, {name: _plain_template(configs[name][1]) for name in configs.keys() - self._names})
        self._names |= configs.keys()


def _plain_template(config: making.GraphConfig) -> making.MadeTemplate:
    component = making.component_of(config)
    graph = making._trace_once(component, kinds.KINDS[config.kind].size, making.NUMBERS[0], half=False)
    model = graph.with_inputs(adapters=False)
    making.make_weights_external(model, component)
    return making.MadeTemplate(config, ((Variant(), model.SerializeToString()),), 0, 0)


def clip_tokenizer(pad: str = "<|endoftext|>") -> Any:
    """Return transformers' tokenizer of CLIP's merges."""
    merges = lzma.decompress((TOKENIZERS / "clip_merges.txt.xz").read_bytes()).decode("utf-8")
    letters = list(bytes_to_unicode().values())
    pairs = [tuple(line.split(" ")) for line in merges.splitlines()]
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *map("".join, pairs),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocabulary, pairs, model_max_length=77, pad_token=pad)


def _clip(name: str, projected: int = 0) -> Any:
    return models.randomize(models.clip(name, projected=projected, **CLIP), seed=len(name))


def random_vae(name: str, architecture: Architecture) -> Any:
    return models.randomize(models.vae(name, **_VAE, **VAE_VALUES[architecture]))


def finished(
    state: Mapping[str, torch.Tensor], prediction: str = "epsilon", name: str = "a", **parts: Any
) -> SingleFile:
    """Return the file of a state and a name, with the pipeline that it is recognized as."""
    found = recognize(files.header_of(state, Path(f"models/{name}.safetensors")))
    config = scheduler_config(found, prediction, guided=any("guidance_in." in name for name in state))
    parts["scheduler"] = getattr(diffusers, config["_class_name"]).from_config(config)
    index = model_index(found)
    for unused in ("safety_checker", "feature_extractor", "image_encoder"):
        parts.setdefault(unused, None)
    class_ = getattr(diffusers, index["_class_name"])
    settings = {"requires_safety_checker": False, "add_watermarker": False, "requires_aesthetics_score": False}
    settings |= {"is_distilled": False}
    settings |= {key: index[key] for key in settings if key in index}
    settings["force_zeros_for_empty_prompt"] = index.get("force_zeros_for_empty_prompt", True)
    known = signature(class_.__init__).parameters
    return SingleFile(class_(**{key: part for key, part in {**parts, **settings}.items() if key in known}), state)


def sd1(name: str = "sd1", **changes: Any) -> SingleFile:
    unet = models.randomize(models.unet(name, **_LEVELS, cross_attention_dim=WIDTH, **changes))
    vae, clip = random_vae("sd", Architecture.SD1), _clip("clip_l")
    state = files.sd1_state(unet, vae, clip)
    return finished(state, unet=unet, vae=vae, text_encoder=clip, tokenizer=clip_tokenizer())


def sd2() -> SingleFile:
    unet = models.randomize(models.unet("sd2", **_LEVELS, **_HEADS, cross_attention_dim=WIDTH))
    vae, clip = random_vae("sd", Architecture.SD2), _clip("clip_h")
    state = files.sd2_state(unet, vae, clip)
    return finished(state, "v_prediction", unet=unet, vae=vae, text_encoder=clip, tokenizer=clip_tokenizer(pad="!"))


def sdxl(name: str = "sdxl", markers: tuple[str, ...] = (), **changes: Any) -> SingleFile:
    sizes = {"projection_class_embeddings_input_dim": WIDTH + 6 * 256}
    unet = models.randomize(models.unet(name, **_XL | sizes | changes))
    vae, first, second = random_vae("sd", Architecture.SDXL), _clip("clip_l"), _clip("clip_g", WIDTH)
    state = {**files.sdxl_state(unet, vae, first, second), **dict.fromkeys(markers, torch.zeros(0))}
    return finished(
        state,
        "v_prediction" if "v_pred" in markers else "epsilon",
        unet=unet,
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(pad="!"),
    )


def refiner() -> SingleFile:
    unet = models.randomize(
        models.unet(
            "refiner",
            **_HEADS,
            **_LEVELS,
            cross_attention_dim=WIDTH,
            transformer_layers_per_block=2,
            projection_class_embeddings_input_dim=WIDTH + 5 * 256,
        )
    )
    vae, second = random_vae("sd", Architecture.REFINER), _clip("clip_g", WIDTH)
    state = files.sdxl_state(unet, vae, None, second)
    parts = {"text_encoder": None, "tokenizer": None, "text_encoder_2": second}
    return finished(state, unet=unet, vae=vae, tokenizer_2=clip_tokenizer(pad="!"), **parts)


def flux(name: str, *, whole: bool = True, file: str = "a") -> SingleFile:
    """Return FLUX.1 as ComfyUI saves it, or the transformer alone."""
    changes = {"num_layers": 2, "num_single_layers": 2, "num_attention_heads": 1, "pooled_projection_dim": WIDTH}
    transformer = models.randomize(models.transformer(name, **changes, **_TRANSFORMER))
    vae, clip = random_vae("flux", Architecture.FLUX), _clip("clip_l")
    t5 = models.randomize(models.t5(**T5, vocab_size=512))
    parts = (vae, clip, t5) if whole else ()
    state = files.flux_file_state(transformer, *parts, prefix=files.DENOISER if whole else "")
    return finished(
        state,
        name=file,
        transformer=transformer,
        vae=vae,
        text_encoder=clip,
        text_encoder_2=t5,
        tokenizer=clip_tokenizer(),
        tokenizer_2=tokenizers.t5(),
    )


def chroma() -> SingleFile:
    """Return Chroma's transformer alone."""
    changes = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1}
    network = {"approximator_num_channels": 32, "approximator_hidden_dim": 24, "approximator_layers": 2}
    transformer = models.randomize(models.transformer("chroma", **changes, **network, **_TRANSFORMER))
    return finished(
        files.chroma_file_state(transformer),
        transformer=transformer,
        vae=random_vae("flux", Architecture.CHROMA),
        text_encoder=models.randomize(models.t5(**T5, vocab_size=512)),
        tokenizer=tokenizers.t5(),
    )


def aura_flow() -> SingleFile:
    """Return AuraFlow with all its parts, in which each head has 256 numbers."""
    changes = {"num_mmdit_layers": 1, "num_single_dit_layers": 1, "num_attention_heads": 1, "pos_embed_max_size": 1024}
    sizes = {"caption_projection_dim": 256, "joint_attention_dim": T5["d_model"]}
    transformer = models.randomize(models.transformer("aura_flow", **changes, **sizes))
    tokenizer = tokenizers.llama()
    vae = random_vae("sd", Architecture.AURA_FLOW)
    encoder = models.randomize(models.umt5(**T5, vocab_size=len(tokenizer)))
    state = files.aura_flow_file_state(transformer, vae, encoder)
    return finished(state, transformer=transformer, vae=vae, text_encoder=encoder, tokenizer=tokenizer)


def flux2_klein() -> SingleFile:
    """Return FLUX.2 klein as it is published: the transformer alone, and the VAE in a file of its own."""
    tokenizer = tokenizers.qwen()
    text_encoder = qwen3_text_encoder(len(tokenizer))
    changes = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1, "in_channels": 32}
    changes |= {"joint_attention_dim": 3 * text_encoder.config.hidden_size, "timestep_guidance_channels": 32}
    transformer = models.randomize(models.transformer("flux2_klein", **changes))
    vae = models.flux2_vae(**_VAE, layers_per_block=1, latent_channels=8)
    made = finished(
        flux2_state(transformer), transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer
    )
    return replace(made, vae_state=vae_state(vae))


def sd3(name: str, *, t5: bool = False) -> SingleFile:
    """Return Stable Diffusion 3, whose first CLIP has the identity as its projection, with or without T5."""
    dual = {"dual_attention_layers": [0, 1]} if name == "sd35_medium" else {}
    changes = {**_SD3, **_TRANSFORMER, **dual, "pooled_projection_dim": 2 * WIDTH}
    transformer = models.randomize(models.transformer(name, **changes))
    vae, first, second = random_vae("flux", Architecture.SD3), _clip("clip_l", WIDTH), _clip("clip_g", WIDTH)
    with torch.no_grad():
        first.text_projection.weight.copy_(torch.eye(WIDTH))
    third = models.randomize(models.t5(**T5, vocab_size=512)) if t5 else None
    state = dict(files.sd3_file_state(transformer, vae, (first, second), third))
    del state["text_encoders.clip_l.transformer.text_projection.weight"]
    return finished(
        state,
        transformer=transformer,
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        text_encoder_3=third,
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(pad="!"),
        tokenizer_3=tokenizers.t5() if t5 else None,
    )


FILES: dict[str, Callable[[], SingleFile]] = {
    "sd1": sd1,
    "sd1_inpainting": lambda: sd1(in_channels=9),
    "sd2": sd2,
    "sdxl": lambda: sdxl(transformer_layers_per_block=[1, 1, 2]),
    "sdxl_v": lambda: sdxl(markers=("v_pred", "ztsnr"), transformer_layers_per_block=[1, 1, 2]),
    "ssd_1b": lambda: sdxl("ssd_1b", **_SMALL_SSD),
    "refiner": refiner,
    "flux_dev": lambda: flux("flux_dev"),
    "flux_schnell": lambda: flux("flux_schnell", whole=False),
    "flux_kontext": lambda: flux("flux_dev", file="flux_kontext"),
    "flux_fill": lambda: flux("flux_fill"),
    "chroma": chroma,
    "aura_flow": aura_flow,
    "flux2_klein": flux2_klein,
    "sd3": lambda: sd3("sd3_medium"),
    "sd35": lambda: sd3("sd35_medium", t5=True),
}
