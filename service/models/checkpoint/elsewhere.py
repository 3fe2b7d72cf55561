"""Text encoders, tokenizers and VAEs from other folders and files than the model's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import ModelFileError, label, read_json
from ..safetensors import printable
from ..weights.pieces import ComponentWeights
from .components import Component, has_half, vae
from .header import read_header
from .recognition import VAE_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKENIZERS = Path(__file__).parent / "tokenizers"  # for files without any: CLIP's, with two ways of padding
CONFIG = "config.json"
PLACES = ("text_encoder", "text_encoder_2", "text_encoder_3")
ANCHOR = "decoder.conv_in.weight"
STEMS = ("diffusion_pytorch_model", "model")  # of weights as diffusers and as transformers name them
VARIANTS = ("", ".fp16")


def find_encoder(folder: Path, component: str, class_name: str) -> str | None:
    """Return the subfolder that has a text encoder of a class: that of the same name if it fits, or another one.

    Raises:
        ModelFileError: a configuration is damaged.
    """
    for place in dict.fromkeys((component, *PLACES)):
        classes = read_json(folder / place / CONFIG, optional=True).get("architectures")
        if isinstance(classes, list) and class_name in classes:
            return place
    return None


def tokenizer_folder(encoder: str) -> str:
    """Return the name of the folder with the tokenizer of a text encoder."""
    return encoder.replace("text_encoder", "tokenizer")


def folder_component(folder: Path, class_name: str | None = None) -> Component:
    """Return a component in a folder of diffusers or transformers.

    Args:
        folder: Has `config.json` and the weights.
        class_name: Its class; None for the one that the configuration names.

    Raises:
        ModelFileError: a file is missing or damaged.
    """
    config = read_json(folder / CONFIG)
    name = class_name or str(config.get("_class_name"))
    return Component(name, config, ComponentWeights(weight_files(folder)))


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return a component's safetensors files: one, or all shards of an index.

    Raises:
        ModelFileError: there are none, or the index is damaged.
    """
    for variant in VARIANTS:
        for stem in STEMS:
            if (single := folder / f"{stem}{variant}.safetensors").is_file():
                return (single,)
            if (index := folder / f"{stem}.safetensors.index{variant}.json").is_file():
                return _shards(index)
    raise ModelFileError(f"{label(folder)} has no .safetensors file")


def _shards(index: Path) -> tuple[Path, ...]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ModelFileError(f"{label(index)}: weight_map must be an object of file names")
    shards = sorted(set(names.values()))
    outside = next((name for name in shards if "/" in name or "\\" in name or name.startswith(".")), None)
    if outside is not None:
        raise ModelFileError(f"{label(index)}: weight_map must name files in its folder; got {printable(outside)}")
    return tuple(index.parent / name for name in shards)


def vae_component(source: Path, half: str, values: Mapping[str, Any]) -> Component | None:
    """Return the encoder or decoder of a VAE that the options name; None if the VAE has no such half.

    `source` is a model's folder, a VAE's own folder, or a single file with a VAE in it. `values` are the fields of the
    configuration that a single file does not show.

    Raises:
        ModelFileError: it has no VAE.
    """
    if source.is_dir():
        folder = next((place for place in (source / "vae", source) if (place / CONFIG).is_file()), None)
        if folder is None:
            raise ModelFileError(f"{label(source)} has neither vae/{CONFIG} nor {CONFIG}: it is not a VAE's folder")
        return folder_component(folder)
    header = read_header(source)
    prefix = next((p for p in (*VAE_PREFIXES, "") if p + ANCHOR in header), None)
    if prefix is not None and f"{prefix}decoder.up.0.block.0.norm1.weight" in header:
        return vae(header, prefix, values) if has_half(header, prefix, half) else None
    if prefix == "" and (source.parent / CONFIG).is_file():
        config = read_json(source.parent / CONFIG)
        return Component(str(config.get("_class_name")), config, ComponentWeights((source,)))
    raise header.fault(
        f"it has no VAE in its original names; a VAE in diffusers' names needs its {CONFIG} in the same folder"
    )
