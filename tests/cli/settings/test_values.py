"""Sizes, addresses and models as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tintype.cli.settings.values import (
    EmptyModel,
    HubModel,
    WebAddress,
    format_size,
    parse_address,
    parse_model,
    parse_size,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1048576", 2**20), ("6GiB", 6 * 2**30), ("6 gib", 6 * 2**30), ("500MB", 500_000_000), ("1.5k", 1500)],
)
def test_parses_sizes(text: str, size: int) -> None:
    """A size has a decimal or binary unit, or none."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "6 apples", "6i", "1e3", "9" * 400, "9" * 400 + "GiB"])
def test_rejects_invalid_sizes(text: str) -> None:
    """Other texts raise ValueError."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_size(text)


def test_formats_sizes_in_the_largest_unit() -> None:
    """A size is shown in the largest unit that fits."""
    assert [format_size(n) for n in (0, 512, 2**20, 6 * 2**30)] == ["0 B", "512 B", "1 MiB", "6 GiB"]


@pytest.mark.parametrize("text", ["127.0.0.1:50051", "[::1]:8080", "gpu-box:0", "0.0.0.0:65535"])
def test_parses_addresses(text: str) -> None:
    """An address is HOST:PORT."""
    assert parse_address(text) == text


@pytest.mark.parametrize("text", ["50051", ":50051", "a:b", "a:65536", "::1:80", "http://a:80", ""])
def test_rejects_invalid_addresses(text: str) -> None:
    """Other texts raise ValueError."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_address(text)


@pytest.mark.parametrize("page", ["", "/", "/tree/main", "/blob/main/x.safetensors"])
def test_an_address_of_a_model_is_refused(page: str) -> None:
    """The message has the text to write instead; a path made of an address would name nothing."""
    with pytest.raises(WebAddress, match=r"not as an address; for 'https://.*' write 'stabilityai/sd-turbo'$"):
        parse_model(f"https://huggingface.co/stabilityai/sd-turbo{page}")
    with pytest.raises(WebAddress, match=r"not as an address; got 'file:///x\.safetensors'$"):
        parse_model("file:///x.safetensors")


def test_an_empty_model_is_refused() -> None:
    """An empty text is not the current folder."""
    with pytest.raises(EmptyModel, match=r"^a model must not be empty; "):
        parse_model("")


def test_a_hub_id_that_may_be_a_path_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link without a target, and what lies in a folder without rights, are not asked of the hub."""
    model = HubModel("owner/name")
    assert model.or_path(tmp_path) == model
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner/name").symlink_to("name")
    assert model.or_path(tmp_path) == tmp_path / "owner/name"

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr("pathlib.Path.lstat", refuse)
    assert model.or_path(tmp_path / "closed") == tmp_path / "closed/owner/name"
