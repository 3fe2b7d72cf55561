"""The variables of the hub's own tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from tintype.service.models.hub import HubError, HubSettings
from tintype.service.models.hub.errors import CacheFailure

read = HubSettings.from_environment


def test_defaults(tmp_path: Path) -> None:
    """Without variables: the public hub, no token, and the cache in the home directory."""
    settings = read({"XDG_CACHE_HOME": str(tmp_path)})
    assert settings == HubSettings(cache=tmp_path / "huggingface" / "hub", endpoint="https://huggingface.co")
    assert read({"HF_TOKEN_PATH": "/nonexistent"}).cache == Path.home() / ".cache" / "huggingface" / "hub"


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_CACHE precedes HF_HOME, which precedes XDG_CACHE_HOME; variables and ~ in them are expanded."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DISK", "/disk")
    assert read({"HF_HOME": "$DISK/hf"}).cache == Path("/disk/hf/hub")
    assert read({"HF_HOME": "/a", "HF_HUB_CACHE": "~/b"}).cache == tmp_path / "b"
    assert read({"HF_HOME": "/a", "HUGGINGFACE_HUB_CACHE": "/c"}).cache == Path("/c")


def test_the_token(tmp_path: Path) -> None:
    """The token is HF_TOKEN, otherwise in the file at HF_TOKEN_PATH or in HF_HOME; its source is known."""
    (tmp_path / "token").write_text("from-home\n")
    (tmp_path / "other").write_text(" from-path ")
    home = {"HF_HOME": str(tmp_path)}
    assert (read(home).token, read(home).token_source) == ("from-home", str(tmp_path / "token"))
    assert read(home | {"HF_TOKEN_PATH": str(tmp_path / "other")}).token == "from-path"  # noqa: S105
    named = read(home | {"HF_TOKEN": "\nhf_x "})
    assert (named.token, named.token_source) == ("hf_x", "HF_TOKEN")
    assert read(home | {"HF_TOKEN": "hf_x", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}).token == ""


def test_invalid_tokens(tmp_path: Path) -> None:
    """A token that a header cannot hold is an error that does not show it."""
    with pytest.raises(HubError, match=r"^the token from HF_TOKEN must be one word of ASCII characters$"):
        read({"HF_TOKEN": "secret\nx: y"})
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(HubError, match=r"cannot read the token in .*token"):
        read({"HF_HOME": str(tmp_path)})


@pytest.mark.parametrize("text", ["1", "on", "YES", "True"])
def test_offline(text: str, tmp_path: Path) -> None:
    """HF_HUB_OFFLINE is true as for the hub's own tools."""
    assert read({"HF_HUB_OFFLINE": text, "HF_HOME": str(tmp_path)}).offline
    assert not read({"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}).offline


@pytest.mark.parametrize(
    "text", ["file:///etc", "hub.example", "https://", "https://u:p@h", "http://h:99999", "http://[x"]
)
def test_invalid_endpoints(text: str, tmp_path: Path) -> None:
    """An endpoint that is not a web address is an error."""
    with pytest.raises(HubError, match=r"^HF_ENDPOINT must be an http or https address; got"):
        read({"HF_ENDPOINT": text, "HF_HOME": str(tmp_path)})


def test_the_hubs_own_host() -> None:
    """Only scheme, host and port of the endpoint are the hub."""
    settings = HubSettings(cache=Path(), endpoint="https://Hub.example/mirror")
    assert settings.is_hub("https://hub.example/x")
    for other in (
        "http://hub.example/",
        "https://hub.example:8443/",
        "https://cdn.hub.example/",
        "https://hub.example@x/",
    ):
        assert not settings.is_hub(other)


def test_a_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home directory the message names the variable that helps."""

    def no_home(_: Path) -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(CacheFailure, match=r"no home directory for the cache: set HF_HUB_CACHE"):
        read({})
