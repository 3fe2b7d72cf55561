"""Repair of a prompt's text by ftfy, in linear time.

Unicode's normalization sorts the combining marks of a letter by insertion, which takes the square of their number, and
ftfy takes 16 us for each line, even if it is empty. So letters keep at most 30 marks, as in Unicode's stream-safe text
(UAX #15, section 13), and lines without words are left out; both change nothing that people write. Of a line that is
not ASCII the first 8000 characters count: no encoder reads as many tokens.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MARKS = 30
SHORT = 2000
"""Characters of a line in which the square does no harm."""
LONGEST = 8000
"""Characters of a line that is not ASCII; repairing 32,000 of Latin-1 takes 0.3 s."""


def stream_safe(text: str) -> str:
    """Return a text with at most 30 combining marks on a letter."""
    if len(text) <= SHORT or text.isascii():
        return text
    kept, run = [], 0
    for letter in text:
        run = run + 1 if unicodedata.combining(letter) else 0
        if run <= MAX_MARKS:
            kept.append(letter)
    return "".join(kept)


def repaired(text: str) -> Iterator[str]:
    """Yield a text's lines of words, each repaired.

    A line is repaired as `ftfy.fix_text` repairs the whole text.
    """
    import ftfy  # noqa: PLC0415 - 50 ms that only the first prompt needs

    unescape: str | bool = "auto"
    for line in text.split("\n"):
        unescape = False if "<" in line else unescape  # from the first tag on, entities stay as they are
        if line.strip():
            own = line if line.isascii() else line[:LONGEST]
            yield _repaired(ftfy.TextFixerConfig(unescape_html=unescape, explain=False), own)


def _repaired(config: Any, line: str) -> str:
    import ftfy  # noqa: PLC0415 - as above

    if len(line) > SHORT:  # marks may come out of entities and of mojibake
        loose = ftfy.fix_text(line, config._replace(normalization=None))
        line = safe if (safe := stream_safe(loose)) != loose else line
    return ftfy.fix_text(line, config)
