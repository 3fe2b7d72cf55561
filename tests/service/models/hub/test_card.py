"""Licence, gating and kind of a repository."""

from __future__ import annotations

from typing import Any

import pytest

from tintype.service.models.hub.card import Card

PAGE = "https://hub/o/n"


@pytest.mark.parametrize(
    ("info", "line"),
    [
        ({"cardData": {"license": "openrail++"}, "gated": False}, "licence openrail++; not gated"),
        ({"tags": ["diffusers", "license:mit"]}, "licence mit; not gated"),
        (
            {"cardData": {"license": "other", "license_name": "sai-nc"}, "gated": "auto"},
            f"licence sai-nc; gated: its terms must be accepted at {PAGE}",
        ),
        ({"cardData": {"license": ["mit", "apache-2.0"]}}, "licence mit, apache-2.0; not gated"),
        ({"cardData": None}, f"no licence stated at {PAGE}; not gated"),
        ({"cardData": {"license": "a\x1b[31m" + "b" * 500}}, "licence a[31m" + "b" * 94 + "; not gated"),
    ],
)
def test_the_hubs_answer(info: dict[str, Any], line: str) -> None:
    """Licence and gating are one line, without control characters."""
    assert Card.from_info(info).describe(PAGE) == line


def test_adapters() -> None:
    """A repository with an adapter's tag is an adapter."""
    assert Card.from_info({"tags": ["lora", "diffusers"]}).adapter == "lora"
    assert Card.from_info({"tags": ["diffusers"]}).adapter == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("---\nlicense: 'mit'\ntags:\n- a\n---\n# x", "licence mit"),
        ("---\nlicense: other\nlicense_name: sai-nc\n---\n", "licence sai-nc"),
        ("# x\nlicense: mit", f"no licence stated at {PAGE}"),
        ("---\nlicense: mit", f"no licence stated at {PAGE}"),
        ("---\n  license: mit\n---\nlicense: mit", f"no licence stated at {PAGE}"),
        ("", f"no licence stated at {PAGE}"),
    ],
)
def test_a_cached_readme(text: str, line: str) -> None:
    """The front matter of a README has the licence; whether the repository is gated is unknown."""
    assert Card.from_readme(text).describe(PAGE) == line
