"""Effective settings as TOML: each with its source, readable again, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import tintype
from tintype.cli import main
from tintype.cli.settings.definitions import SECTIONS
from tintype.cli.settings.file import read_file
from tintype.cli.settings.printing import find_problems, format_config
from tintype.cli.settings.sources import Sources
from tintype.cli.settings.values import HubModel
from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig


def read_again(text: str, tmp_path: Path) -> Sources:
    path = tmp_path / "again.toml"
    path.write_text(text, "utf-8")
    return Sources(file=read_file(path))


def test_printed_settings_are_read_again(tmp_path: Path) -> None:
    """The text is a valid settings file with the same values, whatever their types."""
    flags = {
        "models": ['/srv/a "b"\\c', "/srv/é"],
        "memory": "1234567",
        "arena": "6GiB",
        "providers": ["cpu"],
        "cuda_graphs": False,
        "aliases": 'dall-e-3=sd"xl',
        "grace": "1.5",
        "data": str(tmp_path),
        "vae": "/srv/taesd",
    }
    sources = Sources(flags=flags)
    again = read_again(format_config(sources, list(SECTIONS)), tmp_path)
    assert again.config(ServiceConfig) == sources.config(ServiceConfig)
    assert again.config(GatewayConfig) == sources.config(GatewayConfig)


def test_each_setting_names_its_source(tmp_path: Path) -> None:
    """A value's source is its flag, its variable, the line of the file, or the default."""
    path = tmp_path / "tintype.toml"
    path.write_text("# note\nmemory = '1GiB'\n\n[service]\nqueue = 3\n[gateway.aliases]\nx = 'y'\n")
    sources = Sources({"threads": "4"}, {"TINTYPE_ARENA": "1GiB"}, read_file(path))
    lines = format_config(sources, list(SECTIONS)).splitlines()

    def source(name: str) -> str:
        return next(line for line in lines if line.startswith(f"{name} ")).rpartition("  # ")[2]

    assert source("threads") == "--threads"
    assert source("arena") == "TINTYPE_ARENA"
    assert source("memory") == f"{path}:2"
    assert source("queue") == f"{path}:5"
    assert source("aliases") == f"{path}:6"
    assert source("max_batch") == "default"


def test_secrets_are_not_printed() -> None:
    """Of a key, and of a URL with a password, only that it is set, and where."""
    keys = {"TINTYPE_API_KEY": "sesame", "TINTYPE_SERVICE_KEY": "sesame", "TINTYPE_OTEL": "https://me:sesame@host"}
    sources = Sources(environ={**keys, "TINTYPE_DATA": "/d"})
    text = format_config(sources, ["gateway"])
    assert "sesame" not in text
    assert "# api_key is set" in text
    assert "# service_key is set" in text
    assert "# otel is set" in text


def test_hub_ids_are_printed_and_not_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OWNER/NAME is a model on the hub unless this path exists where the value's paths start."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    sources = Sources(flags={"models": ["stabilityai/sd-turbo@main", "models/mine"], "data": "/d"})
    assert 'models = ["stabilityai/sd-turbo@main", "models/mine"]' in format_config(sources, ["service"])
    expected = (HubModel("stabilityai/sd-turbo@main"), Path("models/mine"))
    assert sources.find_all(ServiceConfig)["models"].value == expected


def test_invalid_values_are_named(tmp_path: Path) -> None:
    """An invalid value does not hide the others; its problem is in the text."""
    sources = Sources({"threads": "four"}, {"TINTYPE_DATA": str(tmp_path)})
    expected = "--threads must be an integer; got 'four'"
    assert f"# {expected}\n" in format_config(sources, ["service"])
    assert find_problems(sources, ["service"]) == [expected]


@pytest.mark.slow
def test_print_config_starts_nothing(tmp_path: Path) -> None:
    """`--print-config` prints the sections of its command, and exits with 2 if a value is invalid."""
    done = tintype("up", "--print-config", "--memory", "6GiB", "--data", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "[service]\n" in done.stdout
    assert "[gateway]\n" in done.stdout
    wrong = tintype("serve", "--print-config", "--memory", "lots", "--data", str(tmp_path))
    assert wrong.returncode == 2
    assert "--memory must be a size" in wrong.stderr
    assert "[gateway]" not in wrong.stdout


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--precision", "int7"], "--precision must be one of auto, "),
        (["--log-level", "loud"], "--log-level must be one of debug, "),
        (["--threads", "-1"], "--threads must be at least 0; got -1"),
        (["--vae", "nope"], "nope can't be read: No such file or directory"),
        (["--templates", "nope"], "nope can't be read: No such file or directory"),
    ],
)
def test_print_config_checks_as_up_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    """A value that `up` refuses is refused after the settings are printed, and by `up` itself."""
    for more in (["--print-config"], []):
        assert main(["up", *flags, *more, "--data", str(tmp_path)]) == 2
        printed = capsys.readouterr()
        assert expected in printed.err
        assert ("[service]" in printed.out) is bool(more)
