"""Facts of families that follow from their rows."""

from __future__ import annotations

from tintype.service.models.families.table import FAMILIES


def test_layers_of_clip() -> None:
    """The last layer of CLIP is read by SD 1.x and 2.x, the last but one by SDXL and SD3; FLUX.1 reads no layers."""
    layers = {name: family.clip_layer for name, family in FAMILIES.items() if family.clip_layer}
    assert layers == {"sd": 1, "lcm": 1, "sdxl": 2, "sdxl_refiner": 2, "sd3": 2}
