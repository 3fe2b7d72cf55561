"""Errors that the user can fix: one line that says what is expected, exit code 2, no traceback."""

from __future__ import annotations

import io
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


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a user error; the log of servers that had started may surround it."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    expected = [error_line for error_line in done.stderr.splitlines() if error_line.startswith("tintype")]
    assert len(expected) == 1, done.stderr
    return expected[0].removeprefix("tintype: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("modles", "invalid command 'modles'; did you mean 'models'?"),
        (
            "sing",
            "invalid command 'sing'; choose from: up, serve, gateway, cluster, generate, bench, doctor, pull, models, ",
        ),
        ("serve --memroy 3", "unrecognized argument '--memroy' (did you mean --memory?); see `tintype serve --help`"),
        ("serve --rest x", "unrecognized argument '--rest' (a flag of `tintype gateway`); see `tintype serve --help`"),
        ("gateway --model=x", "unrecognized argument '--model=x' (a flag of `tintype serve`)"),
        ("generate x --data y", "unrecognized argument '--data' (a flag of `tintype serve` and `tintype gateway`)"),
        ("serve --qwxz 3", "unrecognized argument '--qwxz'; see `tintype serve --help`"),
        ("generate x --sede 3", "unrecognized argument '--sede' (did you mean --seed?); see"),
        ("serve --memory lots", "--memory must be a size, for example 6GiB or 500MB; got 'lots'"),
        (
            "serve --grpc 50051",
            "--grpc must be HOST:PORT with a port of at most 65535",
        ),
        ("up --rest 127.0.0.1", "--rest must be HOST:PORT"),
        ("up --first-image x -o x.jpg", "--output of the first image must end in .png; got x.jpg"),
        ("up --first-image \udcff", "--first-image: 'utf-8' codec can't encode character"),
        ("generate", "generate needs a PROMPT, or --prompts FILE; see `tintype generate --help`"),
        ("generate x --size big", "--size must be WIDTHxHEIGHT in pixels, for example 512x512; got 'big'"),
        ("generate x --size 0x256", "--size must be WIDTHxHEIGHT in pixels, for example 512x512; got '0x256'"),
        ("up --rest 127.0.0.1:9000 --grpc 127.0.0.1:9000", "--grpc and --rest are both 127.0.0.1:9000"),
        ("generate x --steps many", "--steps must be an integer; got 'many'"),
        ("generate x --seed 9223372036854775808", "--seed must be 0 to 9223372036854775807; got 9223372036854775808"),
        ("generate x --steps 151", "--steps must be 1 to 150; got 151"),
        ("generate x --count 0", "--count must be 1 to 10; got 0"),
        ("generate x --guidance nan", "--guidance must be a number; got 'nan'"),
        ("generate x --guidance 50.5", "--guidance must be 0 to 50; got 50.5"),
        ("generate x --strength 1.5", "--strength must be 0 to 1; got 1.5"),
        ("generate x --image /none.png", "--image: cannot read /none.png: No such file or directory"),
        ("generate x --image /dev/null", "--image: /dev/null is empty"),
        ("generate x -o x.gif", "an image file must end in .png, .jpg, .jpeg, .webp; got x.gif"),
        ("generate x -o /proc/none/x.png", "cannot write /proc/none/x.png"),
        ("generate x -o - --count 2", "-o - takes one image, not --count 2"),
        ("generate x y -o -", "-o - takes one image, not 2 prompts; name files, for example -o {index:03}.png"),
        ("generate x -o {nope}.png", "-o: unknown field {nope}; the fields are {index}, {image}, {seed}, {slug}, "),
        ("generate x -o {slug:09}.png", "-o: the width of a number is written as in {index:03}; got {slug:09}"),
        ("generate x -o }.png", "-o: a brace of a file's name is written twice: }}; got }.png"),
        ("generate x --jobs 0", "--jobs must be 1 to 64; got '0'"),
        ("generate x --mask m.png --image -", "--image: stdin is empty"),
        ("generate - --prompts -", "only one argument may read stdin; got - for PROMPT and --prompts"),
        ("generate --prompts /none", "--prompts: cannot read /none: No such file or directory"),
        ("generate --prompts /dev/null", "--prompts: /dev/null has no prompts"),
        ("generate x --lora a.safetensors", "copy a.safetensors into the folder loras of the model"),
        ("generate x --lora a:9", "--lora must be NAME[:WEIGHT], for example film:0.8; the weight must be -4 to 4"),
        ("generate x --x steps=1,2", "--x and --y need --grid FILE, the sheet of their images"),
        ("generate x --grid g.png --x stps=1", "--x varies a flag of an image; got 'stps'; did you mean steps?"),
        ("generate x --grid g.png --x steps", "--x must be NAME=VALUE,..., for example steps=4,8,20; got 'steps'"),
        ("generate x --grid g.png --x steps=1,2,999", "--steps must be 1 to 150; got 999"),
        ("generate x y --grid g.png --x steps=1,2", "--x and --y take one prompt; vary it with --y"),
        ("generate x --grid g.gif", "an image file must end in .png, .jpg, .jpeg, .webp; got g.gif"),
        ("generate x --show kittty", "invalid way 'kittty'; did you mean 'kitty'?"),
        ("generate x --show sixel -o -", "--show sixel writes to stdout, as -o - does; choose one"),
        ("models load", "load needs the name of a model: tintype models load NAME"),
        ("serve --log-level loud --grpc 127.0.0.1:0", "--log-level must be one of debug, info, warning, error; got"),
        ("gateway --url-ttl 0", "--url-ttl must be above 0; got 0"),
        ("generate x -o /", "cannot write /: it is a folder"),
        ("generate x --grpc 127.0.0.1:9", "cannot connect to the image service at 127.0.0.1:9: nothing listens at"),
        ("models --grpc 127.0.0.1:9", "start one with `tintype up`, or name another with --grpc"),
        ("models lod", "invalid action 'lod'; did you mean 'load'?"),
        ("models unload", "unload needs the name of a model"),
        ("models list sdxl", "did you mean `tintype models load sdxl`?"),
        ("models --tls-ca /nowhere.pem", "cannot read --tls-ca /nowhere.pem"),
        (
            "up --rest 0.0.0.0:0 --data /nowhere",
            "create a key with `tintype keys create NAME --keys /nowhere/keys`, or pass --anonymous",
        ),
        ("gateway --rest 0.0.0.0:0 --data /nowhere", "refusing to listen on 0.0.0.0:0 without authentication"),
        (
            "gateway --keys /nowhere/keys",
            "it does not exist; create it with `tintype keys create NAME --keys /nowhere/keys`",
        ),
        (
            "up --tls-cert c.pem --tls-key k.pem",
            "--tls-cert also needs --tls-ca, with which the gateway verifies the service",
        ),
        ("up --tls-client-ca c.pem", "--tls-client-ca also needs --service-cert and --service-cert-key"),
        ("gateway --data ~unknown-user/x", "--data: the home directory in '~unknown-user/x' is unknown"),
        ("serve --config ~unknown-user/x", "the home directory in '~unknown-user/x' is unknown"),
        ("generate x --image ~unknown-user/x", "the home directory in '~unknown-user/x' is unknown"),
        ("generate x --model ~unknown-user/x", "the home directory in '~unknown-user/x' is unknown"),
        (f"serve --data {'9' * 300}", "--data: path too long: '999"),
        (f"generate x --image {'9' * 300}", "…' has 300 characters"),
        (f"generate x -o {'9' * 300}", "…' has 300 characters"),
        (f"serve --grpc {'a' * 64}:80", "--grpc must be HOST:PORT with a port"),
        ("gateway --rest a..b:80", "--rest must be HOST:PORT with a port"),
        ("serve --grpc \udcff:80", "--grpc must be HOST:PORT with a port"),
        ("models --grpc \udcff", r"--grpc must be text in UTF-8; got '\udcff'"),
        ("models load \udcff", r"must be text in UTF-8; got '\udcff'"),
        ("generate \udcff", r"must be text in UTF-8; got '\udcff'"),
        ("keys create x --model \udcff", r"must be text in UTF-8; got '\udcff'"),
        ("models --service-key é", "--service-key must be printable ASCII"),
        ("gateway --rest 127.0.0.1:0 --service-key é", "--service-key must be printable ASCII"),
        ("serve --config /nowhere.toml", "cannot read the settings file /nowhere.toml"),
    ],
)
def test_argument_error_is_one_line(
    arguments: str, expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong arguments are one line on stderr."""
    for name in [name for name in os.environ if name.startswith("TINTYPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    assert main(arguments.split()) == 2
    captured = capsys.readouterr().err
    assert expected in captured
    assert captured.count("\n") == 1


def test_process_exits_with_2_without_a_traceback() -> None:
    """As a process, the command prints one line without a traceback, and exits with code 2."""
    assert (
        error_line(tintype("serve", "--memory", "lots"))
        == "--memory must be a size, for example 6GiB or 500MB; got 'lots'"
    )
    assert "unrecognized argument '--memroy'" in error_line(tintype("serve", "--memroy", "3"))
    assert "cannot connect to the image service" in error_line(tintype("generate", "x", "--grpc", "127.0.0.1:9"))


def test_wrong_variable_is_named() -> None:
    """The error names a wrong variable."""
    assert "TINTYPE_THREADS must be an integer; got 'x'" in error_line(tintype("serve", TINTYPE_THREADS="x"))


def test_misspelled_variables_are_reported() -> None:
    """A warning names an unknown variable; the error follows."""
    done = tintype("models", "--grpc", "127.0.0.1:9", TINTYPE_MODEL="x")
    first, second = done.stderr.splitlines()
    assert first == "tintype: unknown variable TINTYPE_MODEL; did you mean TINTYPE_MODELS?"
    assert "cannot connect to the image service" in second


@pytest.mark.parametrize(("command", "flag"), [("serve", "--grpc"), ("gateway", "--rest"), ("up", "--rest")])
def test_port_in_use_is_named(command: str, flag: str) -> None:
    """An address whose port another program uses is named, with the flag that changes it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        message = error_line(tintype(command, flag, address))
    assert address in message
    assert message.endswith(f"Address already in use; choose another address with {flag}")


@pytest.mark.parametrize("command", ["serve", "generate x", "up"])
def test_incomplete_model_folder_is_refused(command: str, tmp_path: Path) -> None:
    """A missing folder, a folder without a model, and a model without a component are refused."""
    ports = ["--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0"] if command == "up" else []
    ports = ["--grpc", "127.0.0.1:0"] if command == "serve" else ports
    nowhere, empty, half = tmp_path / "nowhere", tmp_path / "empty", tmp_path / "half"
    empty.mkdir()
    (half / "unet").mkdir(parents=True)
    (half / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for folder, problem in ((nowhere, f"there is no folder or file {nowhere}"), (empty, "empty"), (half, "half")):
        done = tintype(*command.split(), *ports, "--model", str(folder))
        assert problem in error_line(done)
        assert done.stderr.count("can't be served") == 1, "it is reported once"


@pytest.mark.parametrize("order", [("nowhere", "good"), ("good", "nowhere"), ("good", "damaged")])
def test_each_of_several_models_must_exist(tmp_path: Path, order: tuple[str, str]) -> None:
    """Every model of the command line must be usable, the first as well as the others."""
    (tmp_path / "good").symlink_to(BUILTIN)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model_index.json").write_text("{}")
    models = [word for name in order for word in ("--model", str(tmp_path / name))]
    message = error_line(tintype("serve", "--grpc", "127.0.0.1:0", "--data", str(tmp_path), *models))
    assert "can't be served" in message
    assert (order[1] if order[0] == "good" else order[0]) in message


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_export_without_torch_says_how_to_install_it(tmp_path: Path) -> None:
    """Without torch, export says how to install it."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    message = error_line(tintype("export", str(tmp_path), str(tmp_path / "out")))
    assert "`pip install '.[export]'` in the clone" in message


def test_help_lists_commands_examples_and_variables() -> None:
    """Help lists commands, examples and variables."""
    assert "tintype up" in tintype("--help").stdout
    assert tintype().stdout == tintype("--help").stdout
    done = tintype("up", "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "[TINTYPE_MEMORY]" in done.stdout


def test_version_is_printed() -> None:
    """--version prints the version."""
    done = tintype("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "tintype")
