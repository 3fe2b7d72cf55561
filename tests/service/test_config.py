"""The settings of the service, and the options that follow from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tintype.service.assembly import loading_options
from tintype.service.config import PRECISIONS, ServiceConfig
from tintype.service.models.loading_options import Precision


def test_precisions_are_those_of_loading() -> None:
    """The setting's values are the enum's, in its order; others are refused."""
    assert tuple(Precision) == PRECISIONS
    with pytest.raises(ValueError, match=r"--precision must be one of auto, fp16, .*; got 'int9'"):
        ServiceConfig(precision="int9")


def test_settings_become_loading_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting for published weights reaches the options."""
    config = ServiceConfig(
        data=Path("/d"),
        precision="int8",
        mapped=True,
        exact=True,
        text_encoders=Path("/t"),
        vae=Path("/v"),
        templates=Path("/x"),
        weights_cache=Path("/w"),
        additions=Path("/a"),
    )
    options = loading_options(config)
    assert (options.precision, options.mapped, options.exact) == (Precision.INT8, True, True)
    assert (options.text_encoders, options.vae, options.templates) == (Path("/t"), Path("/v"), Path("/x"))
    assert (options.cache, options.additions) == (Path("/w"), Path("/a"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    plain = loading_options(ServiceConfig(data=Path("/d")))
    assert (plain.cache, plain.additions) == (Path("/c/tintype/weights"), Path("/d/models"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert loading_options(ServiceConfig()).cache == Path("/h/.cache/tintype/weights")
