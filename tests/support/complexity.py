"""Measures work, so that a test can check that a parser is linear without wall time.

`steps` counts lines of Python and calls of C functions. It does not see the work inside one C call, such as a match of
a regular expression. `check_linear` therefore also compares the CPU time of the thread, which other processes do not
increase.
"""

from __future__ import annotations

import gc
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

Text = TypeVar("Text", str, bytes)
LONG = 100_000  # characters: more than any field of a request may have
TRACED = 20_000
"""Characters of the text whose steps are counted: tracing slows Python down fifty times."""
GROWTH = 2.6  # allowed growth of work for twice the text: 2, plus a margin for a logarithm
CPU_GROWTH = 8.0  # allowed growth of CPU time for four times the text: half of quadratic growth
TRIES = 3
NOISE = 0.25  # seconds of CPU time; a quadratic reader takes longer than this for `LONG` characters


def steps(call: Callable[[], object]) -> int:
    """Return the number of Python lines and C calls that `call` executes in this thread."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: Any) -> Callable[..., Any]:
        nonlocal count
        count += event == "line"
        return trace

    def profile(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before[1])
        sys.settrace(before[0])
    return count


def cpu(call: Callable[[], object]) -> float:
    """Return the CPU time of `call` in this thread, in seconds, without garbage collection."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = time.thread_time()
        call()
        return time.thread_time() - began
    finally:
        if collecting:
            gc.enable()


def check_linear(read: Callable[[Text], object], text: Callable[[int], Text], size: int = LONG) -> None:
    """Fail unless the work of `read` on `text(n)` grows in proportion to n.

    `read` may refuse the text with ValueError. `size` is the length of the longer text in characters;
    steps are counted for at most `TRACED` of them.
    """
    traced = min(size, TRACED)
    counted = [steps(partial(_refused, read, text(n))) for n in (traced // 2, traced)]
    assert counted[1] <= GROWTH * counted[0] + 100, f"{counted} steps for {[traced // 2, traced]} characters"
    short, long = text(size // 4), text(size)
    for _ in range(TRIES):  # the first try may include one-time work
        taken = [cpu(partial(_refused, read, given)) for given in (short, long)]
        if taken[1] < NOISE or taken[1] <= CPU_GROWTH * taken[0]:
            return
    raise AssertionError(f"{taken} s for {[len(short), len(long)]} characters")


def _refused(read: Callable[[Text], object], text: Text) -> None:
    with suppress(ValueError):
        read(text)
