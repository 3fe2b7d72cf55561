"""Settings of the moderation service are checked when the gateway starts."""

from __future__ import annotations

from typing import Any

import pytest

from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError

URL = "http://127.0.0.1:9000/v1/moderations"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"moderation": "api.openai.com"}, "--moderation must begin with http:// or https://"),
        ({"moderation": "http:///v1"}, "--moderation must name a host"),
        ({"moderation": "ftp://me:pw@a.example"}, r"got 'ftp://\*\*\*@a\.example'$"),
        ({"moderation": URL, "moderation_timeout": 0}, "--moderation-timeout must be above 0; got 0"),
        ({"moderation": URL, "moderation_key": "k\n"}, "--moderation-key must be printable ASCII"),
        ({"moderate_images": True}, "--moderate-images requires --moderation"),
        ({"moderation_optional": True}, "--moderation-optional requires --moderation"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], problem: str) -> None:
    """A wrong value, or a setting that has no effect without the URL, keeps the gateway from starting."""
    with pytest.raises(StartError, match=problem):
        GatewayConfig(**settings)


def test_checks_are_off_by_default() -> None:
    """Without settings nothing is checked."""
    assert GatewayConfig().moderation == ""
