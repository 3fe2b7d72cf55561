"""Whatever a user gets wrong: one line that says what would be right, exit code 2, no traceback."""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.support.command import tintype
from tintype.cli import main
from tintype.service.models.residency.catalogue import BUILTIN

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = pytest.mark.slow


def line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a user's error; the log of servers that had begun may stand around it."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("tintype")]
    assert len(said) == 1, done.stderr
    return said[0].removeprefix("tintype: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("modles", "there is no command 'modles'; did you mean 'models'?"),
        ("sing", "there is no command 'sing'; there are: up, serve, gateway, generate, models, keys, export"),
        ("serve --memroy 3", "there is no '--memroy' here; did you mean --memory?; see `tintype serve --help`"),
        ("serve --rest x", "there is no '--rest' here: it belongs to `tintype gateway`; see `tintype serve --help`"),
        ("gateway --model=x", "there is no '--model=x' here: it belongs to `tintype serve`"),
        ("generate x --data y", "there is no '--data' here: it belongs to `tintype serve` and `tintype gateway`"),
        ("serve --qwxz 3", "there is no '--qwxz' here; see `tintype serve --help`"),
        ("generate x -- --seed 3", "there is no '--seed' here; see"),
        ("serve --memory lots", "--memory wants a size, such as 6GiB or 500MB, not 'lots'"),
        (
            "serve --grpc 50051",
            "--grpc wants HOST:PORT with a port of at most 65535",
        ),
        ("up --rest 127.0.0.1", "--rest wants HOST:PORT"),
        ("up --first-picture x -o x.jpg", "the first picture is a PNG: --output x.jpg should end in .png"),
        ("up --first-picture \udcff", "--first-picture: 'utf-8' codec can't encode character"),
        ("generate", "the following arguments are required: PROMPT; see `tintype generate --help`"),
        ("generate x --size big", "--size wants WIDTHxHEIGHT in pixels, such as 512x512, not 'big'"),
        ("generate x --size 0x256", "--size wants WIDTHxHEIGHT in pixels, such as 512x512, not '0x256'"),
        ("up --rest 127.0.0.1:9000 --grpc 127.0.0.1:9000", "--grpc and --rest are both 127.0.0.1:9000"),
        ("generate x --steps many", "--steps wants a whole number, not 'many'"),
        ("generate x --seed 9223372036854775808", "--seed wants 0 to 9223372036854775807, not 9223372036854775808"),
        ("generate x --steps 151", "--steps wants 1 to 150, not 151"),
        ("generate x --count 0", "--count wants 1 to 10, not 0"),
        ("generate x --guidance nan", "--guidance wants a number, not 'nan'"),
        ("generate x --guidance 50.5", "--guidance wants 0 to 50, not 50.5"),
        ("generate x --strength 1.5", "--strength wants 0 to 1, not 1.5"),
        ("generate x --image /none.png", "--image: can't read /none.png: No such file or directory"),
        ("generate x --image /dev/null", "--image: /dev/null is empty"),
        ("generate x -o x.gif", "x.gif ends in '.gif'; pictures end in .png, .jpg, .jpeg, .webp"),
        ("generate x -o /proc/none/x.png", "can't write /proc/none/x.png"),
        ("generate x -o - --count 2", "-o - takes one image, not --count 2"),
        ("models load", "load needs the name of a model: tintype models load NAME"),
        ("serve --log-level loud --grpc 127.0.0.1:0", "--log-level must be one of debug, info, warning, error, not"),
        ("gateway --url-ttl 0", "--url-ttl must be above 0, not 0"),
        ("generate x -o /", "can't write /: it is a folder"),
        ("generate x --grpc 127.0.0.1:9", "cannot connect to the image service at 127.0.0.1:9: nothing listens at"),
        ("models --grpc 127.0.0.1:9", "`tintype up` starts one, --grpc names another"),
        ("models lod", "there is no action 'lod'; did you mean 'load'?"),
        ("models unload", "unload needs the name of a model"),
        ("models list sdxl", "did you mean `tintype models load sdxl`?"),
        ("models --tls-ca /nowhere.pem", "can't read --tls-ca /nowhere.pem"),
        (
            "up --rest 0.0.0.0:0 --data /nowhere",
            "create a key with `tintype keys create NAME --keys /nowhere/keys`, or pass --anonymous",
        ),
        ("gateway --rest 0.0.0.0:0 --data /nowhere", "refusing to listen on 0.0.0.0:0 without authentication"),
        (
            "gateway --keys /nowhere/keys",
            "there is no such file; `tintype keys create NAME --keys /nowhere/keys` makes it",
        ),
        (
            "up --tls-cert c.pem --tls-key k.pem",
            "--tls-cert needs --tls-ca here, by which the gateway verifies the service",
        ),
        ("up --tls-client-ca c.pem", "--tls-client-ca needs --service-cert and --service-cert-key here"),
        ("gateway --data ~nobody-here/x", "--data wants a path, not '~nobody-here/x'"),
        ("serve --config ~nobody-here/x", "'~nobody-here/x' begins with a home that is not known here"),
        ("generate x --image ~nobody-here/x", "'~nobody-here/x' begins with a home that is not known here"),
        ("generate x --model ~nobody-here/x", "'~nobody-here/x' begins with a home that is not known here"),
        (f"serve --data {'9' * 300}", "--data wants a path, not '999"),
        (f"generate x --image {'9' * 300}", "is too long for a path: it has 300 characters"),
        (f"generate x -o {'9' * 300}", "is too long for a path: it has 300 characters"),
        (f"serve --grpc {'a' * 64}:80", "--grpc wants HOST:PORT with a port"),
        ("gateway --rest a..b:80", "--rest wants HOST:PORT with a port"),
        ("serve --grpc \udcff:80", "--grpc wants HOST:PORT with a port"),
        ("models --grpc \udcff", r"--grpc wants text in UTF-8, not '\udcff'"),
        ("models load \udcff", r"wants text in UTF-8, not '\udcff'"),
        ("generate \udcff", r"wants text in UTF-8, not '\udcff'"),
        ("keys create x --model \udcff", r"wants text in UTF-8, not '\udcff'"),
        ("models --service-key é", "--service-key must be printable ASCII"),
        ("gateway --rest 127.0.0.1:0 --service-key é", "--service-key must be printable ASCII"),
        ("serve --config /nowhere.toml", "can't read the settings in /nowhere.toml"),
    ],
)
def test_arguments(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong arguments."""
    for name in [name for name in os.environ if name.startswith("TINTYPE_")]:
        monkeypatch.delenv(name)
    assert main(arguments.split()) == 2
    captured = capsys.readouterr().err
    assert said in captured
    assert captured.count("\n") == 1


def test_command() -> None:
    """The same as a process: one line, exit code 2, no traceback."""
    assert line(tintype("serve", "--memory", "lots")) == "--memory wants a size, such as 6GiB or 500MB, not 'lots'"
    assert "there is no '--memroy' here" in line(tintype("serve", "--memroy", "3"))
    assert "cannot connect to the image service" in line(tintype("generate", "x", "--grpc", "127.0.0.1:9"))


def test_variables() -> None:
    """Wrong variables."""
    assert "TINTYPE_THREADS wants a whole number, not 'x'" in line(tintype("serve", TINTYPE_THREADS="x"))


def test_misspelt_variables_are_noticed() -> None:
    """A variable that nobody reads is named, and what is wrong besides."""
    done = tintype("models", "--grpc", "127.0.0.1:9", TINTYPE_MODEL="x")
    first, second = done.stderr.splitlines()
    assert first == "tintype: TINTYPE_MODEL is not read; did you mean TINTYPE_MODELS?"
    assert "cannot connect to the image service" in second


@pytest.mark.parametrize(("command", "flag"), [("serve", "--grpc"), ("gateway", "--rest"), ("up", "--rest")])
def test_taken_port(command: str, flag: str) -> None:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = line(tintype(command, flag, address))
    assert address in said
    assert said.endswith(f"Address already in use; choose another with {flag}")


@pytest.mark.parametrize("command", ["serve", "generate x", "up"])
def test_no_such_model(command: str, tmp_path: Path) -> None:
    """A folder that is not there, and one that holds no model, and one that lacks a component."""
    ports = ["--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0"] if command == "up" else []
    ports = ["--grpc", "127.0.0.1:0"] if command == "serve" else ports
    nowhere, empty, half = tmp_path / "nowhere", tmp_path / "empty", tmp_path / "half"
    empty.mkdir()
    (half / "unet").mkdir(parents=True)
    (half / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for folder in (nowhere, empty, half):
        done = tintype(*command.split(), *ports, "--model", str(folder))
        assert folder.name in line(done)
        assert done.stderr.count("can't be served") == 1, "it is told once"
    assert f"there is no folder {nowhere}" in line(tintype(*command.split(), *ports, "--model", str(nowhere)))


@pytest.mark.parametrize("order", [("nowhere", "good"), ("good", "nowhere"), ("good", "damaged")])
def test_one_of_several_models_is_missing(tmp_path: Path, order: tuple[str, str]) -> None:
    """A model that was asked for and can't be served is refused at start, at whatever place it stands."""
    (tmp_path / "good").symlink_to(BUILTIN)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model_index.json").write_text("{}")
    models = [word for name in order for word in ("--model", str(tmp_path / name))]
    said = line(tintype("serve", "--grpc", "127.0.0.1:0", "--data", str(tmp_path), *models))
    assert "can't be served" in said
    assert (order[1] if order[0] == "good" else order[0]) in said


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is here")
def test_export_without_torch(tmp_path: Path) -> None:
    """Without torch, export says how to get it."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    said = line(tintype("export", str(tmp_path), str(tmp_path / "out")))
    assert "pip install '.[export]' in the clone" in said


def test_help() -> None:
    """Help teaches: commands, examples, variables."""
    assert "tintype up" in tintype("--help").stdout
    assert tintype().stdout == tintype("--help").stdout
    done = tintype("up", "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "[TINTYPE_MEMORY]" in done.stdout


def test_version() -> None:
    """--version names it."""
    done = tintype("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "tintype")
