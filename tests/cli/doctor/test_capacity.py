"""Which graphics cards a model fits follows from the bytes of its components."""

from __future__ import annotations

import pytest

from tintype.cli.doctor.capacity import ACTIVATIONS, GIB, card_finding, fitting, smallest, template_bytes
from tintype.service.models.loading_options import Precision
from tintype.service.models.templates.catalogue import installed

TEMPLATES = {template.name: template for template in installed()}


def test_components_fit_whole_or_in_turns() -> None:
    """Beside the reserve for intermediate results; the largest component decides whether turns help."""
    free = 8 * GIB - ACTIVATIONS
    assert fitting([free - 1, 1], 8) == "whole"
    assert fitting([free, 1], 8) == "in turns"
    assert fitting([free + 1], 8) == ""
    assert smallest([5 * GIB, 4 * GIB]) == {"whole": 12, "in turns": 8}
    assert smallest([500 * GIB]) == {"whole": 0, "in turns": 0}


def test_the_smallest_cards_are_named() -> None:
    """With the largest component, which decides in turns."""
    found = card_finding({"unet": 5 * GIB, "text_encoder": 4 * GIB})
    assert found.text == "12 GiB whole or 8 GiB in turns; the largest component is unet, 5 GiB"
    assert card_finding({"unet": GIB}).text == "4 GiB whole; the largest component is unet, 1 GiB"
    assert card_finding({"unet": 500 * GIB}).text.startswith("more than 80 GiB")


@pytest.mark.parametrize(("precision", "ratio"), [(Precision.FP16, 1.0), (Precision.INT8, 0.55), (Precision.INT4, 0.3)])
def test_a_templates_bytes_follow_from_its_weights(precision: Precision, ratio: float) -> None:
    """Half precision has two bytes for each of FLUX.2 klein's weights; int8 and int4 quantize almost all of them."""
    template = TEMPLATES["flux2-klein-4b"]
    found = template_bytes(template, precision) / (2 * template.parameters)
    assert found == pytest.approx(ratio, abs=0.03)
