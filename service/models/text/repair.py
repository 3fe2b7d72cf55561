"""Repair of a prompt's text by ftfy, in linear time.

Two steps would otherwise be slow:

- Unicode's normalization sorts the combining marks of a letter by insertion, which takes time quadratic in their
  number. So letters keep at most 30 marks, as in Unicode's stream-safe text (UAX #15, section 13).
- ftfy takes 16 us for each line, even an empty one. So lines without words are left out.

Neither changes text that people write. Of a line that is not ASCII, only the first 8000 characters are read; no
encoder reads that many tokens.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MARKS = 30
SHORT_LINE = 2000
"""Characters of a line in which quadratic time does not matter."""
MAX_LINE = 8000
"""Characters that are read of a line that is not ASCII; repairing 32,000 of Latin-1 takes 0.3 s."""


def limit_marks(text: str) -> str:
    """Return a text with at most 30 combining marks on each letter."""
    if len(text) <= SHORT_LINE or text.isascii():
        return text
    kept, run = [], 0
    for letter in text:
        run = run + 1 if unicodedata.combining(letter) else 0
        if run <= MAX_MARKS:
            kept.append(letter)
    return "".join(kept)


def repaired_lines(text: str) -> Iterator[str]:
    """Yield the lines of a text that contain words, each as `ftfy.fix_text` repairs it in the whole text."""
    import ftfy  # noqa: PLC0415 - takes 50 ms; only the first prompt needs it

    unescape: str | bool = "auto"
    for line in text.split("\n"):
        unescape = False if "<" in line else unescape  # after the first tag, entities are kept
        if line.strip():
            part = line if line.isascii() else line[:MAX_LINE]
            yield _repair_line(ftfy.TextFixerConfig(unescape_html=unescape, explain=False), part)


def _repair_line(config: Any, line: str) -> str:
    import ftfy  # noqa: PLC0415 - as above

    if len(line) > SHORT_LINE:  # entities and mojibake may contain marks
        loose = ftfy.fix_text(line, config._replace(normalization=None))
        line = safe if (safe := limit_marks(loose)) != loose else line
    return ftfy.fix_text(line, config)
