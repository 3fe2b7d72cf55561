"""Strings that are difficult for tokenizers; the same in every run."""

from __future__ import annotations

import random
import re
import unicodedata

ODD = """a photo of cat astronaut's horse, highly detailed 4k (masterpiece:1.2) don't we'll I'M THE'RE 'S ''s it's 3.14
caf\xe9 cafe\u0301 \xdcn\xefc\xf6d\xe9 stra\xdfe \u041f\u0420\u0418\u0412\u0415\u0422 \u65e5\u672c\u8a9e \ud55c\uad6d
\u0627\u0644\u0639\u0631\u0628 \u0939\u093f\u0928\u094d\u0926\u0940 \U0001f469\u200d\U0001f4bb \U0001f3a8\ufe0f &amp;
&lt;b&gt; &#39; <b> </w> \u0130stanbul \u01c5 \ufb01 \xbd \xb2 \u2167 \u2460 \u017f '\u017f \u212a \u212b \u2103 \u034f
\u0345 \u1e9e \U0001d518 \U0001d7d8 \u0391\u03a3 \u03c2 \u2019s \u2018t \u201cq\u201d \u2014 \u2026 _a_ a_b $#@! ~`^
\\ / | {} [] a\x00b a\x1cb \ufeff \u200b !!! ... <|endoftext|> 1girl"""
SPACES = (" ", "  ", "", "\n", "\t", "\r\n", "\xa0", "\u3000", "\u2028", "\x85", "\x1c")
BLOCKS = (
    (0, 0x7F),
    (0x80, 0x24F),
    (0x370, 0x5FF),
    (0x900, 0x97F),
    (0x2000, 0x2BFF),
    (0x3000, 0x30FF),
    (0x1F300, 0x1FAFF),
)


def repeatable(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - test data, no secret


def odd_strings(count: int) -> list[str]:
    """Return strings that provoke differences between tokenizers, without unassigned code points."""
    random_, words = repeatable(0), re.split("[ \n]", ODD)

    def one() -> str:
        if random_.random() < 0.3:
            points = (chr(random_.randint(*random_.choice(BLOCKS))) for _ in range(random_.randint(1, 40)))
            return "".join(point for point in points if unicodedata.category(point) != "Cn")
        return "".join(random_.choice(words) + random_.choice(SPACES) for _ in range(random_.randint(1, 14)))

    return ["", " ", "'", *(one() for _ in range(count - 3))]
