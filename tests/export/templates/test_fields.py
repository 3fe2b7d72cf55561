"""The tables of fields against the signatures of diffusers' and transformers' classes."""

from __future__ import annotations

import inspect
import json
from typing import Any

import diffusers
import pytest
import transformers

from tintype.service.models.templates.fields import IGNORED, SHAPING
from tintype.service.models.templates.keys import shaping

pytestmark = pytest.mark.torch

# Kind of graph -> the class that reads its configuration.
CLASSES: dict[str, Any] = {
    "clip": transformers.CLIPTextConfig,
    "clip_projected": transformers.CLIPTextConfig,
    "t5": transformers.T5Config,
    "masked_t5": transformers.T5Config,
    "gemma": transformers.Gemma2Config,
    "unet": diffusers.UNet2DConditionModel,
    "sd3": diffusers.SD3Transformer2DModel,
    "flux": diffusers.FluxTransformer2DModel,
    "flux2": diffusers.Flux2Transformer2DModel,
    "pixart": diffusers.PixArtTransformer2DModel,
    "sana": diffusers.SanaTransformer2DModel,
    "z_image": diffusers.ZImageTransformer2DModel,
    "lumina2": diffusers.Lumina2Transformer2DModel,
    "kl_encoder": diffusers.AutoencoderKL,
    "kl_decoder": diffusers.AutoencoderKL,
    "kl_flux2_encoder": diffusers.AutoencoderKLFlux2,
    "kl_flux2_decoder": diffusers.AutoencoderKLFlux2,
    "dc_encoder": diffusers.AutoencoderDC,
    "dc_decoder": diffusers.AutoencoderDC,
    "tiny_encoder": diffusers.AutoencoderTiny,
    "tiny_decoder": diffusers.AutoencoderTiny,
}


# Fields that no graph has yet: other values than their default, null, are refused.
REFUSED = {"gemma": {"use_bidirectional_attention"}}


def fields_of(kind: str) -> dict[str, Any]:
    """Return the fields of a class with their defaults; those of rotary places are fields of their own."""
    parameters = inspect.signature(CLASSES[kind].__init__).parameters
    fields = {name: each.default for name, each in parameters.items() if name not in ("self", "kwargs")}
    if "rope_parameters" in fields:
        del fields["rope_parameters"]
        fields["rope_theta"] = CLASSES[kind]().rope_parameters["rope_theta"]
    return fields


def test_every_kind_has_a_class() -> None:
    """No kind of graph is left out here."""
    assert CLASSES.keys() == SHAPING.keys()


@pytest.mark.parametrize("kind", CLASSES)
def test_every_field_is_known(kind: str) -> None:
    """Each field of the class shapes the graph or is ignored: a field of a newer version is noticed."""
    assert fields_of(kind).keys() - SHAPING[kind].keys() - IGNORED[kind] == REFUSED.get(kind, set())


@pytest.mark.parametrize("kind", CLASSES)
def test_defaults(kind: str) -> None:
    """Absent fields have the class's default."""
    fields = fields_of(kind)
    differing = {
        name: (default, fields.get(name))
        for name, default in SHAPING[kind].items()
        if default != json.loads(json.dumps(fields.get(name, "absent")))
    }
    assert differing == {}


@pytest.mark.parametrize("kind", ["clip", "t5", "gemma"])
def test_fields_of_every_configuration(kind: str) -> None:
    """What transformers writes for every model is ignored: nothing that a default configuration holds is unknown."""
    written = json.loads(CLASSES[kind]().to_json_string(use_diff=False))
    assert shaping(kind, written) == shaping(kind, {})


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(CLASSES[kind], diffusers.ConfigMixin)])
def test_ignored_fields_of_diffusers_exist(kind: str) -> None:
    """The table holds no field that the class has no more."""
    derived = {"block_out_channels"} if kind.startswith("tiny") else set()
    # Published configurations of FLUX.2 have it, although their class does not read it.
    derived |= {"force_upcast"} if kind.startswith("kl_flux2") else set()
    assert IGNORED[kind] - fields_of(kind).keys() - derived == set()
