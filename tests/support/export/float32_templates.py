"""Templates for tests that run on a CPU, made in half the time: float32 only, traced once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tintype.export.templates import kinds, making

if TYPE_CHECKING:
    from tintype.export.templates.making import GraphConfig, MadeTemplate


def make(config: GraphConfig) -> MadeTemplate:
    """Make the float32 variants of a template."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kinds.KINDS, config.kind, replace(kinds.KINDS[config.kind], halves=False))
        return making.make(config, making.NUMBERS[:1])
