"""Which way of showing images a terminal has, from its answers and the environment.

One query asks for kitty's graphics, the pixels of a character, and the primary device attributes (DA1), which every
terminal answers, so that the end of the answer is known. In tmux and screen only sixels are asked for: they pass on no
other images without settings of their own.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

if sys.platform != "win32":
    import struct
    import termios
    import tty
    from fcntl import ioctl

TIMEOUT = 0.5  # seconds for the answer; a terminal over a slow connection shows no images then
MAX_ANSWER = 1024  # bytes
ASK_KITTY = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
ASK_CELL, ASK_ATTRIBUTES = "\x1b[16t", "\x1b[c"
DUMB = ("", "dumb", "linux", "unknown")  # values of TERM without images; the Linux console may print a query
ITERM2 = ("iTerm.app", "iTerm2", "mintty")  # TERM_PROGRAM, or LC_TERMINAL over ssh
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_CELL = re.compile(rb"\x1b\[6;(\d{1,4});(\d{1,4})t")
_KITTY_OK = b"\x1b_Gi=31;OK"


def find_screen(way: str, environ: Mapping[str, str] = os.environ) -> Screen | None:
    """Return the terminal of stdout for --show `way`; None if no image is to be shown there.

    `auto` asks the terminal; other ways are taken as they are, even if stdout is a file.
    """
    is_terminal = sys.stdout.isatty()
    if way == "none" or (way == "auto" and (not is_terminal or environ.get("TERM", "") in DUMB)):
        return None
    answer = ask(environ) if is_terminal and way != "blocks" else b""
    chosen = _choose(answer, environ) if way == "auto" else way
    return _screen(chosen, answer) if chosen else None


def _choose(answer: bytes, environ: Mapping[str, str]) -> str:
    """Return the best way of a terminal; empty if it shows no images."""
    inside = _inside_another(environ)
    if _KITTY_OK in answer and not inside:
        return "kitty"
    if {environ.get("TERM_PROGRAM"), environ.get("LC_TERMINAL")} & {*ITERM2} and not inside:
        return "iterm2"
    attributes = _ATTRIBUTES.search(answer)
    return "sixel" if attributes and b"4" in attributes[1].split(b";")[1:] else ""


def _inside_another(environ: Mapping[str, str]) -> bool:
    """Return whether another program, such as tmux, is between this one and the terminal."""
    return bool(environ.get("TMUX") or environ.get("STY") or environ.get("TERM", "").startswith(("tmux", "screen")))


def _screen(way: str, answer: bytes) -> Screen:
    """Return the terminal with its size; a character has 8 by 16 pixels if it does not say."""
    columns, rows, width, height = _window()
    cell = _CELL.search(answer)
    if cell and int(cell[1]) and int(cell[2]):
        return Screen(way, columns, rows, (int(cell[2]), int(cell[1])))
    if width >= columns and height >= rows:
        return Screen(way, columns, rows, (width // columns, height // rows))
    return Screen(way, columns, rows)


def _window() -> tuple[int, int, int, int]:
    """Return columns, rows, width and height in pixels of stdout's terminal; 80 by 24 and 0 if they are unknown."""
    with suppress(OSError, ValueError, NameError):  # NameError: Windows
        rows, columns, width, height = struct.unpack("HHHH", ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8)))
        if rows and columns:
            return columns, rows, width, height
    return 80, 24, 0, 0


def ask(environ: Mapping[str, str]) -> bytes:
    """Return what the controlling terminal answers; empty if there is none, or if it does not answer in time."""
    query = (ASK_ATTRIBUTES if _inside_another(environ) else ASK_KITTY + ASK_CELL + ASK_ATTRIBUTES).encode()
    with suppress(OSError), _terminal() as file:
        if file < 0:
            return b""
        os.write(file, query)
        return _read(file, time.monotonic() + TIMEOUT)
    return b""


@contextmanager
def _terminal() -> Iterator[int]:
    """Open the controlling terminal without echo and line editing; -1 if this process is in its background."""
    if sys.platform == "win32":
        yield -1
        return
    file = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    try:
        if os.tcgetpgrp(file) != os.getpgrp():  # changing its modes would stop the process
            yield -1
            return
        modes = termios.tcgetattr(file)
        tty.setcbreak(file, termios.TCSANOW)
        try:
            yield file
        finally:
            termios.tcsetattr(file, termios.TCSANOW, modes)
    except termios.error as error:
        raise OSError(*error.args) from error
    finally:
        os.close(file)


def _read(file: int, until: float) -> bytes:
    """Return an answer up to its device attributes."""
    answer = b""
    while len(answer) < MAX_ANSWER and not _ATTRIBUTES.search(answer):
        left = until - time.monotonic()
        if left <= 0 or not select.select([file], [], [], left)[0]:
            break
        answer += os.read(file, MAX_ANSWER)
    return answer
