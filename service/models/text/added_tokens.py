"""Added tokens of a tokenizer: their files, and where they match.

Those of textual inversion are an example.

Reference: transformers 4.57. Files: `added_tokens_decoder` in tokenizer_config.json; in folders without it
special_tokens_map.json, added_tokens.json and tokenizer.json. Two classes of tokenizers match in two ways:

- the slow one finds added tokens in the text as it was typed, the longest one at each place, from the left;
- the fast one does so for tokens that are not `normalized`, and finds the others in the normalized text.

Control tokens of the tokenizer (begin, end, unknown) are no added tokens here: typed by a user they are text.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ..files import ModelFileError, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    Cut: TypeAlias = "str | AddedToken"

CONFIG, SPECIAL_MAP, LEGACY, FAST = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
)
ADDED, ADDITIONAL = "added_tokens_decoder", "additional_special_tokens"
# In transformers' order, in which missing ones get their ids.
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
# More ids than any encoder reads of a prompt: what follows so many multi-vector tokens is cut off anyway.
MOST_EXPANDED = 4096

_WORD = re.compile(r"\w")
# Unicode's White_Space, which is Rust's; Python's \s has U+001C to U+001F on top.
WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_SPACES = re.compile(f"[{WHITE}]*")


class Normal(str):
    """A text between tokens that is normalized already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class AddedToken:
    """One token and its id.

    `lstrip` and `rstrip` take the white space on that side; `single_word` are words only. `normalized` tokens are found
    in the normalized text by fast tokenizers.
    """

    content: str
    id: int
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


@dataclass(frozen=True, slots=True)
class Additions:
    """Tokens in a tokenizer's folder: added ones, and control tokens.

    The added ones are by content, the contents of control tokens by role. `config` is tokenizer_config.json.
    """

    tokens: Mapping[str, AddedToken]
    roles: Mapping[str, str]
    config: Mapping[str, Any]
    fast: bool = False

    def matched(self, *control: str) -> list[AddedToken]:
        """Return the tokens to search for: all but empty and control tokens.

        With `split_special_tokens` the slow class searches for none, the fast one for those that are not special.
        """
        split = self.config.get("split_special_tokens", False)
        return [
            token
            for token in self.tokens.values()
            if token.content and token.content not in control and not (split and (token.special or not self.fast))
        ]


def read(
    folder: Path,
    known: Callable[[str], int | None],
    size: int,
    *,
    fast: bool = False,
    implied: Iterable[AddedToken] = (),
) -> Additions:
    """Read the tokens that were added to the tokenizer in `folder`.

    `known` gives the id of a token of the base vocabulary, which has `size`; `implied` are the tokens that the slow
    class adds by itself. Raises ModelFileError where a file is not as transformers writes it.
    """
    config = read_json(folder / CONFIG, optional=True)
    _check_sides(folder, config)
    settings = config if ADDED in config else config | _special(folder)
    own = () if fast and (folder / FAST).exists() else implied
    tokens = {token.id: token for token in own}
    if fast or ADDED not in config:
        tokens |= _of_fast(folder)
    tokens |= _of_decoder(folder, config[ADDED]) if ADDED in config else _of_legacy(folder, settings)
    by_content = {token.content: token for token in tokens.values()}
    roles, others = _roles(folder, settings)
    taken = {token.content for token in by_content.values() if known(token.content) is None}
    free = size + len(taken)
    for token in [*roles.values(), *others]:
        if token.content not in by_content:
            place = known(token.content)
            by_content[token.content] = replace(token, id=free if place is None else place)
            free += place is None
    return Additions(by_content, {role: token.content for role, token in roles.items()}, config, fast)


def _check_sides(folder: Path, config: Mapping[str, Any]) -> None:
    if config.get("truncation_side", "right") != "right":
        raise ModelFileError(
            f"{folder.name}/{CONFIG}: truncation_side must be right, not {config['truncation_side']!r}"
        )


def _special(folder: Path) -> dict[str, Any]:
    return {key: value for key, value in read_json(folder / SPECIAL_MAP, optional=True).items() if value is not None}


def _of_decoder(folder: Path, entries: Any) -> dict[int, AddedToken]:
    where = f"{folder.name}/{CONFIG}: {ADDED}"
    if not isinstance(entries, dict):
        raise ModelFileError(f"{where} must be an object of tokens by id, not {entries!r}")
    return {_id(where, key): _token(where, _id(where, key), entry) for key, entry in entries.items()}


def _of_fast(folder: Path) -> dict[int, AddedToken]:
    where = f"{folder.name}/{FAST}: added_tokens"
    entries = read_json(folder / FAST, optional=True).get("added_tokens") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ModelFileError(f"{where} must be a list of tokens")
    found = [_token(where, _id(where, entry.get("id")), entry) for entry in entries]
    return {token.id: token for token in found}


def _of_legacy(folder: Path, settings: Mapping[str, Any]) -> dict[int, AddedToken]:
    where = f"{folder.name}/{LEGACY}"
    entries = read_json(folder / LEGACY, optional=True)
    roles, others = _roles(folder, settings)
    special = {token.content for token in [*roles.values(), *others]}
    ids = {content: _id(where, entry) for content, entry in entries.items()}
    return {
        number: AddedToken(content, number, normalized=content not in special, special=content in special)
        for content, number in ids.items()
    }


def _roles(folder: Path, settings: Mapping[str, Any]) -> tuple[dict[str, AddedToken], list[AddedToken]]:
    """Return the control tokens by role, and further special tokens.

    Their ids are not known yet.
    """
    where = f"{folder.name}/{CONFIG}"
    roles = {role: _token(f"{where}: {role}", -1, settings[role]) for role in ROLES if settings.get(role)}
    more = settings.get(ADDITIONAL) or []
    if not isinstance(more, list):
        raise ModelFileError(f"{where}: {ADDITIONAL} must be a list of tokens, not {more!r}")
    return roles, [_token(f"{where}: {ADDITIONAL}", -1, entry) for entry in more]


def _token(where: str, number: int, entry: Any) -> AddedToken:
    if isinstance(entry, str):
        return AddedToken(entry, number, normalized=False, special=True)
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
        raise ModelFileError(f"{where} must hold tokens with their content, not {entry!r}")
    flags = {flag: entry[flag] for flag in FLAGS if entry.get(flag) is not None}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise ModelFileError(f"{where}: the flags of {entry['content']!r} must be true or false")
    return AddedToken(entry["content"], number, **{"normalized": not flags.get("special", False)} | flags)


def _id(where: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ModelFileError(f"{where}: an id must be a whole number, at least 0, not {value!r}")
    return number


class Matcher:
    """Finds words in a text, the longest one at each place.

    It goes from the left, in time linear in the text, however many words there are. The words are read from their ends
    (Aho and Corasick 1975): one pass from the end of a text tells which is the longest word that begins at each place.
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
        """Yield where the words begin and end."""
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


class Splitter:
    """Cuts a text into added tokens' ids and the texts between them.

    `normalize` is what a fast tokenizer does to a text before it looks for normalized tokens; None is for slow ones.
    Where `expands`, a token NAME stands for NAME NAME_1 NAME_2 ..., as many as there are, as in diffusers'
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
        self._find_raw, self._find_normal = Matcher(self._raw).find, Matcher(self._normal).find
        self._vectors = dict(_vectors({token.content for token in self.tokens})) if expands else {}

    def extended(self, tokens: Iterable[AddedToken]) -> Splitter:
        """Return a splitter that also knows further tokens, and expands them.

        These win over tokens of the same content.
        """
        known = {token.content: token for token in (*self.tokens, *tokens)}
        return Splitter(known.values(), normalize=self.normalize, expands=True)

    def __call__(self, text: str) -> list[str | int]:
        """Return the ids of added tokens and the texts between, in order."""
        return [part if isinstance(part, str) else part.id for part in self._parts(self._expanded(text))]

    def _expanded(self, text: str) -> str:
        if not self._vectors:
            return text
        for token in dict.fromkeys(part.content for part in self._parts(text) if not isinstance(part, str)):
            if token in self._vectors:
                text = self._vectors[token].join(text.split(token, MOST_EXPANDED)[:MOST_EXPANDED])
        return text

    def _parts(self, text: str) -> list[Cut]:
        if not self.tokens:
            return [text]
        return [*self._fast_parts(text)] if self.normalize else _slow(text, self._find_raw(text), self._raw)

    def _fast_parts(self, text: str) -> Iterator[Cut]:
        assert self.normalize  # noqa: S101
        for part in _fast(text, self._find_raw(text), self._raw):
            inner = [] if not isinstance(part, str) else self._normalized(part)
            yield from inner or [part]

    def _normalized(self, text: str) -> list[Cut]:
        """Return the parts of a text in which there are normalized tokens.

        The list is empty if there is none.
        """
        if not self._normal or not self.normalize:
            return []
        normal = self.normalize(text)
        found = _fast(normal, self._find_normal(normal), self._normal)
        parts: list[Cut] = [Normal(part) if isinstance(part, str) else part for part in found]
        return parts if any(not isinstance(part, str) for part in parts) else []


def _vectors(contents: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each token of several vectors, with all of its tokens' text."""
    for content in contents:
        names, number = [content], 1
        while f"{content}_{number}" in contents:
            names.append(f"{content}_{number}")
            number += 1
        if len(names) > 1:
            yield content, " ".join(names)


def _slow(text: str, places: Iterable[tuple[int, int]], tokens: Mapping[str, AddedToken]) -> list[Cut]:
    """Cut as `PreTrainedTokenizer.tokenize` does, whose words are what spaces surround."""
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


def _fast(text: str, places: Iterable[tuple[int, int]], tokens: Mapping[str, AddedToken]) -> Iterator[Cut]:
    """Cut as `AddedVocabulary` of the tokenizers library does.

    A word there has no other letters next to it.
    """
    at = 0
    for start, end in places:
        token = tokens[text[start:end]]
        begin, stop = max(start, at), end
        if token.single_word and _touches(text, start, end):
            continue
        if token.lstrip:
            begin = at + len(text[at:begin].rstrip(WHITE))
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


def _touches(text: str, start: int, end: int) -> bool:
    return any(_WORD.match(letter) for letter in (text[start - 1 : start] if start else "") + text[end : end + 1])
