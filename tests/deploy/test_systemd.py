"""The systemd units: valid, as hardened as they promise, and consistent with the servers' own times."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.source import ROOT
from tintype.cli.commands import COMMANDS
from tintype.service.config import ServiceConfig

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
EXPOSURE = 1.5  # systemd's own scale is 0 to 10; it calls less than 2.0 "OK"
SERVERS = {"tintype": 2, "tintype-service": 1, "tintype-gateway": 1}  # that a unit stops, one after the other


def lines(unit: Path) -> list[tuple[str, str]]:
    """Return the settings of a unit, in order."""
    found = re.findall(r"^(\w+)=(.*)$", unit.read_text("utf-8"), re.MULTILINE)
    return [(str(name), str(value)) for name, value in found]


@pytest.fixture(params=UNITS, ids=lambda unit: unit.stem)
def unit(request: pytest.FixtureRequest) -> Path:
    """Each unit."""
    assert isinstance(request.param, Path)
    return request.param


def test_there_are_three_units() -> None:
    """One for both servers, and one for each."""
    assert {each.stem for each in UNITS} == SERVERS.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="needs systemd")
def test_units_are_valid(unit: Path, tmp_path: Path, program: Callable[[str], str]) -> None:
    """Systemd finds no mistake, once the installed command is one that exists here."""
    copies = []
    for each in UNITS:
        copy = tmp_path / each.name
        copy.write_text(each.read_text("utf-8").replace("/opt/tintype/bin/tintype", "/bin/true"))
        copies.append(copy)
    done = subprocess.run(
        [program("systemd-analyze"), "verify", tmp_path / unit.name], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "tintype" in line]
    assert said == []
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs systemd")
@pytest.mark.parametrize(("added", "exposure"), [("", EXPOSURE), ("gpu.conf", 1.9)], ids=["cpu", "gpu"])
def test_units_are_hardened(
    unit: Path, added: str, exposure: float, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """Systemd calls the exposure of each unit OK, also with the drop-in for GPUs."""
    drop_in = (FOLDER / added).read_text("utf-8") if added else ""
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text("utf-8") + drop_in)
    options = ["security", "--offline=true", f"--threshold={round(exposure * 10)}", "--no-pager"]
    done = subprocess.run([program("systemd-analyze"), *options, copy], capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze reads no unit files")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert re.search(r"Overall exposure level for \S+: 1\.\d OK", done.stdout)


def test_units_share_their_hardening() -> None:
    """A line that limits one server limits the other as well."""
    start = "# What the servers can't reach."
    parts = {unit.read_text("utf-8").partition(start)[2] for unit in UNITS}
    assert len(parts) == 1
    assert "NoNewPrivileges=yes" in parts.pop()


def test_units_wait_for_running_requests(unit: Path) -> None:
    """A server is killed only after its own time to finish, --lame-duck and --grace, has passed."""
    defaults = ServiceConfig()
    assert float(dict(lines(unit))["TimeoutStopSec"]) > SERVERS[unit.stem] * (defaults.lame_duck + defaults.grace)


def test_units_start_commands_that_exist(unit: Path) -> None:
    """ExecStart is a command of tintype with the settings file; exit code 2, a wrong setting, is not retried."""
    found = dict(lines(unit))
    program, command, flag, file = found["ExecStart"].split()
    assert (program, flag, file) == ("/opt/tintype/bin/tintype", "--config", "/etc/tintype/tintype.toml")
    assert command in COMMANDS
    assert found["RestartPreventExitStatus"] == "2"


def test_gpu_drop_in_overrides_the_units() -> None:
    """The drop-in for GPUs changes only lines that the units set, and adds the devices."""
    known = set(dict(lines(UNITS[0])))
    assert {name for name, _ in lines(FOLDER / "gpu.conf")} - known == {"ExecStartPre", "DevicePolicy", "DeviceAllow"}


def test_the_user_is_created(tmp_path: Path, program: Callable[[str], str]) -> None:
    """systemd-sysusers creates the user of the units, with the data folder as its home."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").touch()
    (tmp_path / "etc/group").touch()
    done = subprocess.run(
        [program("systemd-sysusers"), f"--root={tmp_path}", FOLDER / "tintype.sysusers.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "ermission" in done.stderr:
        pytest.skip("systemd-sysusers needs root")
    name, *_, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, home) == ("tintype", "/var/lib/tintype")
    assert shell.endswith("nologin")
