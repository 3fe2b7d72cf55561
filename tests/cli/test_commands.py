"""The flags of the commands."""

from __future__ import annotations

import pytest

from tintype.cli.commands import build_parser


@pytest.mark.parametrize("flag", ["--first-image", "--first-picture"])
def test_former_flag_still_works(flag: str) -> None:
    """`--first-picture`, the former name of `--first-image`, still works."""
    assert build_parser().parse_args(["up", flag, "a lake"]).first_image == "a lake"
    assert build_parser().parse_args(["up", f"{flag}=a lake"]).first_image == "a lake"


def test_former_names_are_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` shows only the current names."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["up", "--help"])
    help_ = capsys.readouterr().out
    assert "--first-image PROMPT" in help_
    assert "picture" not in help_
