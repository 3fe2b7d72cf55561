"""Templates for the configurations of a pipeline's folder in diffusers' layout; its weights are not read."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tintype.service.models.files import ModelFileError, read_json
from tintype.service.models.templates.keys import PAIRS, kind_of, shaping
from tintype.service.models.templates.language_fields import VISION

from ..errors import ExportRefusal
from ..families import family_of, has_part
from ..source import INDEX
from .folder import write
from .making import GraphConfig, make

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VISION_ENCODER = "vision_encoder"
VAE_COMPONENTS = ("vae_encoder", "vae_decoder")


def write_templates(pipeline_folder: Path, out: Path) -> None:
    """Write the templates of a pipeline to the folder `out`, and add them to its index.

    `pipeline_folder` needs only its configurations. The service takes `out` as `--templates`.

    Raises:
        ExportRefusal: a configuration is missing or not supported.
        VerificationError: a graph depends on the values of weights.
    """
    write(out, {name: make(config) for name, (_, config) in graph_configs(pipeline_folder).items()})


def graph_configs(folder: Path) -> dict[str, tuple[str, GraphConfig]]:
    """Return the components of a pipeline, and what their templates are made from, by the templates' names.

    Components with equal configurations have one template.

    Raises:
        ExportRefusal: a configuration is missing or not supported.
    """
    try:
        index = read_json(folder / INDEX)
        configs = list(_configs(folder, index))
    except ModelFileError as error:
        raise ExportRefusal(f"{folder}: {error}") from None
    return {_name(config): (component, config) for component, config in configs}


def _configs(folder: Path, index: Mapping[str, Any]) -> Iterator[tuple[str, GraphConfig]]:
    family = family_of(index)
    second = read_json(folder / "text_encoder_2" / "config.json", optional=True)
    variants = {encoder.encoder: encoder.variant for encoder in family.served.text_encoders}
    width = {"pooled_width": second["projection_dim"]} if "projection_dim" in second else {}
    for part in (part for part in family.parts if has_part(index, part)):
        class_name = str(index[part][1])
        config = read_json(folder / part / "config.json")
        row = family.classes.get(class_name, "")
        if row.endswith("with vision"):
            fields = _fields(VISION, part, config["vision_config"])
            yield VISION_ENCODER, GraphConfig(kind=VISION, fields=fields)
        for component in VAE_COMPONENTS if class_name in PAIRS else (part,):
            kind = kind_of(class_name, component, variants.get(part, ""))
            yield component, GraphConfig(kind=kind, fields=_fields(kind, part, config), **width)


def _fields(kind: str, part: str, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return shaping(kind, config)
    except ModelFileError as error:
        raise ModelFileError(f"{part}/config.json: {error}") from None


def _name(config: GraphConfig) -> str:
    """Return a name that only an equal configuration has."""
    text = json.dumps([config.kind, dict(config.fields), config.pooled_width], sort_keys=True)
    return f"{config.kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
