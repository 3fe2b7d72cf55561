"""The log of conversions: a start that takes long says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.models.small_template import SmallTemplate, write_weights
from tintype.service.models.loading_options import LoadingOptions, Precision
from tintype.service.models.templates import filled_template
from tintype.service.models.templates.filling import fill_template

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_large_conversions_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what takes time before a session is made: converting or quantizing, and how much."""
    caplog.set_level("INFO")
    monkeypatch.setattr(filled_template, "LOGGED_BYTES", 1)
    weights = write_weights(tmp_path / "w.safetensors", "F16")
    for precision in (Precision.AUTO, Precision.INT8):
        options = LoadingOptions(cache=tmp_path / "cache", precision=precision)
        with fill_template(SmallTemplate(), "unet", weights, options, adapters=False).open("cpu"):
            pass
    assert [line for line in caplog.messages if line.startswith("unet: ")] == [
        "unet: converting weights, 0.0 GB",
        "unet: quantizing weights, 0.0 GB",
    ]
