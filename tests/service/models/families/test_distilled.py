"""Models that are distilled to few steps are recognized by their configurations, and have defaults of their own."""

from __future__ import annotations

from typing import Any

import pytest

from tintype.service.models.families.distilled import ModelFacts
from tintype.service.models.families.table import FAMILIES

TRAILING = {"timestep_spacing": "trailing"}
SHIFTING = {"use_dynamic_shifting": True}
# Family, what its files say -> steps and guidance scale; None for those of the family.
CASES: list[tuple[str, dict[str, Any], tuple[int, float] | None]] = [
    ("sd", {"scheduler": TRAILING, "names": ("stabilityai/sd-turbo",)}, (1, 0)),
    ("sd", {"scheduler": TRAILING, "names": ("someone/turbocharged",)}, None),
    ("sdxl", {"scheduler": TRAILING, "names": ("stabilityai/sdxl-turbo",)}, (1, 0)),
    ("sdxl", {"names": ("stabilityai/sdxl-turbo",)}, None),
    ("flux", {"denoiser": {"guidance_embeds": False}}, (4, 0)),
    ("flux", {"denoiser": {"guidance_embeds": True}, "scheduler": SHIFTING}, None),
    ("flux2_klein", {"index": {"is_distilled": True}}, (4, 1)),
    ("flux2_klein", {"index": {"is_distilled": False}}, None),
    ("z_image", {"names": ("Tongyi-MAI/Z-Image-Turbo",), "scheduler": {"shift": 6.0}}, (9, 0)),
    ("z_image", {"names": ("mine",), "scheduler": {"shift": 3.0}}, (9, 0)),
    ("z_image", {"names": ("Tongyi-MAI/Z-Image",), "scheduler": {"shift": 6.0}}, None),
    ("ernie_image", {"names": ("baidu/ERNIE-Image-Turbo",)}, (8, 1)),
    ("ernie_image", {"names": ("baidu/ERNIE-Image",)}, None),
    ("krea2", {"index": {"is_distilled": True}}, (8, 0)),
    ("krea2", {}, None),
]


@pytest.mark.parametrize(("family", "given", "wanted"), CASES)
def test_distilled_models_have_defaults_of_their_own(
    family: str, given: dict[str, Any], wanted: tuple[int, float] | None
) -> None:
    """The steps and the scale that the publisher names; a similar word in a name changes nothing."""
    usual: dict[str, Any] = {"denoiser": {}, "scheduler": {}, "index": {}, "names": ()}
    found = FAMILIES[family].distilled_for(ModelFacts(**usual | given))
    assert (found and (found.steps, found.guidance_scale)) == wanted
