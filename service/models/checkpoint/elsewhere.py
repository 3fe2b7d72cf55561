"""Text encoders, tokenizers and VAEs from other folders and files than the model's own.

A projection that a file leaves out is a stored identity matrix.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import ModelFileError, label, read_json
from ..templates.filling import Component
from ..templates.keys import CLASSES
from ..weights.pieces import ComponentWeights, Piece
from ..weights.published_files import weight_files
from .components import has_half, vae
from .header import read_header
from .recognition import VAE_PREFIXES
from .wan_names import ANCHOR as WAN_ANCHOR
from .wan_names import wan_vae

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..loading_options import Precision

TOKENIZERS = Path(__file__).parent / "tokenizers"  # for files without any: CLIP's, with two ways of padding
CONFIG = "config.json"
PLACES = ("text_encoder", "text_encoder_2", "text_encoder_3")
ANCHOR = "decoder.conv_in.weight"
IDENTITY = "identity"
MAX_WIDTH = 8192  # of published text encoders at most 4,096
PROJECTION = "text_projection.weight"
ONE = 0x38  # 1.0 as an 8-bit float, F8_E4M3


def find_encoder(folder: Path, component: str, class_name: str) -> str | None:
    """Return the subfolder that has a text encoder of a class: that of the same name if it fits, or another one.

    Raises:
        ModelFileError: a configuration is damaged.
    """
    for place in dict.fromkeys((component, *PLACES)):
        classes = read_json(folder / place / CONFIG, optional=True).get("architectures")
        if isinstance(classes, list) and any(_equal(class_name, name) for name in classes):
            return place
    return None


def _equal(class_name: str, other: object) -> bool:
    """Return whether two classes have the same graph: a language model may have a head that continues texts."""
    kind = CLASSES.get(class_name, class_name)
    return isinstance(other, str) and CLASSES.get(other, other) == kind


def tokenizer_folder(encoder: str) -> str:
    """Return the name of the folder with the tokenizer of a text encoder."""
    return encoder.replace("text_encoder", "tokenizer")


def folder_component(folder: Path, precision: Precision, class_name: str | None = None) -> Component:
    """Return a component in a folder of diffusers or transformers.

    Args:
        folder: Has `config.json` and the weights.
        precision: Chooses among several variants of the weights.
        class_name: Its class; None for the one that the configuration names.

    Raises:
        ModelFileError: a file is missing or damaged.
    """
    config = read_json(folder / CONFIG)
    name = class_name or str(config.get("_class_name"))
    return Component(name, config, ComponentWeights(weight_files(folder, precision)))


def vae_component(source: Path, half: str, values: Mapping[str, Any], precision: Precision) -> Component | None:
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
        return folder_component(folder, precision)
    header = read_header(source)
    prefix = next((p for p in (*VAE_PREFIXES, "") if p + ANCHOR in header), None)
    if prefix is not None and f"{prefix}decoder.up.0.block.0.norm1.weight" in header:
        return vae(header, prefix, values) if has_half(header, prefix, half) else None
    wan = next((p for p in (*VAE_PREFIXES, "") if p + WAN_ANCHOR in header), None)
    if wan is not None:
        return wan_vae(header, wan)
    if prefix == "" and (source.parent / CONFIG).is_file():
        config = read_json(source.parent / CONFIG)
        return Component(str(config.get("_class_name")), config, ComponentWeights((source,)))
    raise header.fault(
        f"it has no VAE in its original names; a VAE in diffusers' names needs its {CONFIG} in the same folder"
    )


def with_projection(component: Component, cache: Path) -> Component:
    """Return a text encoder whose projection is an identity matrix that is kept in `cache`.

    Raises:
        ModelFileError: the matrix cannot be written.
    """
    stored, width = component.weights, component.config["hidden_size"]

    def naming(name: str) -> tuple[Piece, ...]:
        return (Piece(IDENTITY),) if name == PROJECTION else stored.naming(name)

    files = (*stored.files, identity_file(cache.expanduser(), width))
    return component._replace(weights=ComponentWeights(files, naming, stored.scope, stored.ignored))


def identity_file(cache: Path, width: int) -> Path:
    """Return a safetensors file in `cache` with the identity matrix [width, width]; write it if it is missing.

    Raises:
        ModelFileError: it cannot be written.
    """
    if width > MAX_WIDTH:
        raise ModelFileError(f"a text encoder must have at most {MAX_WIDTH} numbers for a token; got {width}")
    path = cache / f"identity-{width}.safetensors"
    header = json.dumps(
        {IDENTITY: {"dtype": "F8_E4M3", "shape": [width, width], "data_offsets": [0, width**2]}}
    ).encode()
    size = 8 + len(header) + width**2
    if path.is_file() and path.stat().st_size == size:
        return path
    partial = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(
            len(header).to_bytes(8, "little") + header + (np.eye(width, dtype=np.uint8) * ONE).tobytes()
        )
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ModelFileError(
            f"{label(path)} cannot be written: {error.strerror or error}; choose another folder with --weights-cache"
        ) from error
    return path
