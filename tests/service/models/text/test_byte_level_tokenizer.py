"""Byte-level tokenizers of Qwen and Mistral give the ids of the fast tokenizers for any text."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.complexity import check_linear
from tests.support.models.byte_level import (
    MISTRAL_CONTROLS,
    QWEN_CONTROLS,
    learnt,
    tekken_json,
    trained,
    write_mistral,
    write_qwen,
)
from tests.support.models.odd import odd_strings
from tintype.service.models.files import ModelFileError
from tintype.service.models.text.byte_level_tokenizer import PATTERNS, QWEN2, TEKKEN, read_byte_level, split_words
from tintype.service.models.text.tokenizers import MISTRAL, QWEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Places where the patterns differ from each other, or from Python's own classes of characters.
PARTS = ("", " ", "\n", "\r\n ", "'S", "/", "\u0301", "12", "A")
ENDS = ("//x", "don'T", "a\n\n b", "\t\t\tq", "\u01c5a", "\xdf'LLx", "1234.5", "a\u0310b", "  \n  x ", "HTMLPage")
ODD = odd_strings(2000) + [part + end for part in PARTS for end in ENDS]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mistral(tmp_path_factory.mktemp("mistral"))


def change(folder: Path, to: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Copy a tokenizer with another tokenizer.json."""
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    change(content)
    (to / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    return to


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't it\u2019s 42", ["don", "'t", " it", "\u2019s", " ", "4", "2"]),
        ("user\n\n a", ["user", "\n\n", " a"]),
        ("a  b!?\n\n", ["a", " ", " b", "!?\n\n"]),
        ("caf\xe9 HTMLPage /x", ["caf\xe9", " HTMLPage", " /", "x"]),
    ],
)
def test_words_of_qwen(text: str, words: list[str]) -> None:
    """Digits are single words; contractions, line breaks and spaces are split as published."""
    assert list(split_words(text, PATTERNS[QWEN2])) == words


def test_words_of_tekken() -> None:
    """Words end where upper case follows lower case; a slash belongs to the punctuation before it."""
    words = ["don", "'t", " HTMLPage", " camel", "Case", " /", "x", "//\n"]
    assert list(split_words("don't HTMLPage camelCase /x//\n", PATTERNS[TEKKEN])) == words


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_character_is_lost(pattern: str) -> None:
    """The words of a text, joined, are the text."""
    for text in ODD:
        assert "".join(split_words(text, PATTERNS[pattern])) == text


def test_all_bytes_have_ids(qwen: Path) -> None:
    """The ids stand for the UTF-8 bytes of the text in NFC."""
    tokenizer = read_byte_level(qwen, 64)
    names = {number: token for token, number in trained()[0].items()}
    text = "caf" + "e\u0301 \U0001f3a8 x"
    letters = "".join(names[number] for number in tokenizer.ids(text))
    assert letters == "caf\xc3\xa9".replace("\xc3", "\u00c3") + "\u0120\u00f0\u0141\u0130\u00a8\u0120x"


@pytest.mark.parametrize("typed", [*QWEN_CONTROLS, *MISTRAL_CONTROLS])
def test_typed_control_tokens_are_text(qwen: Path, mistral: Path, typed: str) -> None:
    """A control token that a user types has the ids of its letters."""
    for folder in (qwen, mistral):
        tokenizer = read_byte_level(folder, 64)
        assert not set(tokenizer.controls.values()) & set(tokenizer.ids(f"a {typed} b"))


def test_added_tokens_are_found(qwen: Path, tmp_path: Path) -> None:
    """A token of the file that is not special is one id, also inside a word; the configuration may add more."""
    tokenizer = read_byte_level(qwen, 64)
    assert [token.content for token in tokenizer.added] == ["<think>", "</think>"]
    think = tokenizer.added[0].id
    assert list(tokenizer.ids("a<think>b")) == [*tokenizer.ids("a"), think, *tokenizer.ids("b")]
    change(qwen, tmp_path, lambda _: None)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {"added_tokens_decoder": {"900": {"content": "<cat>"}, "901": {"content": "<|x|>", "special": True}}}
        )
    )
    other = read_byte_level(tmp_path, 64)
    assert list(other.ids("a <cat>"))[-1] == 900
    assert other.controls["<|x|>"] == 901


def test_the_folder_names_padding_and_sides(qwen: Path, mistral: Path) -> None:
    """Padding, its side and the token that begins a text come from the files."""
    ours = read_byte_level(qwen, 8)
    assert (ours.padded([1], 3, 1), ours.pads_left, ours.own_controls) == ((1, 448, 448), None, ((), ()))
    theirs = read_byte_level(mistral, 8)
    begin, pad = theirs.controls["<s>"], theirs.controls["<pad>"]
    assert (theirs.padded([1], 2, 0), theirs.pads_left, theirs.own_controls) == ((pad, 1), True, ((begin,), ()))


def test_two_files_replace_tokenizer_json(qwen: Path, tmp_path: Path) -> None:
    """Qwen2's vocab.json and merges.txt with the configuration's added tokens give the same ids."""
    content = json.loads((qwen / "tokenizer.json").read_text("utf-8"))
    (tmp_path / "vocab.json").write_text(json.dumps(content["model"]["vocab"]), "utf-8")
    merges = "\n".join(" ".join(pair) for pair in content["model"]["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")
    config = json.loads((qwen / "tokenizer_config.json").read_text("utf-8"))
    tokens = {token["id"]: token for token in content["added_tokens"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"added_tokens_decoder": tokens}), "utf-8")
    assert QWEN.missing(tmp_path) == []
    ours, theirs = read_byte_level(qwen, 64), read_byte_level(tmp_path, 64)
    assert ours.controls == theirs.controls
    assert [list(ours.ids(text)) for text in ODD[:300]] == [list(theirs.ids(text)) for text in ODD[:300]]


@pytest.mark.parametrize("listed", [(), ("<unk>", "<s>", "</s>", "[INST]", "<pad>")])
def test_tekken_json_replaces_tokenizer_json(mistral: Path, tmp_path: Path, listed: tuple[str, ...]) -> None:
    """Mistral's own file gives the same tokens; ids begin after 1,000 control tokens, which it may list."""
    (tmp_path / "tekken.json").write_text(json.dumps(tekken_json(trained(TEKKEN)[0], listed=listed)), "utf-8")
    assert MISTRAL.missing(tmp_path) == []
    ours, tekken = read_byte_level(mistral, 64), read_byte_level(tmp_path, 64)
    for text in ODD[:300]:
        assert [number - 1000 for number in tekken.ids(text)] == list(ours.ids(text)), ascii(text)
    assert tekken.controls["[INST]"] == 3
    assert tekken.own_controls == ((1,), ())
    assert tekken.padded([5], 2, 1) == (5, tekken.controls["<pad>"])


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("model", "type"), "Unigram", "tokenizer.json must hold a BPE model with vocab and merges"),
        (("model", "vocab"), {"a": "b"}, "tokenizer.json must hold a vocabulary of tokens with their ids"),
        (("model", "merges"), ["a b c"], "tokenizer.json must hold two tokens in each merge"),
        (("model", "merges"), [["a", 1]], "tokenizer.json must hold two tokens in each merge"),
        (("model",), None, "tokenizer.json must hold a BPE model with vocab and merges"),
        (("added_tokens",), [1], "tokenizer.json: added_tokens must be a list of tokens"),
        (("model", "end_of_word_suffix"), "</w>", "model.end_of_word_suffix must be empty for a byte-level BPE"),
        (("normalizer",), {"type": "Lowercase"}, "normalizer must be NFC or null; got {'type': 'Lowercase'}"),
        (("pre_tokenizer",), {"type": "Whitespace"}, "pre_tokenizer must split words as Qwen2, Qwen3.5, Llama 3"),
    ],
)
def test_damaged_files_are_named(
    qwen: Path, tmp_path: Path, path: tuple[str, ...], value: object, problem: str
) -> None:
    """The error names the file, the field and what is supported."""

    def damage(content: dict[str, Any]) -> None:
        *outer, last = path
        for key in outer:
            content = content[key]
        content[last] = value

    with pytest.raises(ModelFileError) as caught:
        read_byte_level(change(qwen, tmp_path, damage), 8)
    assert problem in str(caught.value)
    assert tmp_path.name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("tekken.json", {"config": {}}, "tekken.json is damaged"),
        ("tekken.json", tekken_json({}) | {"vocab": 1}, "tekken.json is damaged"),
        ("tokenizer_config.json", {"padding_side": "top"}, "padding_side must be left or right; got 'top'"),
    ],
)
def test_damaged_tekken_files_are_named(tmp_path: Path, name: str, content: dict[str, Any], problem: str) -> None:
    """The error names the file."""
    (tmp_path / "tekken.json").write_text(json.dumps(tekken_json(trained(TEKKEN)[0])), "utf-8")
    (tmp_path / name).write_text(json.dumps(content), "utf-8")
    with pytest.raises(ModelFileError, match=problem):
        read_byte_level(tmp_path, 8)


def test_missing_files_are_named(tmp_path: Path) -> None:
    """A folder without any set of files lacks the first."""
    assert QWEN.missing(tmp_path) == MISTRAL.missing(tmp_path) == ["tokenizer.json"]
    with pytest.raises(ModelFileError, match=r"vocab\.json is missing"):
        read_byte_level(tmp_path, 8)


@pytest.mark.parametrize("worst", ["a", "a ", " ", "\n ", "\u0301\u0323", "<|im_start|>", "'", "aU", "/\n"])
def test_the_worst_text_takes_linear_work(qwen: Path, mistral: Path, worst: str) -> None:
    """Tokenizing twice the text takes at most about twice the work."""
    for folder in (qwen, mistral):
        tokenizer = read_byte_level(folder, 64)
        check_linear(lambda text: list(tokenizer.ids(text)), lambda n: worst * (n // len(worst)), 32_000)  # noqa: B023


@pytest.mark.torch
@pytest.mark.parametrize("name", ["qwen", "mistral"])
def test_odd_strings_equal_the_reference(tmp_path: Path, name: str) -> None:
    """None of 2,000 difficult strings gives other ids than the fast tokenizer, which reads control tokens as text."""
    tokenizers = pytest.importorskip("tokenizers")
    write, pattern = (write_qwen, QWEN2) if name == "qwen" else (write_mistral, TEKKEN)
    folder = write(tmp_path, *learnt(pattern, nfc=name == "qwen"))
    ours, theirs = read_byte_level(folder, 512), tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.encode_special_tokens = True
    for text in ODD:
        assert list(ours.ids(text)) == theirs.encode(text, add_special_tokens=False).ids, ascii(text)


@pytest.mark.torch
def test_tekken_json_equals_the_reference(tmp_path: Path) -> None:
    """Mistral's own file gives the ids of the tokenizer that transformers makes of it."""
    mistral = pytest.importorskip("transformers.integrations.mistral.tokenizer")
    content = tekken_json(learnt(TEKKEN, nfc=False)[0], listed=MISTRAL_CONTROLS)
    (tmp_path / "tekken.json").write_text(json.dumps(content), "utf-8")
    ours, theirs = read_byte_level(tmp_path, 512), mistral.MistralConverter(str(tmp_path / "tekken.json")).converted()
    assert {name: theirs.token_to_id(name) for name in ours.controls} == ours.controls
    theirs.encode_special_tokens = True
    for text in ODD:
        assert list(ours.ids(text)) == theirs.encode(text, add_special_tokens=False).ids, ascii(text)


@pytest.mark.torch
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_character_splits_as_in_the_reference(pattern: str) -> None:
    """Assigned characters, alone and between others, are in the classes of the published pattern.

    Of letters without case, which are mostly Han and Hangul, one in 40 is tried.
    """
    tokenizers = pytest.importorskip("tokenizers")
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    classes = [(chr(i), unicodedata.category(chr(i))) for i in range(0x110000)]
    others = [point for point, class_ in classes if class_ not in ("Cn", "Cs", "Co", "Lo")]
    points = [*others, *[point for point, class_ in classes if class_ == "Lo"][::40]]
    for at in range(0, len(points), 64):
        text = " ".join(f"{c} a{c}b !{c}1 '{c} B{c}\n" for c in points[at : at + 64])
        assert [word for word, _ in split.pre_tokenize_str(text)] == list(split_words(text, PATTERNS[pattern])), at
