"""Added tokens of a tokenizer, read from its folder; textual inversion adds such tokens.

Reference: transformers. Files: `added_tokens_decoder` in tokenizer_config.json; in folders without it
special_tokens_map.json, added_tokens.json and tokenizer.json.

Control tokens of the tokenizer (begin, end, unknown) are not added tokens here: typed by a user they are text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..files import ModelFileError, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class AddedToken:
    """One token and its id.

    `lstrip` and `rstrip` remove the white space on that side. `single_word` tokens match whole words only.
    Fast tokenizers find `normalized` tokens in the normalized text.
    """

    content: str
    id: int
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


@dataclass(frozen=True, slots=True)
class TokenizerTokens:
    """The added tokens and the control tokens in a tokenizer's folder.

    `tokens` are added tokens by content, `roles` the contents of control tokens by role. `config` is
    tokenizer_config.json.
    """

    tokens: Mapping[str, AddedToken]
    roles: Mapping[str, str]
    config: Mapping[str, Any]
    fast: bool = False

    def matched(self, *control: str) -> list[AddedToken]:
        """Return the tokens to search for: all but empty and control tokens.

        With `split_special_tokens` the slow class searches for none, and the fast one for those that are not special.
        """
        split = self.config.get("split_special_tokens", False)
        return [
            token
            for token in self.tokens.values()
            if token.content and token.content not in control and not (split and (token.special or not self.fast))
        ]


def read_added_tokens(
    folder: Path,
    known: Callable[[str], int | None],
    size: int,
    *,
    fast: bool = False,
    implied: Iterable[AddedToken] = (),
    fast_file: Mapping[str, Any] | None = None,
) -> TokenizerTokens:
    """Read the tokens that were added to the tokenizer in `folder`.

    Args:
        folder: The tokenizer's folder.
        known: Returns the id of a token of the base vocabulary, or None.
        size: Number of tokens of the base vocabulary.
        fast: Whether to read the files as the fast class does.
        implied: The tokens that the slow class adds by itself.
        fast_file: The content of tokenizer.json; None to read it.

    Raises:
        ModelFileError: a file is not as transformers writes it.
    """
    config = read_json(folder / CONFIG, optional=True)
    _check_sides(folder, config)
    merged = config if ADDED in config else config | _special_map(folder)
    own = () if fast and (folder / FAST).exists() else implied
    tokens = {token.id: token for token in own}
    if fast or ADDED not in config:
        tokens |= _from_fast_file(folder, fast_file)
    tokens |= _from_decoder(folder, config[ADDED]) if ADDED in config else _from_legacy_file(folder, merged)
    by_content = {token.content: token for token in tokens.values()}
    roles, others = _control_tokens(folder, merged)
    new = {token.content for token in by_content.values() if known(token.content) is None}
    free = size + len(new)
    for token in [*roles.values(), *others]:
        if token.content not in by_content:
            number = known(token.content)
            by_content[token.content] = replace(token, id=free if number is None else number)
            free += number is None
    return TokenizerTokens(by_content, {role: token.content for role, token in roles.items()}, config, fast)


def _check_sides(folder: Path, config: Mapping[str, Any]) -> None:
    side = config.get("truncation_side", "right")
    if side != "right":
        raise ModelFileError(f"{folder.name}/{CONFIG}: truncation_side must be right, not {side!r}")


def _special_map(folder: Path) -> dict[str, Any]:
    return {key: value for key, value in read_json(folder / SPECIAL_MAP, optional=True).items() if value is not None}


def _from_decoder(folder: Path, entries: Any) -> dict[int, AddedToken]:
    where = f"{folder.name}/{CONFIG}: {ADDED}"
    if not isinstance(entries, dict):
        raise ModelFileError(f"{where} must be an object of tokens by id, not {entries!r}")
    return {_id(where, key): _token(where, _id(where, key), entry) for key, entry in entries.items()}


def _from_fast_file(folder: Path, content: Mapping[str, Any] | None) -> dict[int, AddedToken]:
    where = f"{folder.name}/{FAST}: added_tokens"
    content = read_json(folder / FAST, optional=True) if content is None else content
    entries = content.get("added_tokens") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ModelFileError(f"{where} must be a list of tokens")
    found = [_token(where, _id(where, entry.get("id")), entry) for entry in entries]
    return {token.id: token for token in found}


def _from_legacy_file(folder: Path, config: Mapping[str, Any]) -> dict[int, AddedToken]:
    where = f"{folder.name}/{LEGACY}"
    entries = read_json(folder / LEGACY, optional=True)
    roles, others = _control_tokens(folder, config)
    special = {token.content for token in [*roles.values(), *others]}
    ids = {content: _id(where, entry) for content, entry in entries.items()}
    return {
        number: AddedToken(content, number, normalized=content not in special, special=content in special)
        for content, number in ids.items()
    }


def _control_tokens(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, AddedToken], list[AddedToken]]:
    """Return the control tokens by role, and further special tokens; their ids are not known yet."""
    where = f"{folder.name}/{CONFIG}"
    roles = {role: _token(f"{where}: {role}", -1, config[role]) for role in ROLES if config.get(role)}
    more = config.get(ADDITIONAL) or []
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
