"""Texts are repaired as by ftfy, in linear time for the worst of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ftfy
import pytest

from tests.support.complexity import check_linear
from tintype.service.models.text.repair import MAX_LINE, MAX_MARKS, SHORT_LINE, limit_marks, repaired_lines

if TYPE_CHECKING:
    from collections.abc import Callable

MARKS = "\u0345\u0301\u0323"  # in the order that takes the most sorting
TEXTS = [
    "a lighthouse at dusk",
    "schÃ¶n\nâ€™quoted",
    "&lt;b&gt; &amp;\n<i> &amp;\n&amp;",
    "one\n\n \n\r\ntwo\r\nthree",
    "cafe\u0301 \ufb03 \uff21 \x1b[31mred",
    "schÃ¶n " * 400,
    "&eacute; " * 800,
]


@pytest.mark.parametrize("text", TEXTS)
def test_equals_ftfy(text: str) -> None:
    """The words of all lines are those of ftfy for the whole text."""
    assert " ".join(repaired_lines(text)).split() == ftfy.fix_text(text).split()


def test_marks_are_bounded() -> None:
    """A letter keeps 30 combining marks; a text without such a letter is unchanged."""
    long = "e\u0301" * SHORT_LINE
    assert limit_marks(long) is not long
    assert limit_marks(long) == long
    assert limit_marks("e" + "\u0301" * (SHORT_LINE + 9) + "f") == "e" + "\u0301" * MAX_MARKS + "f"


WORST: dict[str, Callable[[int], str]] = {
    "marks": lambda n: MARKS * (n // 3),
    "marks from entities": lambda n: "a" + "&#837;&#769;&#803;" * (n // 18),
    "marks from mojibake": lambda n: MARKS.encode().decode("latin-1") * (n // 6),
    "empty lines": lambda n: "\n" * n,
    "lines": lambda n: "a\n" * (n // 2),
    "letters of Latin-1": lambda n: "".join(chr(0x80 + 7 * i % 0x80) for i in range(n)),
    "control characters": lambda n: "\x85\x9d" * (n // 2),
    "ampersands": lambda n: "&" * n,
    "escapes": lambda n: "\x1b[1" * (n // 3),
}


@pytest.mark.parametrize("worst", WORST.values(), ids=WORST)
def test_the_worst_text_takes_linear_work(worst: Callable[[int], str]) -> None:
    """Repairing twice the text takes at most about twice the work."""
    check_linear(lambda text: list(repaired_lines(limit_marks(text))), worst, 4 * MAX_LINE)
