"""Splitting a text at its added tokens, in time linear in the text."""

from __future__ import annotations

import pytest

from tests.support.models.odd import repeatable
from tintype.service.models.text.added_tokens import AddedToken
from tintype.service.models.text.token_splitter import TokenSplitter, WordMatcher


def test_the_longest_word_from_the_left_is_found() -> None:
    """The matcher finds what trying every word at every place finds, for words that overlap in all ways."""
    random_ = repeatable(2)
    for _ in range(400):
        words = {"".join(random_.choices("ab", k=random_.randint(1, 5))) for _ in range(random_.randint(1, 6))}
        text = "".join(random_.choices("abc", k=random_.randint(0, 40)))
        found, place = [], 0
        while place < len(text):
            end = place + max((len(word) for word in words if text.startswith(word, place)), default=0)
            if end > place:
                found.append((place, end))
            place = max(end, place + 1)
        assert list(WordMatcher(words).find(text)) == found, (words, text)


class CountingNode(dict[str, int]):
    """A node of the matcher that counts lookups."""

    lookups = 0

    def __contains__(self, key: object) -> bool:
        CountingNode.lookups += 1
        return super().__contains__(key)


@pytest.mark.parametrize("letters", ["a", "ab", "a a", "aaaaaaaaab"])
def test_matching_is_linear_in_the_text(letters: str) -> None:
    """Twice the text takes twice the steps, with a thousand words that almost match at every place."""
    words = ["a" * n + "b" for n in range(1, 400)] + ["a" * 399 + chr(n) for n in range(0x4E00, 0x4E00 + 600)]
    matcher = WordMatcher(words)
    matcher._goto = [CountingNode(node) for node in matcher._goto]
    steps = []
    for length in (16_000, 32_000):
        CountingNode.lookups = 0
        list(matcher.find((letters * length)[:length]))
        steps.append(CountingNode.lookups)
    assert steps[1] <= 2.1 * steps[0]
    assert steps[1] <= 4 * 32_000


def test_a_token_of_several_vectors_is_expanded() -> None:
    """With `expands`, NAME is read as NAME NAME_1 NAME_2, also inside a word and for several tokens in a row."""
    tokens = [AddedToken("<c>", 10), AddedToken("<c>_1", 11), AddedToken("<c>_2", 12), AddedToken("<d>", 20)]
    assert TokenSplitter(tokens)("a <c>") == ["a ", 10]
    expanding = TokenSplitter(tokens, expands=True)
    assert expanding("a <c>") == ["a ", 10, " ", 11, " ", 12]
    assert expanding("x<c>y<d>") == ["x", 10, " ", 11, " ", 12, "y", 20]
    assert expanding("<c>_2") == [12]


def test_expansion_is_bounded() -> None:
    """The longest prompt, filled with tokens of 75 vectors, gives more ids than are read, but not without bound."""
    tokens = [AddedToken("a" if not n else f"a_{n}", n) for n in range(75)]
    ids = [part for part in TokenSplitter(tokens, expands=True)("a" * 32_000) if isinstance(part, int)]
    assert 75 * 2460 / 75 < len(ids) < 75 * 5000


def test_further_tokens_replace_those_of_the_folder() -> None:
    """Tokens of a request are found as those of the folder are, and replace those of the same content."""
    plain = TokenSplitter([AddedToken("<c>", 10)])
    more = plain.extended([AddedToken("<c>", 99), AddedToken("<c>_1", 100)])
    assert more("<c>") == [99, " ", 100]
    assert plain("<c>") == [10]
