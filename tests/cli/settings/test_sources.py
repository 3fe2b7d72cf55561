"""Precedence of flags, variables, file and defaults; an error names the setting, the value, and what is expected."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tintype.cli.errors import UserError
from tintype.cli.settings.definitions import SECTIONS, default_data, settings_of
from tintype.cli.settings.file import read_file
from tintype.cli.settings.sources import Sources, unknown_variables
from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig


def sources(tmp_path: Path, text: str = "", **others: Any) -> Sources:
    path = tmp_path / "tintype.toml"
    path.write_text(text)
    return Sources(file=read_file(path), **others)


def test_precedence_of_sources(tmp_path: Path) -> None:
    """Each source takes precedence over the next one."""
    text = "memory = '1GiB'\n[service]\nthreads = 3\n"
    flags, environ = {"memory": "3GiB"}, {"TINTYPE_MEMORY": "2GiB"}
    assert sources(tmp_path, text, flags=flags, environ=environ).config(ServiceConfig).memory == 3 * 2**30
    assert sources(tmp_path, text, environ=environ).config(ServiceConfig).memory == 2 * 2**30
    assert sources(tmp_path, text).config(ServiceConfig).memory == 2**30
    assert sources(tmp_path).config(ServiceConfig).memory == 0
    assert sources(tmp_path, text).config(ServiceConfig).threads == 3


def test_section_precedes_shared(tmp_path: Path) -> None:
    """A section takes precedence over the shared settings at the top."""
    found = sources(tmp_path, "grpc = '127.0.0.1:1'\n[gateway]\ngrpc = 'gpu-box:2'\n")
    assert found.config(ServiceConfig).grpc == "127.0.0.1:1"
    assert found.config(GatewayConfig).grpc == "gpu-box:2"


def test_flags_and_variables_are_read_alike() -> None:
    """Flags and variables of each setting are read alike."""
    texts = {"str": "x:1", "int": "7", "float": "1.5", "bool": "false", "Path": "a", "Path | None": "a"}
    texts |= {"tuple[str, ...]": "a,b", "tuple[Path, ...]": "a", "dict[str, str]": "a=b"}
    for config in SECTIONS.values():
        types = {name: item.type for name, item in config.__dataclass_fields__.items()}
        for name, setting in settings_of(config).items():
            text = texts[str(types[name])] if setting.default is not False else "true"
            by_flag = Sources(flags={name: text}).values(config, [name])[name]
            by_variable = Sources(environ={setting.env: text}).values(config, [name])[name]
            assert by_flag == by_variable != setting.default


def test_empty_variables_are_unset() -> None:
    """An empty variable, as compose files and shells set it, counts as unset."""
    assert Sources(environ={"TINTYPE_MEMORY": ""}).config(ServiceConfig).memory == 0


def test_lists_from_flags_text_and_toml(tmp_path: Path) -> None:
    """Folders and names are given as repeated flags, as one text, or as a TOML list."""
    folders = (Path("/a"), Path("/b"))
    assert Sources(flags={"models": ["/a", "/b"]}).config(ServiceConfig).models == folders
    assert Sources(environ={"TINTYPE_MODELS": "/a:/b"}).config(ServiceConfig).models == folders
    assert sources(tmp_path, "models = ['/a', '/b']").config(ServiceConfig).models == folders
    assert Sources(environ={"TINTYPE_PROVIDERS": "cuda, cpu"}).config(ServiceConfig).providers == ("cuda", "cpu")
    assert Sources(flags={"providers": ["cuda,cpu"]}).config(ServiceConfig).providers == ("cuda", "cpu")


def test_aliases_from_tables_and_pairs(tmp_path: Path) -> None:
    """Aliases are a table in the file and NAME=NAME pairs elsewhere."""
    expected = {"dall-e-3": "sdxl", "*": "tiny"}
    found = sources(tmp_path, "[gateway.aliases]\n'dall-e-3' = 'sdxl'\n'*' = 'tiny'\n")
    assert found.config(GatewayConfig).aliases == expected
    environ = {"TINTYPE_ALIASES": "dall-e-3=sdxl, *=tiny"}
    assert Sources(environ=environ).config(GatewayConfig).aliases == expected


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    """Relative paths in the file start at its folder, not at the current one; `~` is the home directory."""
    found = sources(tmp_path, "models = ['sdxl', '~/flux']\ndata = '/abs'\n[service]\ntls_cert = 'cert.pem'")
    config = found.config(ServiceConfig)
    assert config.models == (tmp_path / "sdxl", Path.home() / "flux")
    assert config.tls_cert == tmp_path / "cert.pem"
    assert found.config(GatewayConfig).data == Path("/abs")


def test_default_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --data, results go to the user's data folder."""
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert default_data() == Path("/xdg/tintype")
    assert Sources().config(GatewayConfig).data == Path("/xdg/tintype")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_data() == Path.home() / ".local" / "share" / "tintype"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows users have no numeric id")
def test_user_without_home_must_name_a_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home directory, as in containers, must name a folder with --data, and needs nothing more."""
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(UserError, match=r"this user has no home directory .*: name a folder with --data"):
        Sources().config(GatewayConfig)
    assert Sources(flags={"data": "/x"}).config(GatewayConfig).data == Path("/x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory = 'lots'", "memory must be a size, for example 6GiB or 500MB; got 'lots'"),
        ("memory = true", "memory must be a size, for example 6GiB or 500MB; got True"),
        ("models = 3", "models must be paths"),
        ("models = ['a', 3]", "models must be paths"),
        (
            "grpc = '50051'",
            "grpc must be HOST:PORT with a port of at most 65535, for example 127.0.0.1:9000; got '50051'",
        ),
        ("[service]\nthreads = '4'", "[service] threads must be an integer; got '4'"),
        ("[service]\nthreads = true", "[service] threads must be an integer; got True"),
        ("[service]\ngrace = 'long'", "[service] grace must be a number; got 'long'"),
    ],
)
def test_wrong_value_names_file_and_setting(tmp_path: Path, text: str, expected: str) -> None:
    """The error names the file, the setting, the value, and what is expected."""
    with pytest.raises(UserError) as caught:
        sources(tmp_path, text).config(ServiceConfig)
    assert expected in str(caught.value)
    assert "tintype.toml: " in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TINTYPE_THREADS": "four"}, "TINTYPE_THREADS must be an integer; got 'four'"),
        ({"TINTYPE_GRPC": "host"}, "TINTYPE_GRPC must be HOST:PORT"),
        ({"TINTYPE_GRACE": "nan"}, "TINTYPE_GRACE must be a number"),
    ],
)
def test_wrong_value_names_the_variable(environ: dict[str, str], expected: str) -> None:
    """The error names the variable."""
    with pytest.raises(UserError) as caught:
        Sources(environ=environ).config(ServiceConfig)
    assert expected in str(caught.value)


def test_wrong_pair_or_switch_names_the_variable() -> None:
    """The error names a variable of pairs or of a switch as well."""
    with pytest.raises(UserError, match="TINTYPE_ALIASES must be NAME=NAME pairs"):
        Sources(environ={"TINTYPE_ALIASES": "dall-e-3"}).config(GatewayConfig)
    with pytest.raises(UserError, match="TINTYPE_STRICT_MODELS must be true or false; got 'maybe'"):
        Sources(environ={"TINTYPE_STRICT_MODELS": "maybe"}).config(GatewayConfig)


def test_misspelled_variable_is_reported() -> None:
    """A misspelled variable is reported; those that Kubernetes sets for a Service named tintype are not."""
    assert unknown_variables({"TINTYPE_MODEL": "x"}) == ["unknown variable TINTYPE_MODEL; did you mean TINTYPE_MODELS?"]
    kubernetes = {"TINTYPE_PORT": "tcp://10.0.0.1:50051", "TINTYPE_SERVICE_HOST": "10.0.0.1"}
    assert unknown_variables(kubernetes | {"TINTYPE_MODELS": "x", "TINTYPE_CONFIG": "y", "PATH": "z"}) == []


def test_models_on_the_hub_become_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model on the hub becomes the path of its download; of a VAE and of text encoders only these are needed."""
    wanted: list[tuple[str, str]] = []

    def resolve(text: str, *, part: str = "", safety: bool = False, quiet: bool = False) -> Path:
        wanted.append((text, part))
        assert (quiet, safety) == (False, False)
        return tmp_path / text.replace("/", "-")

    monkeypatch.setattr("tintype.cli.pull.resolve_model", resolve)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "local").mkdir()
    found = sources(tmp_path, "models = ['o/n@v1', 'a/local', 'b/c/d.safetensors']\n[service]\nvae = 'o/vae'\n")
    config = found.config(ServiceConfig)
    assert config.models == (tmp_path / "o-n@v1", tmp_path / "a" / "local", tmp_path / "b-c-d.safetensors")
    assert config.vae == tmp_path / "o-vae"
    assert sorted(wanted) == [("b/c/d.safetensors", ""), ("o/n@v1", ""), ("o/vae", "vae")]


@pytest.mark.parametrize("setting", ["safety_checks = true", "safety_checker = 'nsfw'"])
def test_models_come_with_their_safety_checkers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """If images are checked, models on the hub are downloaded with what checks them."""
    wanted: list[bool] = []

    def resolve(*_: object, safety: bool, **__: object) -> Path:
        wanted.append(safety)
        return tmp_path

    monkeypatch.setattr("tintype.cli.pull.resolve_model", resolve)
    (tmp_path / "nsfw").mkdir()
    monkeypatch.chdir(tmp_path)
    sources(tmp_path, f"models = ['o/n']\n[service]\n{setting}\n").config(ServiceConfig)
    assert wanted == [True]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("sd-turbo", r"there is no folder or file .*sd-turbo; did you mean stabilityai/sd-turbo\?$"),
        ("owner/name/model.ckpt", r"\.ckpt files are pickles, which are not read; name the \.safetensors file of the"),
        ("", r"^--model: a model must not be empty"),
    ],
)
def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, expected: str) -> None:
    """The message names what was probably meant; a path that exists, or another setting, is used as it is."""
    monkeypatch.chdir(tmp_path)
    found = Sources(flags={"models": [model], "data": "sd-turbo"})
    with pytest.raises(UserError, match=expected):
        found.config(ServiceConfig)
    assert found.config(ServiceConfig, models=()).data == Path("sd-turbo")
    (tmp_path / "sd-turbo").mkdir()
    assert Sources(flags={"models": ["sd-turbo"]}).config(ServiceConfig).models == (Path("sd-turbo"),)


def test_nothing_is_resolved_for_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that name no model download nothing, whatever the sources hold."""
    monkeypatch.setattr("tintype.cli.pull.resolve_model", lambda *_, **__: pytest.fail("resolved"))
    found = Sources(flags={"models": ["o/n"], "data": "/d"})
    assert found.partial(ServiceConfig, "memory").memory == 0
    assert str(found.find_all(ServiceConfig)["models"].value[0]) == "o/n"  # type: ignore[index]
    assert found.config(ServiceConfig, models=()).models == ()
