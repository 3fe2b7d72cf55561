"""Splitting a text at the added tokens that it contains.

Reference: transformers. Its two classes of tokenizers match in two ways; version 5 has only the fast one:

- the slow class finds added tokens in the text as it was typed, the longest one at each place, from the left;
- the fast class does so for tokens that are not `normalized`, and finds the others in the normalized text.

Matching takes time linear in the text, for any number of tokens.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .added_tokens import AddedToken

    TextOrToken: TypeAlias = "str | AddedToken"

# More ids than any encoder reads of a prompt; what follows this many multi-vector tokens is cut off later anyway.
MAX_EXPANSIONS = 4096

_WORD = re.compile(r"\w")
# Unicode's White_Space, as in Rust; Python's \s also has U+001C to U+001F.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_SPACES = re.compile(f"[{WHITE_SPACE}]*")


class NormalizedText(str):
    """A text between tokens that is already normalized."""

    __slots__ = ()


class WordMatcher:
    """Finds words in a text, from the left, the longest one at each place.

    Takes time linear in the text, for any number of words: the automaton of Aho and Corasick (1975), of the reversed
    words. One pass from the end of a text gives the longest word that begins at each place.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._goto: list[dict[str, int]] = [{}]
        self._fail, self._longest = [0], [0]
        self._firsts = {word[0] for word in words if word}
        for word in words:
            self._add(word)
        self._link()

    def _add(self, word: str) -> None:
        state = 0
        for letter in reversed(word):
            if letter not in self._goto[state]:
                self._goto[state][letter] = len(self._goto)
                self._goto.append({})
                self._fail.append(0)
                self._longest.append(0)
            state = self._goto[state][letter]
        self._longest[state] = len(word)

    def _link(self) -> None:
        queue = deque(self._goto[0].values())
        while queue:
            state = queue.popleft()
            self._longest[state] = self._longest[state] or self._longest[self._fail[state]]
            for letter, after in self._goto[state].items():
                queue.append(after)
                self._fail[after] = self._next(self._fail[state], letter)

    def _next(self, state: int, letter: str) -> int:
        while state and letter not in self._goto[state]:
            state = self._fail[state]
        return self._goto[state].get(letter, 0)

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each word."""
        if self._firsts.isdisjoint(text):
            return
        state, lengths = 0, [0] * len(text)
        for place in range(len(text) - 1, -1, -1):
            state = self._next(state, text[place])
            lengths[place] = self._longest[state]
        place = 0
        while place < len(text):
            if lengths[place]:
                yield place, place + lengths[place]
            place += lengths[place] or 1


class TokenSplitter:
    """Splits a text into the ids of added tokens and the texts between them.

    Args:
        tokens: The added tokens.
        normalize: The normalization of a fast tokenizer, after which it finds normalized tokens; None for slow ones.
        expands: Whether a token NAME stands for NAME NAME_1 NAME_2 ..., as many as exist, as in diffusers'
            `maybe_convert_prompt`.
    """

    def __init__(
        self,
        tokens: Iterable[AddedToken],
        *,
        normalize: Callable[[str], str] | None = None,
        expands: bool = False,
    ) -> None:
        self.tokens, self.normalize, self.expands = tuple(tokens), normalize, expands
        raw = [token for token in self.tokens if not (normalize and token.normalized)]
        self._raw = {token.content: token for token in raw}
        self._normal = {normalize(t.content): t for t in self.tokens if t.normalized} if normalize else {}
        self._find_raw, self._find_normal = WordMatcher(self._raw).find, WordMatcher(self._normal).find
        self._vectors = dict(_expansions({token.content for token in self.tokens})) if expands else {}

    def extended(self, tokens: Iterable[AddedToken]) -> TokenSplitter:
        """Return a splitter that also finds `tokens`, and expands them.

        They replace tokens of the same content.
        """
        known = {token.content: token for token in (*self.tokens, *tokens)}
        return TokenSplitter(known.values(), normalize=self.normalize, expands=True)

    def __call__(self, text: str) -> list[str | int]:
        """Return the ids of added tokens and the texts between them, in order."""
        return [part if isinstance(part, str) else part.id for part in self._parts(self._expanded(text))]

    def _expanded(self, text: str) -> str:
        if not self._vectors:
            return text
        for token in dict.fromkeys(part.content for part in self._parts(text) if not isinstance(part, str)):
            if token in self._vectors:
                text = self._vectors[token].join(text.split(token, MAX_EXPANSIONS)[:MAX_EXPANSIONS])
        return text

    def _parts(self, text: str) -> list[TextOrToken]:
        if not self.tokens:
            return [text]
        return [*self._fast_parts(text)] if self.normalize else _split_slow(text, self._find_raw(text), self._raw)

    def _fast_parts(self, text: str) -> Iterator[TextOrToken]:
        assert self.normalize  # noqa: S101
        for part in _split_fast(text, self._find_raw(text), self._raw):
            inner = [] if not isinstance(part, str) else self._normalized_parts(part)
            yield from inner or [part]

    def _normalized_parts(self, text: str) -> list[TextOrToken]:
        """Split a text at its normalized tokens; [] if it contains none."""
        if not self._normal or not self.normalize:
            return []
        normal = self.normalize(text)
        found = _split_fast(normal, self._find_normal(normal), self._normal)
        parts: list[TextOrToken] = [NormalizedText(part) if isinstance(part, str) else part for part in found]
        return parts if any(not isinstance(part, str) for part in parts) else []


def _expansions(contents: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each token of several vectors, with the text of all of its tokens."""
    for content in contents:
        names, number = [content], 1
        while f"{content}_{number}" in contents:
            names.append(f"{content}_{number}")
            number += 1
        if len(names) > 1:
            yield content, " ".join(names)


def _split_slow(text: str, places: Iterable[tuple[int, int]], tokens: Mapping[str, AddedToken]) -> list[TextOrToken]:
    """Split as `PreTrainedTokenizer.tokenize` does; its words are separated by spaces."""
    parts, at = [], 0
    for start, end in places:
        parts += [text[at:start]] * (start > at) + [text[start:end]]
        at = end
    parts += [text[at:]] * (at < len(text))
    for place, content in enumerate(parts):
        if not (token := tokens.get(content)):
            continue
        left = parts[place - 1] if place else ""
        right = parts[place + 1] if place + 1 < len(parts) else ""
        if token.rstrip and right:
            parts[place + 1] = right.lstrip()
        if token.lstrip and left:
            parts[place - 1] = left.rstrip()
        if token.single_word and left and left[-1] != " ":
            parts[place - 1] += content
            parts[place] = ""
        elif token.single_word and right and right[0] != " ":
            parts[place + 1] = content + parts[place + 1]
            parts[place] = ""
    return [tokens.get(part, part) for part in parts if part]


def _split_fast(
    text: str, places: Iterable[tuple[int, int]], tokens: Mapping[str, AddedToken]
) -> Iterator[TextOrToken]:
    """Split as `AddedVocabulary` of the tokenizers library does; its words have no letters next to them."""
    at = 0
    for start, end in places:
        token = tokens[text[start:end]]
        begin, stop = max(start, at), end
        if token.single_word and _touches_letters(text, start, end):
            continue
        if token.lstrip:
            begin = at + len(text[at:begin].rstrip(WHITE_SPACE))
        if token.rstrip:
            stop = _end_of_space(text, end)
        if at < begin:
            yield text[at:begin]
        yield token
        at = stop
    if at < len(text):
        yield text[at:]


def _end_of_space(text: str, place: int) -> int:
    found = _SPACES.match(text, place)
    return found.end() if found else place


def _touches_letters(text: str, start: int, end: int) -> bool:
    return any(_WORD.match(letter) for letter in (text[start - 1 : start] if start else "") + text[end : end + 1])
