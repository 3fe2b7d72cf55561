"""`tintype bench` as a user runs it: a service of its own, interrupted, and wrong arguments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support.command import tintype
from tintype.cli import main

pytestmark = pytest.mark.slow


def test_a_service_of_its_own() -> None:
    """The bench starts a service and a gateway, and what it can't measure in its time it names."""
    done = tintype("bench", "--seconds", "8", "--steps", "1", "--json", "-q")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["machine"]["cores"] >= 1
    if any("the time of --seconds 8 ended" in note or "left out" in note for note in found["notes"]):
        return  # a busy machine
    (figures,) = found["by_steps"]
    for measured in (found["ready"], found["load"], figures["image"], figures["outside"], figures["through_gateway"]):
        assert measured["least"] <= measured["median"] <= measured["most"]
    assert figures["images_per_second"].keys() == {"1", "4", "8"}
    assert found["service_memory"] > found["gateway_memory"] > 2**24


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_prints_what_was_measured() -> None:
    """After Ctrl-C the figures so far are printed, the service ends, and the exit code is 130."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
    words = [sys.executable, "-P", "-u", "-m", "tintype.cli", "bench", "--seconds", "300"]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while "1 caller" not in (line := process.stderr.readline()):
            assert line, "the command ended early"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "start to ready" in out
    assert "first image" in out
    assert "\n- interrupted: the figures are incomplete\n" in out
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--seconds 1", "--seconds must be 2 to 3600; got '1'"),
        ("--seconds nan", "--seconds must be 2 to 3600; got 'nan'"),
        ("--steps 0", "--steps must be 1 to 150; got '0'"),
        ("--steps 1 --steps 2 --steps 3 --steps 4 --steps 5", "--steps may be given at most 4 times; got 5"),
        ("--url 127.0.0.1:8080", "--url must be the address of a gateway, for example http://127.0.0.1:8080"),
        ("--url http://127.0.0.1:9", "no answer from http://127.0.0.1:9"),
        ("--grpc 127.0.0.1:9", "cannot connect to the image service at 127.0.0.1:9"),
        ("none", "there is no folder or file none; name a path or OWNER/NAME"),
    ],
)
def test_wrong_arguments(
    words: str, expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake is one line, and nothing is printed to stdout."""
    for name in [name for name in os.environ if name.startswith("TINTYPE_")]:
        monkeypatch.delenv(name)
    assert main(["bench", "-q", *words.split()]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")
