"""`tintype pull`, and models of the hub in the settings."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.support.service.fake_hub import COMMIT, SERVED, FakeHub, pipeline_files
from tests.support.service.pulling import snapshot
from tintype.cli import main
from tintype.cli.errors import UserError
from tintype.cli.pull import DownloadText, format_duration, resolve_model
from tintype.cli.settings.file import read_file
from tintype.cli.settings.sources import Sources
from tintype.cli.terminal import choose_display
from tintype.service.config import ServiceConfig
from tintype.service.models.hub import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no other variables of the hub."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hf"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with a pipeline, as HF_ENDPOINT."""
    assert home
    with FakeHub(pipeline_files()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def folder(home: Path) -> Path:
    return home / "hub" / "models--owner--name" / "snapshots" / COMMIT


def test_a_pull(hub: FakeHub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output is the folder; stderr has the plan, the licence, the result and the command that serves it."""
    assert main(["pull", "owner/name"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{folder(home)}\n"
    assert err.splitlines() == [
        "owner/name at c0ffee000000: 12 files, 16.9 KiB, 16.9 KiB to download",
        "licence openrail++; not gated",
        "downloaded 16.9 KiB in 0:00",
        "Serve it: tintype up --model owner/name",
    ]
    assert set(snapshot(folder(home))) == SERVED
    hub.seen.clear()
    assert main(["pull", "owner/name"]) == 0
    assert "12 files, 16.9 KiB, all in the cache" in capsys.readouterr().err
    assert len(hub.seen) == 1


def test_a_dry_run_writes_nothing(hub: FakeHub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run shows the plan, and downloads no weights."""
    assert main(["pull", "owner/name", "--dry-run", "--precision", "fp32"]) == 0
    assert "16.9 KiB to download" in capsys.readouterr().err
    assert not home.exists()
    assert hub.paths("storage") == []


def test_another_cache(hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --cache the command to serve names the folder, and --offline uses what is there."""
    assert main(["pull", "owner/name", "--cache", str(tmp_path / "other")]) == 0
    path = tmp_path / "other" / "models--owner--name" / "snapshots" / COMMIT
    assert capsys.readouterr().err.endswith(f"Serve it: tintype up --model {path}\n")
    hub.seen.clear()
    assert main(["pull", "owner/name", "--cache", str(tmp_path / "other"), "--offline"]) == 0
    assert hub.seen == []
    assert main(["pull", "owner/name", "--offline"]) == 2
    assert "HF_HUB_OFFLINE is set, and nothing of it is in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nope", "tintype: a model of the hub is OWNER/NAME; got 'nope'\n"),
        (
            "https://huggingface.co/a/b",
            "written OWNER/NAME, not as an address; for 'https://huggingface.co/a/b' write 'a/b'\n",
        ),
        ("owner/name/x.ckpt", "must be a path that ends in .safetensors; got 'x.ckpt'"),
        ("owner/name@../x", "a revision is a branch, a tag or a commit; got '../x'"),
        ("owner/none", "owner/none: no such repository at http://127"),
        ("owner/name --precision int8", "invalid"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_errors_are_one_line(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An error is one line that says what would be right, and exit code 2."""
    try:
        code = main(["pull", *arguments.split()])
    except SystemExit as exited:
        code = int(str(exited.code))
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_invalid_variables(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong endpoint is one line."""
    assert home
    monkeypatch.setenv("HF_ENDPOINT", "file:///x")
    assert main(["pull", "owner/name"]) == 2
    assert capsys.readouterr().err == "tintype: HF_ENDPOINT must be an http or https address; got 'file:///x'\n"


@pytest.mark.slow
def test_ctrl_c_keeps_what_has_arrived(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupted pull ends at once with exit code 130, says how to go on, and is resumed."""
    content = b"w" * 3 * MIB
    with FakeHub({"model.safetensors": content}, hold=Event()) as hub:
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)}
        command = [sys.executable, "-P", "-m", "tintype.cli", "pull", "owner/name"]
        with subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.PIPE, text=True) as process:
            assert hub.held.wait(60)
            part = home / "hub" / "models--owner--name" / "blobs"
            while not any(path.stat().st_size >= MIB for path in part.glob("*.incomplete")):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        assert process.returncode == 130
        assert error.endswith("tintype: stopped; the same command resumes the download\n")
        assert hub.hold
        hub.hold.set()
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert main(["pull", "owner/name"]) == 0
        assert Path(capsys.readouterr().out.strip()).read_bytes() == content
        assert [seen.range for seen in hub.seen if seen.server == "storage"][-1] is not None


def test_models_of_settings(hub: FakeHub, home: Path, tmp_path: Path) -> None:
    """A hub id becomes its snapshot, from a flag, the variable and the file; a path that exists stays a path."""
    (tmp_path / "tintype.toml").write_text("models = ['owner/name', 'mine/model']")
    (tmp_path / "mine" / "model").mkdir(parents=True)
    file = Sources(file=read_file(tmp_path / "tintype.toml"))
    assert file.config(ServiceConfig).models == (folder(home), tmp_path / "mine" / "model")
    assert Sources(flags={"models": ["owner/name"]}).config(ServiceConfig).models == (folder(home),)
    variable = Sources(environ={"TINTYPE_MODELS": f"owner/name@{COMMIT}:mine/model"})
    assert variable.config(ServiceConfig).models == (folder(home), Path("mine/model"))
    (tmp_path / "owner" / "name").mkdir(parents=True)
    hub.seen.clear()
    assert Sources(flags={"models": ["owner/name"]}).config(ServiceConfig).models == (Path("owner/name"),)
    assert hub.seen == []


def test_parts_of_models(hub: FakeHub, home: Path) -> None:
    """--vae and --text-encoders download these components alone."""
    assert hub
    vae = Sources(flags={"vae": "owner/name"}).config(ServiceConfig).vae
    assert vae == folder(home)
    assert {path.partition("/")[0] for path in snapshot(vae)} == {"vae", "model_index.json", "README.md"}
    assert Sources(flags={"text_encoders": "owner/name"}).config(ServiceConfig).text_encoders == folder(home)
    assert {path.partition("/")[0] for path in snapshot(vae)} == {
        *("vae", "text_encoder", "tokenizer", "model_index.json", "README.md")
    }


@pytest.mark.usefixtures("hub")
def test_models_that_are_nowhere() -> None:
    """If the hub has no such model, the message says that there is no such path either."""
    with pytest.raises(
        UserError, match=r"^my/model: no such repository at .*; there is no file or folder 'my/model' ei"
    ):
        resolve_model("my/model")


def test_a_quiet_resolution(hub: FakeHub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of `generate -q` is pulled without output; without -q the plan is shown once."""
    assert resolve_model("owner/name", quiet=True) == folder(home)
    assert capsys.readouterr().err == ""
    hub.faults["down"] = 99
    resolve_model("owner/name", quiet=True)
    assert capsys.readouterr().err.endswith("which are in the cache\n")
    assert resolve_model("owner/name", offline=True) == folder(home)


class Terminal(io.StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_progress() -> None:
    """The line has bar, bytes, the rate of the last seconds and the remaining time."""
    seconds = iter([0.0, 1.0, 2.0, 30.0, 31.0])
    text = DownloadText(lambda: next(seconds))
    assert text.line(Transfer()) == ""
    transfer = Transfer(total=100 * MIB, sizes={"a": 10 * MIB})
    assert text.line(transfer, ("#", "-")) == "#" * 3 + "-" * 27 + " 10 MiB of 100 MiB, 0 B/s"
    transfer.sizes["b"] = 5 * MIB
    assert text.line(transfer, ("#", "-")).endswith(" 15 MiB of 100 MiB, 5 MiB/s, 0:17 to go")
    transfer.sizes["b"] = 0
    assert text.line(transfer).endswith(" 10 MiB of 100 MiB, 0 B/s")
    transfer.sizes["b"] = 70 * MIB
    assert text.line(transfer).endswith(" 80 MiB of 100 MiB, 2.5 MiB/s, 0:08 to go")
    transfer.waiting = "a"
    assert text.line(transfer) == "80 MiB of 100 MiB; another process downloads a"


def test_displays() -> None:
    """A terminal line is rewritten and erased; quiet shows nothing."""
    stream, transfer = Terminal(), Transfer(total=4, sizes={"a": 2})
    with choose_display(stream, DownloadText(), quiet=False) as shown:
        shown.show(transfer)
    assert stream.getvalue().startswith("\r\x1b[K███████████████░░░░░░░░░░░░░░░ 2 B of 4 B")
    assert stream.getvalue().endswith("\r\x1b[K")
    with choose_display(stream := Terminal(), DownloadText(), quiet=True) as shown:
        shown.show(transfer)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (754, "12:34"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
    """Durations are minutes and seconds, with hours if there are any."""
    assert format_duration(seconds) == text
