"""The catalogue reads a model again when its files have changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.models.small_template import SmallTemplate, write_weights
from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.loading_options import LoadingOptions
from tintype.service.models.residency.catalogue import Catalogue
from tintype.service.models.templates.filling import fill_template

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("change", ["overwritten", "replaced", "removed"])
@pytest.mark.parametrize("stage", ["first", "second"])
def test_changed_weights_are_read_again(tmp_path: Path, change: str, stage: str) -> None:
    """Otherwise a model whose file was replaced could not be loaded until the server starts again."""
    catalogue = Catalogue()
    slot = catalogue.slot("")
    original = slot.require_manifest()
    weights = write_weights(tmp_path / "m.safetensors")
    source = fill_template(SmallTemplate(), "unet", weights, LoadingOptions(cache=tmp_path / "cache"), adapters=False)
    changing = replace(original, graphs={**original.graphs, "unet": source})
    slot.manifest = replace(original, second=changing) if stage == "second" else changing
    assert catalogue.refreshed(slot) is slot.manifest
    (path,) = weights.files
    path.rename(path.with_name("old"))
    if change == "overwritten":
        path.with_name("old").rename(path)
        path.write_bytes(path.read_bytes() + b"x")
    elif change == "replaced":
        write_weights(path)
    manifest = catalogue.refreshed(slot)
    assert manifest is slot.manifest
    assert all(isinstance(graph, OnnxFile) for graph in manifest.sources)
