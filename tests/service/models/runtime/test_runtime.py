"""The log of loading: large components are named, so that a slow start is understood."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import runtime
from tintype.service.models.runtime.runtime import Runtime

if TYPE_CHECKING:
    import pytest


def test_loading_of_large_components_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large component gets a line with its size and file before it is loaded; a small one gets none."""
    caplog.set_level(logging.INFO)
    source = OnnxFile(BUILTIN / "vae_encoder" / "model.onnx")
    Runtime("cpu", 1).open(source)
    assert not [record for record in caplog.records if record.name.endswith("runtime.runtime")]
    monkeypatch.setattr(runtime, "LOGGED_BYTES", 1)
    Runtime("cpu", 1).open(source)
    assert "vae_encoder: loading 0.0 GB from vae_encoder/model.onnx" in caplog.messages
