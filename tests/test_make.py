"""The command that `make up` starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
COMMAND = """#!/bin/sh
trap 'echo stopped > said; exit 0' TERM
echo begun > said
while :; do sleep 0.05; done
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an environment, and a command that writes how it ends."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv/served").touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = tmp_path / ".venv/bin/tintype"
    command.write_text(COMMAND)
    command.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_signal_to_make_ends_the_servers(checkout: Path) -> None:
    """A signal to `make up` reaches the command; otherwise it would keep running and hold its ports."""
    make = subprocess.Popen(["make", "up"], cwd=checkout, start_new_session=True)
    try:
        _wait(checkout / "said", "begun")
        make.send_signal(signal.SIGTERM)
        _wait(checkout / "said", "stopped")
    finally:
        os.killpg(make.pid, signal.SIGKILL)
        make.wait()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("variables", "file"),
    [([], "outputs/first-image.png"), (["FIRST_IMAGE=a/b.png"], "a/b.png"), (["PICTURE=a/b.png"], "a/b.png")],
)
def test_file_of_the_first_image(checkout: Path, variables: list[str], file: str) -> None:
    """FIRST_IMAGE names the file of the first image, and so does PICTURE, its former name."""
    done = subprocess.run(["make", "-n", "up", *variables], cwd=checkout, capture_output=True, text=True, check=True)
    assert f'--first-image "A serene mountain lake at sunset" --output {file}' in done.stdout
    assert f"mkdir -p {Path(file).parent}/" in done.stdout


def _wait(file: Path, word: str) -> None:
    end = time.monotonic() + 20
    while not (file.is_file() and file.read_text().strip() == word):
        assert time.monotonic() < end, f"not {word}"
        time.sleep(0.02)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_model_of_make_up(checkout: Path) -> None:
    """MODEL is passed to the command if it is on the command line of make; a variable of the environment is not."""
    command = ["make", "-n", "up"]
    named = subprocess.run([*command, "MODEL=a/b c"], cwd=checkout, capture_output=True, text=True, check=True)
    assert '--model "a/b c"' in named.stdout
    environ = os.environ | {"MODEL": "a/b"}
    plain = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, check=True)
    assert "--model" not in plain.stdout


@pytest.fixture
def device_checkout(checkout: Path) -> Path:
    """A checkout with the scripts of the device tests, and a plugin that is installed."""
    (checkout / ".ci").mkdir()
    for script in ("packages", "vulkan", "test-device"):
        shutil.copy(ROOT / ".ci" / script, checkout / ".ci")
    (checkout / ".venv-device").mkdir()
    (checkout / ".venv-device/stamp").touch()
    return checkout


def run_device_tests(checkout: Path, *command: str) -> str:
    """Run a command as a device test, and return its output."""
    script = [str(checkout / ".ci/test-device"), *command]
    return subprocess.run(script, capture_output=True, text=True, check=True, timeout=60).stdout


def test_device_tests_without_a_driver_say_so(device_checkout: Path) -> None:
    """In one line, with the reason; no test runs, and the script succeeds."""
    (device_checkout / ".ci/vulkan").write_text("#!/bin/sh\necho 'apt-get has no driver' >&2\nexit 1\n")
    assert run_device_tests(device_checkout, "echo", "ran") == ("The device tests are skipped: apt-get has no driver\n")
    (device_checkout / ".venv-device/stamp").unlink()
    expected = "The device tests are skipped: onnxruntime-ep-webgpu is not installed.\n"
    assert run_device_tests(device_checkout, "echo", "ran") == expected


def test_device_tests_get_the_driver(device_checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variables are set, and a device is then required; with SOFTWARE=no the machine's own is used."""
    monkeypatch.delenv("VK_DRIVER_FILES", raising=False)
    (device_checkout / ".ci/vulkan").write_text("#!/bin/sh\necho VK_DRIVER_FILES=/lvp.json\n")
    show = "echo $VK_DRIVER_FILES $TINTYPE_TEST_DEVICE"
    assert run_device_tests(device_checkout, "sh", "-c", show) == "/lvp.json required\n"
    monkeypatch.setenv("SOFTWARE", "no")
    assert run_device_tests(device_checkout, "sh", "-c", show) == "\n"


def test_an_unpacked_driver_is_used_again(device_checkout: Path) -> None:
    """A driver in the folder needs no download; a loader older than 1.3.207 gets its own variable."""
    folder = device_checkout / "build/vulkan"
    (folder / "root/usr/share/vulkan/icd.d").mkdir(parents=True)
    (folder / "root/usr/share/vulkan/icd.d/lvp_icd.json").touch()
    (folder / "root/usr/lib").mkdir()
    (folder / "root/usr/lib/libvulkan_lvp.so").touch()
    script = [device_checkout / ".ci/vulkan", folder]
    environment = os.environ | {"PATH": f"{device_checkout}:/usr/bin:/bin"}  # without ldconfig, as without a driver
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60, env=environment)
    description = f"{folder}/root/usr/share/vulkan/icd.d/lvp_icd.json"
    assert f"LD_LIBRARY_PATH={folder}/root/usr/lib" in done.stdout.splitlines()
    assert f"VK_DRIVER_FILES={description}" in done.stdout.splitlines()
    assert f"VK_ICD_FILENAMES={description}" in done.stdout.splitlines()
