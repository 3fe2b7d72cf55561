"""What is asked of a terminal, and what its answers mean. The terminal is a pseudo-terminal."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time

import pytest

from tintype.cli.images.detection import find_screen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals"),
]

# In a session of its own, whose controlling terminal is the pseudo-terminal.
PROGRAM = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
from tintype.cli.images.detection import find_screen
before = termios.tcgetattr(1)
found = find_screen("auto")
assert termios.tcgetattr(1) == before, "the modes of the terminal have changed"
print(f"<{found.way} {found.columns}x{found.rows} {found.cell}>" if found else "<none>", flush=True)
"""
XTERM, VT340 = b"\x1b[?64;1;2;6;9c", b"\x1b[?63;1;2;4;6c"
KITTY, CELL = b"\x1b_Gi=31;OK\x1b\\", b"\x1b[6;20;10t"


def ask(answer: bytes, **variables: str) -> tuple[str, bytes]:
    """Return what the program finds in a terminal that answers so, and what it has asked."""
    master, terminal = os.openpty()
    known = {name: value for name, value in os.environ.items() if name not in ("TMUX", "STY", "TERM_PROGRAM")}
    environ = known | {"TERM": "xterm-256color"} | variables
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM], stdin=subprocess.DEVNULL, stdout=terminal, env=environ
    ) as process:
        os.close(terminal)
        shown, is_answered, until = b"", False, time.monotonic() + 60
        while b">" not in shown.rpartition(b"<")[2] and time.monotonic() < until:
            if not select.select([master], [], [], 1)[0]:
                continue
            shown += os.read(master, 4096)
            if shown.endswith(b"\x1b[c") and not is_answered:
                os.write(master, answer)
                is_answered = True
        assert process.wait(60) == 0
    os.close(master)
    asked, _, found = shown.rpartition(b"<")
    return found.decode().strip().rstrip(">"), asked


def test_terminals() -> None:
    """Kitty's graphics precede sixels; a terminal with neither shows nothing; the size of a character is asked for."""
    assert ask(KITTY + CELL + VT340) == (
        "kitty 80x24 (10, 20)",
        b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[16t\x1b[c",
    )
    assert ask(VT340)[0] == "sixel 80x24 (8, 16)"
    assert ask(XTERM)[0] == "none"


def test_tmux() -> None:
    """In tmux only sixels are used, and only the device attributes are asked for."""
    assert ask(KITTY + VT340, TMUX="/run/tmux/default,1,0") == ("sixel 80x24 (8, 16)", b"\x1b[c")


def test_a_silent_terminal() -> None:
    """A terminal that does not answer is not waited for; iTerm2 is known by its variable."""
    assert ask(b"", TERM_PROGRAM="iTerm.app")[0] == "iterm2 80x24 (8, 16)"


def test_files_are_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout that is a file shows nothing on its own, and what is demanded."""
    assert find_screen("auto", {"TERM": "xterm-kitty"}) is None
    assert find_screen("none") is None
    found = find_screen("sixel")
    assert found
    assert (found.way, found.columns, found.cell) == ("sixel", 80, (8, 16))
    assert capsys.readouterr().out == ""
