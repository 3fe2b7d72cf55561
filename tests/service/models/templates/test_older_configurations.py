"""Configurations as older versions of diffusers wrote them have the key of newer ones."""

from __future__ import annotations

import pytest

from tintype.service.models.files import ModelFileError
from tintype.service.models.templates.keys import kind_of, shaping

# transformer/config.json of PixArt-alpha/PixArt-Sigma-XL-2-1024-MS, without its defaults.
PIXART_SIGMA = {
    "_class_name": "Transformer2DModel",
    "_diffusers_version": "0.28.0.dev0",
    "caption_channels": 4096,
    "double_self_attention": False,
    "num_vector_embeds": None,
    "norm_type": "ada_norm_single",
    "only_cross_attention": False,
    "use_additional_conditions": False,
    "use_linear_projection": False,
}


def test_pixart_as_published() -> None:
    """PixArt-Sigma names the class that diffusers has since split; the fields of other models are unset."""
    assert kind_of("Transformer2DModel", "transformer") == kind_of("PixArtTransformer2DModel", "transformer")
    newer = {"caption_channels": 4096, "use_additional_conditions": False}
    assert shaping("pixart", PIXART_SIGMA) == shaping("pixart", newer)


def test_other_models_of_that_class() -> None:
    """DiT has another kind of norm, so another key; a field that PixArt does not have is refused."""
    assert shaping("pixart", PIXART_SIGMA | {"norm_type": "ada_norm_zero"}) != shaping("pixart", PIXART_SIGMA)
    with pytest.raises(ModelFileError, match="num_vector_embeds is not known for graphs of kind pixart; got 8"):
        shaping("pixart", PIXART_SIGMA | {"num_vector_embeds": 8})
