"""Flags first, then variables, then the file, then defaults; what is wrong is named with what would be right."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tintype.cli.errors import UserError
from tintype.cli.settings.definitions import SECTIONS, default_data, settings_of
from tintype.cli.settings.file import read_file
from tintype.cli.settings.sources import Sources, stray_variables
from tintype.cli.settings.values import format_size, parse_address, parse_size


def sources(tmp_path: Path, text: str = "", **said: Any) -> Sources:
    path = tmp_path / "tintype.toml"
    path.write_text(text)
    return Sources(file=read_file(path), **said)


def test_precedence(tmp_path: Path) -> None:
    """Each source is hidden by the one before it."""
    text = "memory = '1GiB'\n[service]\nthreads = 3\n"
    flags, environ = {"memory": "3GiB"}, {"TINTYPE_MEMORY": "2GiB"}
    assert sources(tmp_path, text, flags=flags, environ=environ).config("service").memory == 3 * 2**30
    assert sources(tmp_path, text, environ=environ).config("service").memory == 2 * 2**30
    assert sources(tmp_path, text).config("service").memory == 2**30
    assert sources(tmp_path).config("service").memory == 0
    assert sources(tmp_path, text).config("service").threads == 3


def test_section_goes_before_shared(tmp_path: Path) -> None:
    """What both need may stand on top; a section may differ."""
    found = sources(tmp_path, "grpc = '127.0.0.1:1'\n[gateway]\ngrpc = 'gpu-box:2'\n")
    assert found.config("service").grpc == "127.0.0.1:1"
    assert found.config("gateway").grpc == "gpu-box:2"


def test_every_setting_from_every_source() -> None:
    """Each setting can be said by flag, variable and file, and all three are read alike."""
    texts = {"str": "x:1", "int": "7", "float": "1.5", "bool": "false", "Path": "a", "Path | None": "a"}
    texts |= {"tuple[str, ...]": "a,b", "tuple[Path, ...]": "a", "dict[str, str]": "a=b"}
    for section, config in SECTIONS.items():
        types = {name: item.type for name, item in config.__dataclass_fields__.items()}
        for name, setting in settings_of(config).items():
            text = texts[types[name]] if setting.default is not False else "true"
            by_flag = Sources(flags={name: text}).value(section, name)
            by_variable = Sources(environ={setting.env: text}).value(section, name)
            assert by_flag == by_variable != setting.default


def test_empty_variables_say_nothing() -> None:
    """A variable that compose or a shell sets to nothing is as if it were not there."""
    assert Sources(environ={"TINTYPE_MEMORY": ""}).config("service").memory == 0


def test_lists(tmp_path: Path) -> None:
    """Folders and names come as repeated flags, as one text, or as TOML lists."""
    folders = (Path("/a"), Path("/b"))
    assert Sources(flags={"models": ["/a", "/b"]}).config("service").models == folders
    assert Sources(environ={"TINTYPE_MODELS": "/a:/b"}).config("service").models == folders
    assert sources(tmp_path, "models = ['/a', '/b']").config("service").models == folders
    assert Sources(environ={"TINTYPE_PROVIDERS": "cuda, cpu"}).config("service").providers == ("cuda", "cpu")
    assert Sources(flags={"providers": ["cuda,cpu"]}).config("service").providers == ("cuda", "cpu")


def test_tables(tmp_path: Path) -> None:
    """Aliases are a table in the file and pairs elsewhere."""
    expected = {"dall-e-3": "sdxl", "*": "tiny"}
    found = sources(tmp_path, "[gateway.aliases]\n'dall-e-3' = 'sdxl'\n'*' = 'tiny'\n")
    assert found.config("gateway").aliases == expected
    environ = {"TINTYPE_ALIASES": "dall-e-3=sdxl, *=tiny"}
    assert Sources(environ=environ).config("gateway").aliases == expected


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    """Relative paths of the file mean the same wherever the command is started; `~` is the home."""
    found = sources(tmp_path, "models = ['sdxl', '~/flux']\ndata = '/abs'\n[service]\ntls_cert = 'cert.pem'")
    config = found.config("service")
    assert config.models == (tmp_path / "sdxl", Path.home() / "flux")
    assert config.tls_cert == tmp_path / "cert.pem"
    assert found.config("gateway").data == Path("/abs")


def test_data_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results go to the user's data folder."""
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert default_data() == Path("/xdg/tintype")
    assert Sources().config("gateway").data == Path("/xdg/tintype")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_data() == Path.home() / ".local" / "share" / "tintype"


@pytest.mark.skipif(sys.platform == "win32", reason="users have no numbers there")
def test_data_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that has no home, as containers have them, is asked for a folder, and needs none besides."""
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(UserError, match="this user has no home for results and keys: name a folder with --data"):
        Sources().config("gateway")
    assert Sources(flags={"data": "/x"}).config("gateway").data == Path("/x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memroy = '1GiB'", "has no setting 'memroy'; did you mean 'memory'?"),
        ("[service]\nthread = 2", "[service] has no setting 'thread'; did you mean 'threads'?"),
        ("threads = 2", "has no setting 'threads'; it belongs below [service]"),
        ("[service]\nmax_body = 2", "has no setting 'max_body'; it belongs below [gateway]"),
        ("[servce]\nthreads = 2", "did you mean 'service'?"),
        ("service = 2", "write [service] and its settings below"),
        ("xyz = 1", "there are: "),
        ("memory =", "is no TOML"),
    ],
)
def test_unknown_names(tmp_path: Path, text: str, said: str) -> None:
    """A name that nothing has is an error that guesses what was meant."""
    with pytest.raises(UserError) as caught:
        sources(tmp_path, text)
    assert said in str(caught.value)
    assert "tintype.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory = 'lots'", "memory wants a size, such as 6GiB or 500MB, not 'lots'"),
        ("memory = true", "memory wants a size, such as 6GiB or 500MB, not True"),
        ("models = 3", "models wants paths"),
        ("models = ['a', 3]", "models wants paths"),
        ("grpc = '50051'", "grpc wants HOST:PORT with a port of at most 65535, such as 127.0.0.1:9000, not '50051'"),
        ("[service]\nthreads = '4'", "[service] threads wants a whole number, not '4'"),
        ("[service]\nthreads = true", "[service] threads wants a whole number, not True"),
        ("[service]\ngrace = 'long'", "[service] grace wants a number, not 'long'"),
    ],
)
def test_wrong_values_in_the_file(tmp_path: Path, text: str, said: str) -> None:
    """A value of the wrong type names file, setting, value, and what would be right."""
    with pytest.raises(UserError) as caught:
        sources(tmp_path, text).config("service")
    assert said in str(caught.value)
    assert "tintype.toml: " in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TINTYPE_THREADS": "four"}, "TINTYPE_THREADS wants a whole number, not 'four'"),
        ({"TINTYPE_GRPC": "host"}, "TINTYPE_GRPC wants HOST:PORT"),
        ({"TINTYPE_GRACE": "nan"}, "TINTYPE_GRACE wants a number"),
    ],
)
def test_wrong_variables(environ: dict[str, str], said: str) -> None:
    """A wrong variable is named."""
    with pytest.raises(UserError) as caught:
        Sources(environ=environ).config("service")
    assert said in str(caught.value)


def test_wrong_pairs_and_truths() -> None:
    """So are values of the gateway's kinds."""
    with pytest.raises(UserError, match="TINTYPE_ALIASES wants NAME=NAME pairs"):
        Sources(environ={"TINTYPE_ALIASES": "dall-e-3"}).config("gateway")
    with pytest.raises(UserError, match="TINTYPE_STRICT_MODELS wants true or false, not 'maybe'"):
        Sources(environ={"TINTYPE_STRICT_MODELS": "maybe"}).config("gateway")


def test_missing_file() -> None:
    """A file that was named must be there."""
    with pytest.raises(UserError, match=r"can't read the settings in /nowhere/t\.toml: No such file"):
        Sources.gather({"config": "/nowhere/t.toml"})


def test_file_beside_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """./tintype.toml is read where there is one; --config and TINTYPE_CONFIG name another."""
    monkeypatch.chdir(tmp_path)
    assert Sources.gather({}).config("service").threads == 0
    (tmp_path / "tintype.toml").write_text("[service]\nthreads = 1")
    (tmp_path / "other.toml").write_text("[service]\nthreads = 2")
    assert Sources.gather({}).config("service").threads == 1
    monkeypatch.setenv("TINTYPE_CONFIG", "other.toml")
    assert Sources.gather({}).config("service").threads == 2
    assert Sources.gather({"config": "tintype.toml"}).config("service").threads == 1


def test_stray_variables() -> None:
    """A misspelt variable is noticed; what Kubernetes sets for a Service named tintype is not ours."""
    assert stray_variables({"TINTYPE_MODEL": "x"}) == ["TINTYPE_MODEL is not read; did you mean TINTYPE_MODELS?"]
    kubernetes = {"TINTYPE_PORT": "tcp://10.0.0.1:50051", "TINTYPE_SERVICE_HOST": "10.0.0.1"}
    assert stray_variables(kubernetes | {"TINTYPE_MODELS": "x", "TINTYPE_CONFIG": "y", "PATH": "z"}) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1048576", 2**20), ("6GiB", 6 * 2**30), ("6 gib", 6 * 2**30), ("500MB", 500_000_000), ("1.5k", 1500)],
)
def test_sizes(text: str, size: int) -> None:
    """Sizes bear decimal or binary units."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "6 apples", "6i", "1e3", "9" * 400, "9" * 400 + "GiB"])
def test_no_sizes(text: str) -> None:
    """What is no size is refused."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_size(text)


def test_sizes_are_shown() -> None:
    """Sizes are written for people."""
    assert [format_size(n) for n in (0, 512, 2**20, 6 * 2**30)] == ["0 B", "512 B", "1 MiB", "6 GiB"]


@pytest.mark.parametrize("text", ["127.0.0.1:50051", "[::1]:8080", "gpu-box:0", "0.0.0.0:65535"])
def test_addresses(text: str) -> None:
    """HOST:PORT."""
    assert parse_address(text) == text


@pytest.mark.parametrize("text", ["50051", ":50051", "a:b", "a:65536", "::1:80", "http://a:80", ""])
def test_no_addresses(text: str) -> None:
    """What is no HOST:PORT is refused."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_address(text)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("api_key = 'x'", 0o644, "other users can read api_key"),
        ("[gateway]\nservice_key = 'x'", 0o604, "other users can read service_key"),
        ("api_key = 'x'", 0o640, ""),
        ("memory = '1GiB'", 0o644, ""),
    ],
)
def test_keys_in_a_readable_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, mode: int, said: str
) -> None:
    """A settings file with a key that other users can read is used, and a line says how to close it."""
    path = tmp_path / "tintype.toml"
    path.write_text(text)
    path.chmod(mode)
    read_file(path)
    err = capsys.readouterr().err
    assert err == (f"tintype: {said} in {path}: run `chmod 600 {path}`\n" if said else "")
